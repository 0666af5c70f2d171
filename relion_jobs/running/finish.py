"""Noticing that jobs have ended: exit mark -> status and output nodes of the pipeline, as RELION's own programs do it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import EXIT_ABORTED, EXIT_FAILURE, Status
from relion_jobs.ondisk import nodes_directory
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.locks import JOB_OWNER_FILE, forget_dead_owner, job_lock
from relion_jobs.ondisk.owner import Owner
from relion_jobs.ondisk.project import edit_pipeline, read_pipeline
from relion_jobs.pipeline.graph import Pipeline, add_outputs, with_status
from relion_jobs.running.queue import standing
from relion_jobs.running.sentences import printable, sentence


def complain(text: str) -> None:
    """Write a line to standard error, for the person who typed a command."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def notice_ends(project: Path, names: Iterable[str] | None = None, *, report: Callable[[str], None] = complain) -> list[str]:
    """Give every running job that has an exit mark its status and, where it succeeded, its output nodes.

    Parameters
    ----------
    project
        Project directory.
    names
        Jobs to look at; None: all.
    report
        Is told that we wait for the project's lock; the process of a job keeps that out of its run.err.

    Returns
    -------
    list of str
        A sentence for each output that a succeeded job promised and did not write.
    """
    if not _ended(read_pipeline(project), project, names):
        return []
    warnings = []
    with edit_pipeline(project, "check job completion", report=report) as edit:
        ended = _ended(edit.pipeline, project, names)
        for name, status in ended.items():
            edit.pipeline = with_status(edit.pipeline, name, status)
            if status == Status.SUCCEEDED:
                edit.pipeline = add_outputs(edit.pipeline, name, JobDirectory(project, name).read_output_nodes())
                missing = nodes_directory.add_entries(project, edit.pipeline, name)
                warnings += [f"{name} succeeded, but its output {path} does not exist." for path in missing]
    for name in ended:
        forget_dead_owner(project / name)
    return warnings


def owner_of(directory: JobDirectory) -> Owner | None:
    """Find the process that runs a job, or that ran it and died without a word; None where no process holds it."""
    try:
        return Owner.find((directory.path / JOB_OWNER_FILE).read_text(errors="replace"))
    except (OSError, UserError):
        return None


def bury_the_dead(project: Path) -> list[str]:
    """Mark running jobs that ended without a mark, as `bury` does; returns a sentence for each."""
    running = [process.name for process in read_pipeline(project).processes if process.status == Status.RUNNING]
    return [sentence for name in running if (sentence := bury(JobDirectory(project, name)))]


def bury(directory: JobDirectory) -> str:
    """Mark a running job as failed whose process is gone from this machine or its queue without a mark.

    One that was cancelled in its queue counts as aborted. Returns a sentence that says so, which the job's log gets too; an empty
    one where the job lives, has left a mark, or nothing is known of it.
    """
    if _marked(directory) is not None:
        return ""
    queued, owner = standing(directory), owner_of(directory)
    if queued is not None and queued.state != "unknown":
        if queued.state != "ended" or (owner is not None and owner.is_alive()):
            return ""
        cause, mark = f"{queued.sentence}, and it left no mark.", queued.mark
    elif owner is not None and owner.is_dead():
        cause, mark = f"{owner} is gone and left no mark.", EXIT_FAILURE
    else:
        return ""
    # it may have ended well between the two looks; listing makes a network file system look anew
    os.listdir(directory.path)
    if _marked(directory) is not None:
        return ""
    is_aborted = mark == EXIT_ABORTED
    with (directory.run_out if is_aborted else directory.run_err).open("a", errors="backslashreplace") as log:
        log.write(f"{'Aborted' if is_aborted else 'Error'}: {cause}\n")
    directory.write_mark(mark)
    notice_ends(directory.project, [directory.name])
    return f"{directory.name} {'was aborted' if is_aborted else 'failed'}: {cause}"


def take_stock(project: Path) -> list[str]:
    """Enter everything that has ended since somebody last looked, with a mark or without; returns sentences for the user."""
    return [*notice_ends(project), *bury_the_dead(project)]


def enter_running(directory: JobDirectory, report: Callable[[str], None]) -> None:
    """Let the pipeline say Running of a job that runs, where somebody took its launch for dead meanwhile.

    `report` is told that we wait for the project's lock.
    """
    process = read_pipeline(directory.project).find(directory.name)
    if process is not None and process.status != Status.RUNNING:
        with edit_pipeline(directory.project, f"{directory.name} runs", report=report) as edit:
            edit.pipeline = with_status(edit.pipeline, directory.name, Status.RUNNING)


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
        with edit_pipeline(directory.project, f"{directory.name} failed", report=complain) as edit:
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
            status = _marked(JobDirectory(project, process.name))
            if status is not None:
                found[process.name] = status
    return found


def _marked(directory: JobDirectory) -> Status | None:
    """Return what the exit mark says; None where a pipeline names a directory in which nothing is looked for."""
    try:
        return directory.status_from_marks()
    except UserError:
        return None
