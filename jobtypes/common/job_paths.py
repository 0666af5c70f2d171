"""Where a job that a person names on a command line lies: for tools, which run in any working directory."""

from __future__ import annotations

from pathlib import Path

from relion_jobs.ondisk.project import locate, resolve_job


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
