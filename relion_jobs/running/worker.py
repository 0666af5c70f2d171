"""The process of one job: ``python -m relion_jobs.running.worker JOB_DIR``, in the project directory."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from relion_jobs.contract.errors import LockTimeout, RelionJobsError
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.project import touch_changed
from relion_jobs.running.companion import accompany, is_companion
from relion_jobs.running.execute import execute
from relion_jobs.running.finish import enter_running, notice_ends
from relion_jobs.running.registry import project_registry
from relion_jobs.running.sentences import printable, sentence
from relion_jobs.running.settings import Settings, completed, read_settings

# exit code of a worker that did not start since another process runs the job, so that whoever waits leaves its marks alone
REFUSED = os.EX_TEMPFAIL


def run_job(directory: JobDirectory) -> int:
    """Run the job of a directory as its job.star says; returns the exit code.

    The end is entered in the pipeline here too, since nobody may wait for this process: it can be detached or in a queue.

    Raises
    ------
    UserError
        Another process runs the job.
    """
    if is_companion():
        return accompany(directory, lambda: settings_on_disk(directory))
    outcome = execute(directory, lambda: _begin(directory))
    try:
        for warning in notice_ends(directory.project, [directory.name], report=_say):
            sys.stderr.write(f"Warning: {warning}\n")
        touch_changed(directory.project)
    except (RelionJobsError, OSError) as error:
        # the mark is there, so the next 'relion_jobs status' or RELION's GUI enters it
        sys.stderr.write(f"Warning: the end of the job is not in the pipeline yet: {sentence(error)}\n")
    return outcome.exit_code


def _begin(directory: JobDirectory) -> Settings:
    enter_running(directory, _say)
    return settings_on_disk(directory)


def _say(text: str) -> None:
    """Write a line to standard output, which is run.out."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def settings_on_disk(directory: JobDirectory) -> Settings:
    """Read the settings of the job.star in a job directory."""
    request = job_star.read(directory.path)
    job_type = project_registry(directory.project).find(request.label)
    settings = read_settings(job_type, completed(job_type, request.values), is_continue=request.is_continue)
    # a job that Slurm starts again, as after a failure of its node, goes on where it was
    is_restarted = os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
    return replace(settings, is_continue=settings.is_continue or is_restarted)


def main(words: list[str] | None = None) -> int:
    """Run the job named on the command line."""
    (name,) = sys.argv[1:] if words is None else words
    try:
        return run_job(JobDirectory(Path.cwd(), name))
    except (RelionJobsError, OSError) as error:
        sys.stderr.write(f"Error: {sentence(error)}\n")
        return REFUSED if isinstance(error, LockTimeout) else 1


if __name__ == "__main__":
    sys.exit(main())
