"""Names that RELION and a shell can bear, and paths that stay in the project."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from relion_jobs.contract.errors import UserError

# RELION hands its commands to a shell without quotes
SHELL_CHARACTERS = "*?()\"'\\|#<>&%{}$;`!~[]^"


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
    if not target.resolve().is_relative_to(project.resolve()):
        raise UserError(f"'{path}' is a link to {target.resolve()}, outside the project; nothing is written there.")
    return target
