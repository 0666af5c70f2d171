"""Noticing that jobs have ended: exit mark -> status and output nodes of the pipeline, as RELION's own programs do it."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from pathlib import Path

from relion_jobs.contract.labels import EXIT_FAILURE, Status
from relion_jobs.ondisk import nodes_directory
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.locks import JOB_OWNER_FILE, job_lock
from relion_jobs.ondisk.owner import Owner
from relion_jobs.ondisk.project import edit_pipeline, read_pipeline
from relion_jobs.pipeline.graph import Pipeline, add_outputs, with_status
from relion_jobs.running.sentences import sentence


def notice_ends(project: Path, names: Iterable[str] | None = None) -> list[str]:
    """Give every running job that has an exit mark its status and, where it succeeded, its output nodes.

    Parameters
    ----------
    project
        Project directory.
    names
        Jobs to look at; None: all.

    Returns
    -------
    list of str
        A sentence for each output that a succeeded job promised and did not write.
    """
    if not _ended(read_pipeline(project), project, names):
        return []
    warnings = []
    with edit_pipeline(project, "check job completion") as edit:
        for name, status in _ended(edit.pipeline, project, names).items():
            edit.pipeline = with_status(edit.pipeline, name, status)
            if status == Status.SUCCEEDED:
                edit.pipeline = add_outputs(edit.pipeline, name, JobDirectory(project, name).read_output_nodes())
                missing = nodes_directory.add_entries(project, edit.pipeline, name)
                warnings += [f"{name} succeeded, but its output {path} does not exist." for path in missing]
    return warnings


def owner_of(directory: JobDirectory) -> Owner | None:
    """Find the process that runs a job, or that ran it and died without a word; None where no process holds it."""
    try:
        return Owner.find((directory.path / JOB_OWNER_FILE).read_text(errors="replace"))
    except OSError:
        return None


def bury_the_dead(project: Path) -> list[str]:
    """Mark running jobs as failed whose process is gone from this machine without a mark; returns a sentence for each."""
    sentences = []
    for process in read_pipeline(project).processes:
        if process.status != Status.RUNNING:
            continue
        directory = JobDirectory(project, process.name)
        owner = owner_of(directory)
        if owner is not None and owner.is_dead() and directory.status_from_marks() is None:
            mark_as_dead(directory)
            sentences.append(f"{process.name} failed: {owner} is gone and left no mark.")
    return sentences


def record_failure(directory: JobDirectory, error: BaseException) -> None:
    """Mark a job as failed that could not even start, with the traceback in its run.err.

    Raises
    ------
    UserError
        The job is running: then nothing is touched.
    """
    with job_lock(directory.path):
        directory.clear_marks()
        with directory.run_err.open("a", errors="backslashreplace") as run_err:
            run_err.write("".join(traceback.format_exception(error)) + f"Error: {sentence(error)}\n")
        directory.write_mark(EXIT_FAILURE)
        with edit_pipeline(directory.project, f"{directory.name} failed") as edit:
            edit.pipeline = with_status(edit.pipeline, directory.name, Status.FAILED)


def mark_as_dead(directory: JobDirectory) -> None:
    """Mark a job as failed whose process ended without a word, as after SIGKILL; RELION would show it as running for ever."""
    directory.write_mark(EXIT_FAILURE)
    notice_ends(directory.project, [directory.name])


def _ended(pipeline: Pipeline, project: Path, names: Iterable[str] | None) -> dict[str, Status]:
    wanted = None if names is None else {name.rstrip("/") + "/" for name in names}
    found = {}
    for process in pipeline.processes:
        if process.status == Status.RUNNING and (wanted is None or process.name in wanted):
            status = JobDirectory(project, process.name).status_from_marks()
            if status is not None:
                found[process.name] = status
    return found
