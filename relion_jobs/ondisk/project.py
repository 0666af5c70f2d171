"""Find, create and change a project."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from relion_jobs.pipeline.graph import Pipeline


@dataclass
class PipelineEdit:
    """A pipeline that may be changed: assign `pipeline`, it is written when the lock is left."""

    pipeline: Pipeline


def locate(path: Path) -> Path:
    """Absolute directory of the project that `path` lies in; UserError where there is none."""
    raise NotImplementedError


def create(path: Path) -> Path:
    """Make a directory a project (an existing project is left as it is) and return its absolute path."""
    raise NotImplementedError


def read_pipeline(project: Path) -> Pipeline:
    """Read the pipeline of a project without the lock, trying again if RELION is just writing it."""
    raise NotImplementedError


def resolve_job(project: Path, text: str, cwd: Path) -> str:
    """Name of the job that a person means, e.g. ``DynaMight/job002/``."""
    raise NotImplementedError


@contextmanager
def edit_pipeline(
    project: Path, reason: str, *, wait_seconds: float = 63.0, report: Callable[[str], None] | None = None
) -> Iterator[PipelineEdit]:
    """Change the pipeline under RELION's lock: lock, read, let the caller assign ``.pipeline``, write if changed, unlock, touch .pipeline_has_changed."""
    raise NotImplementedError
    yield


def touch_changed(project: Path) -> None:
    """Tell an open GUI to read the pipeline again."""
    raise NotImplementedError
