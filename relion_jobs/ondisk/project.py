"""Find, create and change a project."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from relion_jobs.contract.errors import BadStarFile, UserError
from relion_jobs.contract.labels import (
    JOB_PIPELINE_STAR,
    JOB_STAR,
    NOTE,
    PIPELINE_CHANGED,
    PIPELINE_STAR,
    PROJECT_MARK,
)
from relion_jobs.ondisk import pipeline_star
from relion_jobs.ondisk.atomic import disk_error
from relion_jobs.ondisk.job_star import RUN_JOB
from relion_jobs.ondisk.locks import RELION_WAIT_SECONDS, is_locked_by_others, project_lock
from relion_jobs.ondisk.one_name import name_of
from relion_jobs.ondisk.unfinished import remove_unfinished
from relion_jobs.pipeline.graph import Pipeline
from relion_jobs.pipeline.same_files import with_one_name

# RELION writes the pipeline in place: a reader without the lock may see half of it
_SETTLED_SECONDS = 1.0
_READ_PAUSE_SECONDS = 0.02

_JOB_NAME = re.compile(r"job\d{3,}")
_JOB_FILES = (JOB_STAR, JOB_PIPELINE_STAR, RUN_JOB, NOTE)


@dataclass
class PipelineEdit:
    """A pipeline that may be changed: assign `pipeline`, it is written when the lock is left."""

    pipeline: Pipeline


def locate(path: Path) -> Path:
    """Return the absolute directory of the project that `path` lies in.

    That is not the nearest default_pipeline.star: each job directory holds a copy. Aliases and other links are followed where
    the path as it was written lies in no project.

    Raises
    ------
    UserError
        No directory above is a project.
    """
    absolute = Path(os.path.abspath(path))
    for start in dict.fromkeys((absolute, absolute.resolve())):
        for directory in (start, *start.parents):
            if _is_project(directory):
                return directory
    raise UserError(
        f"{absolute} lies in no RELION project: no directory above it has a {PIPELINE_STAR}; 'relion_jobs init' makes one."
    )


def create(path: Path) -> Path:
    """Make a directory a project and return its absolute path; what is there already is left as it is.

    Raises
    ------
    UserError
        The directory cannot be made or written.
    """
    project = Path(os.path.abspath(path))
    try:
        project.mkdir(parents=True, exist_ok=True)
        (project / PROJECT_MARK).touch()
    except FileExistsError:
        raise UserError(f"{project} is a file; a project needs a directory.") from None
    except OSError as error:
        raise disk_error(error, project, "create") from error
    # two programs that start a project at once must not both write a first pipeline
    with project_lock(project, "create project"):
        if not (project / PIPELINE_STAR).exists():
            pipeline_star.write(Pipeline(), project / PIPELINE_STAR)
    touch_changed(project)
    return project


def read_pipeline(project: Path) -> Pipeline:
    """Read the pipeline of a project without the lock, trying again while RELION is writing it.

    Raises
    ------
    UserError
        There is no pipeline, or it is damaged.
    """
    file = _pipeline_file(project)
    deadline = time.monotonic() + RELION_WAIT_SECONDS
    known, since = None, time.monotonic()
    while True:
        before = _state_of(file)
        if before != known:
            known, since = before, time.monotonic()
        # somebody may hold the lock for long, or have died with it; but no write pauses that long
        is_settled = time.monotonic() >= min(since + _SETTLED_SECONDS, deadline)
        try:
            pipeline = with_file_names(project, pipeline_star.read(file))
        except BadStarFile:
            if is_settled:
                raise
        else:
            # our own programs put a whole file in place of the old one, whoever holds the lock
            if before == _state_of(file) and (is_settled or not is_locked_by_others(project)):
                return pipeline
        time.sleep(_READ_PAUSE_SECONDS)


def with_file_names(project: Path, pipeline: Pipeline) -> Pipeline:
    """Return a pipeline of the project in which every file has the one name that `one_name.name_of` gives it."""
    return with_one_name(pipeline, partial(name_of, project))


def _state_of(file: Path) -> tuple[int, int, int]:
    """Return what changes when a file is written."""
    try:
        found = file.stat()
    except OSError as error:
        raise disk_error(error, file, "read") from error
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def edit_pipeline(
    project: Path,
    reason: str,
    *,
    wait_seconds: float = RELION_WAIT_SECONDS,
    report: Callable[[str], None] | None = None,
) -> Iterator[PipelineEdit]:
    """Change the pipeline under RELION's lock.

    Lock, read, let the caller assign ``.pipeline`` of what it is given, write whole if it was changed, unlock, touch
    .pipeline_has_changed. An exception in the block leaves the file as it was and removes the lock.

    Parameters
    ----------
    project
        Project directory.
    reason
        Who changes what; others read it while they wait.
    wait_seconds, report
        As in `locks.project_lock`.

    Raises
    ------
    LockTimeout
        Somebody held the lock for too long, or took it away while we held it.
    UserError
        There is no pipeline, it is damaged, or it cannot be written.
    """
    file = _pipeline_file(project)
    with project_lock(project, reason, wait_seconds=wait_seconds, report=report) as lock:
        remove_unfinished(project)
        before = with_file_names(project, pipeline_star.read(file))
        edit = PipelineEdit(before)
        yield edit
        after = with_file_names(project, edit.pipeline)
        is_changed = after != before
        if is_changed:
            lock.check()
            pipeline_star.write(after, file)
    if is_changed:
        touch_changed(project)


def touch_changed(project: Path) -> None:
    """Tell an open GUI to read the pipeline again and to look for finished jobs."""
    try:
        (project / PIPELINE_CHANGED).write_bytes(b"")
    except OSError as error:
        raise disk_error(error, project / PIPELINE_CHANGED) from error


def resolve_job(project: Path, text: str, cwd: Path) -> str:
    """Return the name of the job that a person means, e.g. ``DynaMight/job002/``.

    Parameters
    ----------
    project
        Project directory.
    text
        The job's name or alias with or without final slash, ``job002``, or a path of the job or of a file in it: absolute,
        relative to `cwd` or to the project.
    cwd
        Directory in which the person typed it.

    Raises
    ------
    UserError
        The pipeline has no such job, or several.
    """
    pipeline = read_pipeline(project)
    if (found := pipeline.find(text.strip())) is not None:
        return found.name
    candidates = [Path(os.path.abspath(base / text)) for base in (cwd, project)]
    for candidate in [*candidates, *(path.resolve() for path in candidates)]:
        for root in (project, project.resolve()):
            if candidate.is_relative_to(root) and (name := _job_above(pipeline, candidate.relative_to(root))):
                return name
    matches = [process.name for process in pipeline.processes if process.name.split("/")[1:2] == [text.strip().rstrip("/")]]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(f"'{text}' may be {' or '.join(matches)}; give the directory too.")
    raise UserError(f"'{text}' is no job of the project {project}; {_known_jobs(pipeline)}.")


def _pipeline_file(project: Path) -> Path:
    file = project / PIPELINE_STAR
    if not file.is_file():
        raise UserError(f"{project} has no {PIPELINE_STAR}; 'relion_jobs init' makes one.")
    return file


def _is_project(directory: Path) -> bool:
    """Tell a project from a job directory, which holds a copy of the pipeline too."""
    if not (directory / PIPELINE_STAR).is_file():
        return (directory / PROJECT_MARK).is_file()
    if not _JOB_NAME.fullmatch(directory.name):
        return (directory / PROJECT_MARK).is_file() or not _is_copy(directory)
    return not any((directory / name).is_file() for name in _JOB_FILES)


def _is_copy(directory: Path) -> bool:
    """Return True for a job directory of an odd name, such as a copy of one: no job of its pipeline is below it."""
    try:
        pipeline = pipeline_star.read(directory / PIPELINE_STAR)
    except UserError:
        # RELION may be writing it, and a damaged pipeline is still the project's
        return False
    names = [process.name for process in pipeline.processes]
    has_jobs_below = any((directory / name).is_dir() for name in names)
    return bool(names) and not has_jobs_below and any((directory / name).is_file() for name in (JOB_STAR, JOB_PIPELINE_STAR))


def _job_above(pipeline: Pipeline, path: Path) -> str | None:
    """Return the job whose directory (or alias) is the first two parts of a path in the project."""
    found = pipeline.find("/".join(path.parts[:2])) if len(path.parts) >= 2 else None
    return found.name if found else None


def _known_jobs(pipeline: Pipeline, count: int = 5) -> str:
    names = [process.name for process in pipeline.processes]
    if not names:
        return "it has no jobs yet, 'relion_jobs new TYPE' adds one"
    return f"its {'last ' if len(names) > count else ''}jobs are {', '.join(names[-count:])}"
