"""Names that RELION and a shell can bear, and paths that stay in the project."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import TRASH

# RELION hands its commands to a shell without quotes
SHELL_CHARACTERS = "*?()\"'\\|#<>&%{}$;`!~[]^"

JOB_NUMBER = re.compile(r"job([0-9]{3,})")


def check_name(path: str, what: str = "path") -> str:
    """Return a path that RELION and a shell can bear unchanged.

    Parameters
    ----------
    path
        Relative to the project directory.
    what
        What the path is, for the message.

    Raises
    ------
    UserError
        It is empty, holds blanks, shell characters or the word ``None`` (RELION takes that for an alias and mangles the name).
    """
    bad = sorted({character for character in path if character in SHELL_CHARACTERS})
    if not path:
        problem = "is empty"
    elif any(character.isspace() or not character.isprintable() for character in path):
        problem = "holds blanks or control characters, at which RELION's shell commands break"
    elif bad:
        problem = f"holds {' '.join(bad)}, which RELION's shell commands would interpret"
    elif "None" in path:
        problem = "holds the word None, which RELION takes for an alias"
    else:
        return path
    raise UserError(f"The {what} '{path}' {problem}; choose another name.")


def inside_project(project: Path, path: str) -> Path:
    """Return the absolute path of a file that is to be written in the project.

    Parameters
    ----------
    project
        Project directory.
    path
        Relative to it; what is already there may be a link, but only to a place inside the project.

    Raises
    ------
    UserError
        The path is absolute, goes up with ``..`` or leaves the project through a link.
    """
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise UserError(f"'{path}' leaves the project; give a path relative to the project directory, without '..'.")
    target = project / parts
    # realpath, since Path.resolve fails on links that go in a circle
    real = Path(os.path.realpath(target))
    if not real.is_relative_to(os.path.realpath(project)):
        raise UserError(f"'{path}' is a link to {real}, outside the project; nothing is written there.")
    return target


def entry_in_project(project: Path, path: str) -> Path:
    """Return the absolute path of a file, directory or link that is to be moved or removed itself, not what it may point to.

    Parameters
    ----------
    project
        Project directory.
    path
        Relative to it; the directory that holds it must lie in the project, links followed.

    Raises
    ------
    UserError
        The path is the project itself, or as for `inside_project`.
    """
    parts = PurePosixPath(path)
    if not parts.parts:
        raise UserError(f"'{path}' names the project itself, which is not moved or removed.")
    inside_project(project, path if ".." in parts.parts else str(parts.parent))
    return project / parts


def job_entry(project: Path, name: str) -> Path:
    """Return the directory of a job that is to be moved as a whole: ``TYPE/jobNNN`` and nothing else.

    Raises
    ------
    UserError
        The name has another form, so that more than a job might be moved, or as for `entry_in_project`.
    """
    directory, _, job = name.rstrip("/").partition("/")
    if not JOB_NUMBER.fullmatch(job) or directory in ("", ".", "..", TRASH):
        raise UserError(f"'{name}' is no name of a job directory such as DynaMight/job002/; it is not moved.")
    return entry_in_project(project, name.rstrip("/"))
