"""Names that RELION and a shell can bear, and paths that stay in the project."""

from __future__ import annotations

from pathlib import Path


def check_name(path: str, what: str = "path") -> str:
    """Return `path` (relative to the project) unchanged; UserError if RELION or a shell would trip over it."""
    raise NotImplementedError


def inside_project(project: Path, path: str) -> Path:
    """Absolute path of a file to write; UserError if it is absolute, goes up, or leaves the project through a link."""
    raise NotImplementedError
