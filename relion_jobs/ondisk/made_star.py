"""What job.star was when this program wrote it, kept beside it, so that a job that another program has overwritten is noticed.

RELION takes the number of a new job before it locks the project: two programs may take the same one, and the later one wins.
"""

from __future__ import annotations

from pathlib import Path

from relion_jobs.contract.errors import BadStarFile
from relion_jobs.contract.labels import JOB_STAR
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_star import JobRequest

MADE = ".relion_jobs_made"  # not .star, which people look for
_SHOWN = 3


def keep(request: JobRequest, job_directory: Path) -> None:
    """Keep what is about to become the job.star of a job directory; UserError where the disk refuses."""
    job_star.write(request, job_directory / MADE)


def what_changed(job_directory: Path) -> str:
    """Say in what the job.star of a directory is not the one that was made, as the end of a sentence; empty where it is.

    Nothing is said of a job that another program has continued since then, which changes options as a matter of course, nor of
    options that one of the two does not have.

    Raises
    ------
    UserError
        job.star cannot be read.
    """
    if not (job_directory / MADE).is_file() or not (job_directory / JOB_STAR).is_file():
        return ""
    found = job_star.read(job_directory / JOB_STAR)
    try:
        made = job_star.read(job_directory / MADE)
    except BadStarFile as error:
        return f"cannot be compared with the one that relion_jobs made: {str(error).rstrip('.')}"
    if found.is_continue and not made.is_continue:
        return ""
    if found.label != made.label:
        return f"is not the one that relion_jobs made: its type was {made.label} and is {found.label}"
    changed = [name for name in made.values if name in found.values and found.values[name] != made.values[name]]
    if not changed:
        return ""
    shown = [f"{name} was '{made.values[name]}' and is '{found.values[name]}'" for name in changed[:_SHOWN]]
    more = f", and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return f"is not the one that relion_jobs made: {', '.join(shown)}{more}"
