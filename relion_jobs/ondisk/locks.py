"""RELION's project lock, and one process per job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def project_lock(
    project: Path,
    reason: str,
    *,
    pipeline: str = "default",
    wait_seconds: float = 63.0,
    report: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Hold RELION's lock of a project while its pipeline is read, changed and written: milliseconds, never while a job runs."""
    raise NotImplementedError
    yield


@contextmanager
def job_lock(job_directory: Path) -> Iterator[None]:
    """Be the only process that runs a job; LockTimeout at once if another one does, naming it."""
    raise NotImplementedError
    yield
