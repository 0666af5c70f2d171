"""A job for tasks to run in, without a runner."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from relion_jobs.contract.errors import JobAborted


@dataclass
class RecordingJob:
    """A `RunningJob` that keeps what it is told, and wants to stop once it was asked more than `stop_after` times.

    Its directory is made. `outputs` are labels by path, `steps` what was done of how much.
    """

    project: Path
    directory: Path
    is_continue: bool = False
    stop_after: int = 10**9
    reports: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[int, int]] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self.directory = Path(self.directory)
        (self.project / self.directory).mkdir(parents=True, exist_ok=True)

    def report(self, sentence: str) -> None:
        self.reports.append(sentence)

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)

    def progress(self, stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        assert 0 <= done <= total, f"{stage}: {done} of {total} {unit}"
        self.steps.append((done, total))

    def abort_requested(self) -> bool:
        self.asked += 1
        return self.asked > self.stop_after

    def check_abort(self) -> None:
        if self.asked > self.stop_after:
            raise JobAborted("Stopped by the test.")

    def add_output(self, path: Path, label: str) -> None:
        assert (self.project / path).is_file()
        self.outputs[str(path)] = label


@pytest.fixture(scope="session")
def recording_job() -> type[RecordingJob]:
    """The class, as test files cannot import from a conftest: recording_job(project, directory, stop_after=...)."""
    return RecordingJob
