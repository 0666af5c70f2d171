"""Trash/: deleted jobs and cleaned files under the paths that they had, as RELION keeps them.

Nothing outside the project is ever moved or erased: every path goes through `names.entry_in_project`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import DELETED_PIPELINE_STAR, JOB_PIPELINE_STAR, JOB_STAR, TRASH
from relion_jobs.ondisk.atomic import disk_error
from relion_jobs.ondisk.names import entry_in_project, job_entry


@dataclass(frozen=True)
class TrashContents:
    """What the Trash holds.

    Attributes
    ----------
    jobs
        Names of deleted jobs, e.g. ``DynaMight/job004/``.
    n_files, n_bytes
        All files in it.
    """

    jobs: tuple[str, ...]
    n_files: int
    n_bytes: int


def trash_path(name: str) -> str:
    """Return the place in the Trash of a path of the project."""
    return f"{TRASH}/{name.rstrip('/')}"


def move_job_to_trash(project: Path, name: str) -> None:
    """Move a job directory into the Trash; one of that name that is there already is erased, as RELION does.

    Raises
    ------
    UserError
        The name leaves the project, or the disk refuses; then nothing was moved.
    """
    source = job_entry(project, name)
    _move(source, entry_in_project(project, trash_path(name)))


def move_file_to_trash(project: Path, path: str) -> None:
    """Move one file or link into the Trash; a file of that path that is there already is replaced."""
    _move(entry_in_project(project, path), entry_in_project(project, trash_path(path)))


def bring_back_job(project: Path, name: str) -> None:
    """Move a job directory out of the Trash to where it was.

    Raises
    ------
    UserError
        It is not in the Trash, or its place is taken.
    """
    target = job_entry(project, name)
    source = entry_in_project(project, trash_path(name))
    if not source.is_dir():
        raise UserError(f"{trash_path(name)} does not exist; {jobs_sentence(project)}.")
    if os.path.lexists(target):
        raise UserError(f"{name.rstrip('/')}/ exists, so the one in the Trash cannot take its place; rename or delete it first.")
    _move(source, target)


def bring_back_file(project: Path, path: str) -> bool:
    """Move one file out of the Trash to where it was; False if it is not there or its place is taken."""
    source, target = entry_in_project(project, trash_path(path)), entry_in_project(project, path)
    if not os.path.lexists(source) or os.path.lexists(target):
        return False
    _move(source, target)
    return True


def deleted_jobs(project: Path) -> list[str]:
    """Names of the jobs in the Trash; a directory of cleaned files only is none."""
    folders = sorted((project / TRASH).glob("*/job[0-9]*"))
    files = (JOB_STAR, JOB_PIPELINE_STAR, DELETED_PIPELINE_STAR)
    return [f"{folder.parent.name}/{folder.name}/" for folder in folders if any((folder / name).is_file() for name in files)]


def jobs_sentence(project: Path) -> str:
    """Say which jobs are in the Trash."""
    jobs = deleted_jobs(project)
    return f"the Trash holds {', '.join(jobs)}" if jobs else "the Trash holds no job"


def contents(project: Path) -> TrashContents:
    """Count what the Trash holds; links are counted and not followed."""
    n_files = n_bytes = 0
    for folder, _, names in os.walk(project / TRASH):
        for name in names:
            n_files += 1
            n_bytes += os.lstat(os.path.join(folder, name)).st_size
    return TrashContents(tuple(deleted_jobs(project)), n_files, n_bytes)


def erase(project: Path) -> None:
    """Erase the Trash for good.

    Raises
    ------
    UserError
        It is a link, whose target we do not touch, or the disk refuses.
    """
    place = entry_in_project(project, TRASH)
    if place.is_symlink():
        raise UserError(f"{place} is a link to {os.path.realpath(place)}; nothing was erased, erase it there by hand.")
    if place.exists():
        with _disk(place, "remove"):
            shutil.rmtree(place)


def _move(source: Path, target: Path) -> None:
    if not os.path.lexists(source):
        raise UserError(f"{source} does not exist, so it cannot be moved.")
    with _disk(source, "move"):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        elif os.path.lexists(target):
            target.unlink()
        # a rename where it can be one; else copied and then removed, as mv does
        shutil.move(source, target)


@contextmanager
def _disk(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(error, path, verb) from error
