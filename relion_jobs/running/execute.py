"""One job in this process, start to finish: the one place where a task's end becomes an exit mark."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from relion_jobs.contract.errors import JobAborted, RelionJobsError
from relion_jobs.contract.jobtype import Task
from relion_jobs.contract.labels import ABORT_NOW, MARK_OF_STATUS, RUN_ERR, RUN_OUT, Status
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.locks import job_lock
from relion_jobs.running.console import Console
from relion_jobs.running.interruption import Interruption
from relion_jobs.running.live_job import LiveJob
from relion_jobs.running.registry import load_function
from relion_jobs.running.sentences import sentence
from relion_jobs.running.settings import Settings


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes
    ----------
    status
        Succeeded, Failed or Aborted; the exit mark says the same.
    """

    status: Status

    @property
    def exit_code(self) -> int:
        """0 for success, else 1."""
        return 0 if self.status == Status.SUCCEEDED else 1


def execute(job_directory: JobDirectory, prepare: Callable[[], Settings], *, leaves_mark: bool = True) -> Outcome:
    """Run a job and write exactly one exit mark, whatever happens.

    Parameters
    ----------
    job_directory
        Where it runs.
    prepare
        Reads the settings; called after the job is locked, since what it raises is a failure of this job.
    leaves_mark
        False leaves all marks alone: another program, which started this process as one of several, says how the job ended.

    Raises
    ------
    UserError
        Another process runs this job. Then nothing is touched, its marks least of all.
    """
    with job_lock(job_directory.path):
        try:
            # an abort mark beside an exit mark belongs to the run that has ended; alone it was set for this one
            if leaves_mark and job_directory.status_from_marks() is not None:
                job_directory.clear_marks()
            status = _run(job_directory, prepare)
            if leaves_mark:
                job_directory.write_mark(MARK_OF_STATUS[status])
        except (OSError, RelionJobsError) as error:
            _last_words(f"No exit mark could be written for {job_directory.name}: {sentence(error)}")
            status = Status.FAILED
    return Outcome(status)


def _run(job_directory: JobDirectory, prepare: Callable[[], Settings]) -> Status:
    try:
        console = Console(job_directory.path / RUN_OUT, job_directory.path / RUN_ERR)
    except OSError as error:
        _last_words(sentence(error))
        return Status.FAILED
    interruption, memory_remedy = Interruption(job_directory.path / ABORT_NOW), ""
    try:
        with interruption.listening():
            settings = prepare()
            for number, one in enumerate((settings, *settings.then)):
                job = LiveJob(job_directory, console, interruption=interruption, settings=one)
                if number:
                    job.report(f"Next: {one.task.title}.")
                for remark in one.remarks if not number else ():
                    job.report(remark)
                job.check_abort()
                memory_remedy = one.task.memory_remedy
                load_function(one.task.run)(one.values, job)
                if number:
                    _register_outputs(one.task, job)
        return Status.SUCCEEDED
    except JobAborted as error:
        _tell(console, f"Aborted: {sentence(error)}", error)
        return Status.ABORTED
    except BaseException as error:  # noqa: BLE001 - this is the one place that turns every end into a mark
        _tell(console, f"Error: {sentence(error, memory_remedy)}", error)
        return Status.FAILED
    finally:
        with contextlib.suppress(OSError):
            console.close()


def _register_outputs(task: Task, job: LiveJob) -> None:
    """Register the outputs of a task that was not the one launched, so that RELION learns of them at the end."""
    for path, label in task.outputs:
        if (job.project / job.directory / path).exists():
            job.add_output(Path(path), label)


def _tell(console: Console, text: str, error: BaseException) -> None:
    """Write the traceback to run.err alone, the sentence to run.err, run.out and the terminal."""
    try:
        if not isinstance(error, JobAborted):
            console.file_only("".join(traceback.format_exception(error)))
            console.error(text)
        else:
            console.line(text)
    except OSError as second:
        _last_words(f"{text} ({sentence(second)})")


def _last_words(text: str) -> None:
    """Say something where even run.err may be out of reach."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
