"""What a task is given while it runs; the runner implements it, tasks only call it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Companion(Protocol):
    """A further process of a task."""

    def has_ended(self) -> bool:
        """Whether it is gone."""

    def end(self, patience_seconds: float) -> None:
        """Wait so long for its end, then bring it about."""


class RunningJob(Protocol):
    """The job directory that a task works in, and its line to the person who waits for it.

    Attributes
    ----------
    project
        Absolute project directory; also the working directory of the process.
    directory
        Job directory relative to the project, e.g. ``DynaMight/job002``.
    is_continue
        True where the job ran before and this is a press of "Continue!".
    """

    project: Path
    directory: Path
    is_continue: bool

    def report(self, sentence: str) -> None:
        """Write one line to run.out and the terminal."""

    def warn(self, sentence: str) -> None:
        """Write one line to run.err and the terminal: something the user should know, though the task goes on."""

    def progress(self, stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        """Say how far a stage is; rate and time left are worked out by the runner, `figures` are shown behind them."""

    def check_abort(self) -> None:
        """Raise JobAborted if the abort mark is there or a signal has come. Call it at least once per batch."""

    def abort_requested(self) -> bool:
        """True if `check_abort` would raise: write a checkpoint first, then call it."""

    def start_companion(self, environment: Mapping[str, str]) -> Companion | None:
        """Call this task once more in a process of its own, with these environment variables on top; None where that cannot be.

        There it is given a job that says and registers nothing. Whoever asked for it calls `Companion.end`; where this process is
        killed before that, the other one ends too.
        """

    def add_output(self, path: Path, label: str) -> None:
        """Register a file of the job directory as an output node of the pipeline (RELION_OUTPUT_NODES.star)."""
