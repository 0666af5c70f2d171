"""Touch, copy, move and delete files of a project as the operators of a scheme ask: inside the project, without a shell."""

from __future__ import annotations

import glob
import os
import shutil
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import PIPELINE_STAR
from relion_jobs.ondisk.atomic import disk_errors, written_whole
from relion_jobs.ondisk.names import entry_in_project, inside_project

_WILD = "*?["


def matching(project: Path, pattern: str) -> list[str]:
    """Return the files that a pattern with ``*``, ``?`` or ``[...]`` names, sorted, as the pattern names them."""
    return sorted(glob.glob(pattern, root_dir=project))


def touch(project: Path, name: str) -> None:
    """Make an empty file with the directories above it, or give it the present time.

    Raises
    ------
    UserError
        The place is outside the project, or cannot be written.
    """
    path = _place(project, name)
    with disk_errors(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def copy(project: Path, source: str, target: str) -> list[str]:
    """Copy files as ``cp`` does; returns sentences about what could not be copied since it is not there.

    Parameters
    ----------
    project
        Project directory; both names are relative to it.
    source
        File, or a pattern.
    target
        File, or a directory: one that exists, or ends in ``/`` and is made.

    Raises
    ------
    UserError
        A place is outside the project, several files go to one name, or the disk refuses.
    """
    return _each(project, source, target, is_move=False)


def move(project: Path, source: str, target: str) -> list[str]:
    """Move files as ``mv`` does; otherwise as `copy`."""
    return _each(project, source, target, is_move=True)


def delete(project: Path, name: str) -> list[str]:
    """Delete files as ``rm -f`` does: directories stay, what is not there is no error; returns the names of those deleted.

    Raises
    ------
    UserError
        A file is outside the project, or is its pipeline, or the disk refuses.
    """
    gone = []
    for one in _sources(project, name):
        path = _entry(project, one)
        if path.is_dir() and not path.is_symlink():
            raise UserError(f"'{one}' is a directory; a scheme deletes files only.")
        with disk_errors(path, "remove"):
            path.unlink(missing_ok=True)
        gone.append(one)
    return gone


def _each(project: Path, source: str, target: str, *, is_move: bool) -> list[str]:
    names = _sources(project, source)
    if not names:
        return [f"'{source}' is not there; nothing was {'moved' if is_move else 'copied'}."]
    end = _place(project, target)
    if len(names) > 1 and not (target.endswith("/") or end.is_dir()):
        raise UserError(f"'{source}' are {len(names)} files, which cannot all become '{target}'; end it with a slash.")
    for name in names:
        start = _entry(project, name) if is_move else _place(project, name)
        if start.is_dir():
            raise UserError(f"'{name}' is a directory; a scheme copies and moves files only.")
        to = _place(project, f"{target.rstrip('/')}/{start.name}") if target.endswith("/") or end.is_dir() else end
        if to == start:
            continue
        with disk_errors(to, "write"):
            to.parent.mkdir(parents=True, exist_ok=True)
            if is_move:
                os.replace(start, to)
                continue
        with written_whole(to) as temporary:
            shutil.copyfile(start, temporary)
    return []


def _sources(project: Path, name: str) -> list[str]:
    _not_the_pipeline(project, entry_in_project(project, name))
    if any(character in name for character in _WILD):
        return matching(project, name)
    return [name] if os.path.lexists(project / name) else []


def _place(project: Path, name: str) -> Path:
    """Return a file to read or write; a link is followed, but not out of the project."""
    return _not_the_pipeline(project, inside_project(project, name))


def _entry(project: Path, name: str) -> Path:
    """Return a file, or a link itself, that is to be moved or deleted."""
    return _not_the_pipeline(project, entry_in_project(project, name))


def _not_the_pipeline(project: Path, path: Path) -> Path:
    if os.path.realpath(path) in (os.path.realpath(project), os.path.realpath(project / PIPELINE_STAR)):
        raise UserError(f"{path} is nothing that a scheme may change.")
    return path
