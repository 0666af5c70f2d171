"""What a name means: a job that a person names to a tool, which runs in any working directory, and two names of one file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relion_jobs.ondisk.later_outputs import job_at_rest
from relion_jobs.ondisk.one_name import is_same
from relion_jobs.ondisk.project import locate, resolve_job

__all__ = ["find_job", "is_same", "job_at_rest", "working_directory"]


def find_job(text: str, cwd: Path | None = None) -> tuple[Path, Path]:
    """Find a job by its name, alias or path.

    Parameters
    ----------
    text
        E.g. ``DynaMight/job002/``, ``job002``, an alias, or a path of the job in any project.
    cwd
        Directory in which the person typed it; None: the working directory.

    Returns
    -------
    tuple
        Absolute project directory, and the job directory relative to it.

    Raises
    ------
    UserError
        There is no such job, or no project.
    """
    here = cwd or Path.cwd()
    named = here / text
    project = locate(named if named.exists() else here)
    return project, Path(resolve_job(project, text, here))


@contextmanager
def working_directory(path: Path) -> Iterator[None]:
    """Work in a directory: paths in a job are relative to its project."""
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)
