"""What a task is given while it runs: the runner's side of `relion_jobs.contract.running_job`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from relion_jobs.contract.errors import JobAborted
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.one_name import plain_name
from relion_jobs.running.companion import CompanionProcess
from relion_jobs.running.console import Console
from relion_jobs.running.interruption import Interruption
from relion_jobs.running.progress import ProgressMeter
from relion_jobs.running.settings import Settings


class LiveJob:
    """A job directory in which a task runs.

    Parameters
    ----------
    job_directory
        The directory.
    console
        Where its lines go.
    interruption
        What may ask it to stop.
    settings
        Which task, with what values, and whether this is a press of "Continue!".
    """

    def __init__(self, job_directory: JobDirectory, console: Console, *, interruption: Interruption, settings: Settings) -> None:
        self.project = job_directory.project
        self.directory = Path(job_directory.name)
        self.is_continue = settings.is_continue
        self._settings = settings
        self._job_directory = job_directory
        self._console = console
        self._interruption = interruption
        self._meter = ProgressMeter()

    def report(self, sentence: str) -> None:
        """Write one line to run.out and the terminal."""
        self._console.line(sentence)

    def warn(self, sentence: str) -> None:
        """Write one line to run.err and the terminal."""
        self._console.warning(f"Warning: {sentence}")

    def progress(self, stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        """Say how far a stage is, with rate and time left."""
        line = self._meter.line(stage, done, total, unit, now=time.monotonic(), figures=figures)
        self._console.progress(line, last=done >= total)

    def check_abort(self) -> None:
        """Raise JobAborted if the abort mark is there or a signal has come."""
        reason = self._interruption.reason
        if reason:
            raise JobAborted(f"Stopped, since {reason}.")

    def abort_requested(self) -> bool:
        """Return True if `check_abort` would raise."""
        return bool(self._interruption.reason)

    def start_companion(self, environment: Mapping[str, str]) -> CompanionProcess | None:
        """Call this task once more in a process of its own."""
        task, values = self._settings.task, self._settings.values
        try:
            return CompanionProcess(self._job_directory, task.run, values, environment, is_continue=self.is_continue)
        except OSError as error:
            self.warn(f"No further process can be started ({error.strerror}); this one does all.")
            return None

    def add_output(self, path: Path, label: str) -> None:
        """Register an output node; `path` is absolute, relative to the project or relative to the job directory."""
        inside = Path(plain_name(self.project, str(path))) if path.is_absolute() else path
        if not inside.is_relative_to(self.directory):
            inside = self.directory / inside
        self._job_directory.add_output_node(Node(str(inside), label))
