"""The jobs of a scheme whose types are not ours: relion_pipeliner adds them, and they are handed to it to run."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import JOB_STAR, Status
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.job_star import JobRequest
from relion_jobs.ondisk.locks import job_lock
from relion_jobs.ondisk.project import edit_pipeline, read_pipeline
from relion_jobs.pipeline.graph import with_status
from relion_jobs.running.foreign_jobs import PIPELINER, usable_pipeliner

# what is given to relion_pipeliner: the job.star of the node with its variables filled in
_FILLED = "filled_in_job.star"
_SECONDS = 300


def added_since(project: Path, counter: int, request: JobRequest) -> str:
    """Return the Scheduled job with these options whose number is `counter` or higher; empty where there is none or it is 0."""
    for process in read_pipeline(project).processes:
        number = process.name.rstrip("/").rpartition("job")[2]
        is_young = number.isdigit() and int(number) >= counter > 0
        if not is_young or process.status != Status.SCHEDULED:
            continue
        found = job_star.read(JobDirectory(project, process.name).path)
        # whoever added it has completed the options with defaults
        if found.label == request.label and not found.is_continue and request.values.items() <= found.values.items():
            return process.name
    return ""


def add_foreign(project: Path, node_directory: str, request: JobRequest, counter: int) -> str:
    """Let relion_pipeliner add a Scheduled job and return its name.

    Parameters
    ----------
    project
        Project directory.
    node_directory
        Directory of the node, e.g. ``Schemes/flex/inputs``.
    request
        The job, with nothing left to fill in.
    counter
        Number of the next new job before this call.

    Raises
    ------
    UserError
        There is no relion_pipeliner, or it added no such job.
    """
    program = usable_pipeliner()
    about = f"{node_directory} is of type {request.label}, which is not ours"
    if program is None:
        raise UserError(f"{about}, and no {PIPELINER} of RELION 5, which could add the job, is on PATH.")
    file = f"{node_directory}/{_FILLED}"
    job_star.write(replace(request, is_continue=False), project / file)
    try:
        done = subprocess.run(
            [program, "--addJobFromStar", file],
            cwd=project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{about}, and {PIPELINER} cannot add the job ({error.__class__.__name__}).") from error
    finally:
        (project / file).unlink(missing_ok=True)
    name = added_since(project, counter, replace(request, values={}))
    if not name:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise UserError(f"{about}, and {PIPELINER} added no job (exit code {done.returncode}{f', {said[-1]}' if said else ''}).")
    return name


def schedule_foreign_continue(project: Path, name: str, request: JobRequest) -> None:
    """Write the options of a job that has run, for "Continue!", and set it to Scheduled; UserError if it runs."""
    directory = JobDirectory(project, name)
    with job_lock(directory.path), edit_pipeline(project, f"schedule: {name}") as edit:
        if edit.pipeline.process(name).status == Status.RUNNING:
            raise UserError(f"{name} is running; wait for its end or abort it first.")
        before = job_star.read(directory.path)
        directory.clear_marks()
        job_star.write(replace(before, is_continue=True, values=before.values | request.values), directory.path / JOB_STAR)
        edit.pipeline = with_status(edit.pipeline, name, Status.SCHEDULED)
