"""A further process of a job that a launcher such as torchrun started several times.

The first process (RANK 0) is the job: it has the lock, the log, the exit mark and the pipeline. The others run the same task, if
it shares its work, and keep silent; how they work together and tell each other of failures is the task's business.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from relion_jobs.contract.errors import JobAborted, RelionJobsError
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.running.interruption import Interruption
from relion_jobs.running.registry import load_function
from relion_jobs.running.settings import Settings


def is_companion(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is one of several, and not the first."""
    return environment.get("WORLD_SIZE", "1") not in ("", "1") and environment.get("RANK", "0") not in ("", "0")


def accompany(job_directory: JobDirectory, prepare: Callable[[], Settings]) -> int:
    """Do this process's share of a job; returns the exit code.

    Parameters
    ----------
    job_directory
        Where the job runs.
    prepare
        Reads the settings.
    """
    # the first process takes the abort mark for all: here one of an earlier run could still be seen
    interruption = Interruption(None)
    try:
        with interruption.listening():
            settings = prepare()
            if settings.task.shares_work:
                job = SilentJob(job_directory, interruption, is_continue=settings.is_continue)
                load_function(settings.task.run)(settings.values, job)
    except RelionJobsError:
        # the first process has been told and fails for all; a launcher that saw this one fail would end it before its mark is set
        return 0
    except BaseException as error:  # noqa: BLE001 - the end of this process; the launcher tells the others
        sys.stderr.write("".join(traceback.format_exception(error)))
        return 1
    return 0


class SilentJob:
    """What a task is given in a further process: it may be asked to stop, and what it says is said by the first process.

    Parameters
    ----------
    job_directory
        The directory.
    interruption
        What may ask it to stop.
    is_continue
        Whether this is a press of "Continue!".
    """

    def __init__(self, job_directory: JobDirectory, interruption: Interruption, *, is_continue: bool) -> None:
        self.project = job_directory.project
        self.directory = Path(job_directory.name)
        self.is_continue = is_continue
        self._interruption = interruption

    def report(self, sentence: str) -> None:
        """Say nothing."""

    def warn(self, sentence: str) -> None:
        """Say nothing."""

    def progress(self, stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        """Say nothing."""

    def check_abort(self) -> None:
        """Raise JobAborted if a signal has come."""
        if self._interruption.reason:
            raise JobAborted(f"Stopped, since {self._interruption.reason} in another process of the job.")

    def abort_requested(self) -> bool:
        """Return True if `check_abort` would raise."""
        return bool(self._interruption.reason)

    def add_output(self, path: Path, label: str) -> None:
        """Register nothing."""
