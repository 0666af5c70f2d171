"""What file a name means: the one name of a file, however it was written.

``X``, ``./X``, ``A//X``, ``A/../X``, an absolute path into the project and a way through links are one file and have one name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from relion_jobs.ondisk.names import JOB_NUMBER


def plain_name(project: Path, name: str) -> str:
    """Return a name as RELION stores it: relative to the project where it lies in it, else absolute.

    Only the spelling changes: links are not followed, so that a project whose parts lie on other disks can still be moved.

    Parameters
    ----------
    project
        Project directory.
    name
        Absolute, or relative to the project; the file may be missing.
    """
    written = os.path.join(project, name)
    path = os.path.normpath(written)
    if ".." in Path(written).parts and os.path.realpath(path) != os.path.realpath(written):
        # behind a link, .. is the directory above what it leads to
        path = os.path.realpath(written)
    root = os.path.realpath(project)
    for folder in Path(path).parents:
        if folder == project or os.path.realpath(folder) == root:
            return os.path.relpath(path, folder)
    return _by_way_of_a_link(project, path) or path


def name_of(project: Path, name: str) -> str:
    """Return the name of the file itself in the pipeline: links in the project followed, as that of a job's alias.

    A link that leads out of the project keeps its own name.

    Parameters
    ----------
    project, name
        As of `plain_name`.
    """
    real = identity(project, name)
    return plain_name(project, name) if os.path.isabs(real) else real


def identity(project: Path, name: str) -> str:
    """Return what is the same for all names of a file: every link followed, relative to the project or absolute.

    Parameters
    ----------
    project, name
        As of `plain_name`.
    """
    real, root = os.path.realpath(os.path.join(project, name)), os.path.realpath(project)
    return os.path.relpath(real, root) if Path(real).is_relative_to(root) else real


def is_same(project: Path, one: str, other: str) -> bool:
    """Whether two names mean one file."""
    first, second = identities(project, (one, other))
    return first == second


def identities(project: Path, names: Iterable[str]) -> list[str]:
    """Return the `identity` of each of many files; hard links to one file have that of the first of them.

    A copy is another file.
    """
    root = os.path.realpath(project)
    folders: dict[str, str] = {}
    first_of: dict[object, str] = {}
    found = []
    for name in names:
        folder, last = os.path.split(os.path.join(root, name))
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        path = os.path.join(folders[folder], last)
        if last in ("", ".", "..") or os.path.islink(path):
            path = os.path.realpath(path)
        try:
            entry = os.stat(path)
            key: object = (entry.st_dev, entry.st_ino)
        except OSError:
            key = path
        found.append(first_of.setdefault(key, path.removeprefix(root + os.sep)))
    return found


def _by_way_of_a_link(project: Path, path: str) -> str | None:
    """Return the name in the project of a file outside, where a link of the project or of a job leads there."""
    real = Path(os.path.realpath(path))
    try:
        links = [entry for entry in project.iterdir() if entry.is_dir()]
        links += [job for folder in links for job in folder.iterdir() if JOB_NUMBER.fullmatch(job.name)]
    except OSError:
        return None
    for link in links:
        if link.is_symlink() and real.is_relative_to(target := os.path.realpath(link)):
            return str(link.relative_to(project) / real.relative_to(target))
    return None
