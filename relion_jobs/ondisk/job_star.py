"""job.star <-> JobRequest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class JobRequest:
    """What job.star says.

    Parameters
    ----------
    label
        Type label, e.g. ``dynamight``.
    is_continue
        True on "Continue!".
    is_tomo
        True in a tomography project.
    values
        Text of each option by its variable.
    """

    label: str
    is_continue: bool = False
    is_tomo: bool = False
    values: dict[str, str] = field(default_factory=dict)


def read(path: Path, *, variables: Mapping[str, str] | None = None) -> JobRequest:
    """Read a job.star, given as a file, as a job directory, or as a prefix such as ``.gui_dynamight``; also run.job of RELION 3.0."""
    raise NotImplementedError


def write(request: JobRequest, path: Path) -> None:
    """Write a job.star whole or not at all, byte for byte as RELION 5 would."""
    raise NotImplementedError
