"""Jobs that RELION started and whose program never came up, as where RELION does not find it: they would be Running for ever."""

from __future__ import annotations

from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.jobtype import JobType
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.owner import ago
from relion_jobs.running.finish import owner_of
from relion_jobs.running.queue import standing
from relion_jobs.running.registry import project_registry
from relion_jobs.running.settings import program_name

# from the launch until our program has its name in the job directory; slow file systems take a while to load Python
BEGIN_SECONDS = 30.0


def unbegun_sentence(directory: JobDirectory, now: float) -> str:
    """Say that a job of status Running never began, and the remedy; empty where it did, or where that cannot be known.

    A program of ours writes its name into the job directory before anything else and leaves a mark when it ends, so that a job
    without either has not been begun by it. Of other programs nothing is known.

    Parameters
    ----------
    directory
        A job of status Running.
    now
        Seconds since 1970.
    """
    try:
        if owner_of(directory) is not None or directory.status_from_marks() is not None or standing(directory) is not None:
            return ""
        request = job_star.read(directory.path)
        job_type = project_registry(directory.project).find(request.label)
        # every launch writes it anew
        launched = job_star.locate(directory.path).stat().st_mtime
    except (UserError, OSError):
        return ""
    program = request.values.get(job_type.program, "")
    if not _is_ours(job_type, program) or now - launched < BEGIN_SECONDS or _last_line(directory.run_out, launched):
        return ""
    said = _last_line(directory.run_err, launched)
    return (
        f"{directory.name} never began: it was started {ago(launched)}, but {program} did not come up"
        f"{f' ({said})' if said else ''}; 'relion_jobs run {directory.name}' runs it and lets RELION know where the program is, "
        f"'relion_jobs mark {directory.name} failed' ends it."
    )


def _is_ours(job_type: JobType, program: str) -> bool:
    return bool(program) and Path(program).name == program_name(job_type)


def _last_line(log: Path, since: float) -> str:
    """Return the last line of a log that was written to since then; empty where it was not."""
    try:
        lines = log.read_text(errors="replace").split("\n") if log.stat().st_mtime >= since else []
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
