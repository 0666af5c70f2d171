"""Cleaning up: files that a succeeded job can do without go to the Trash. Only jobs of our own types are cleaned.

Source: RELION 5 (pipeliner.cpp, ``cleanupJob``, ``cleanupAllJobs``): succeeded jobs only, nothing is erased, and a harsh clean of
all jobs passes over those with a file NO_HARSH_CLEAN.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from relion_jobs.contract import labels
from relion_jobs.contract.errors import UnknownJobType, UserError
from relion_jobs.contract.jobtype import JobType
from relion_jobs.contract.labels import Status
from relion_jobs.ondisk import job_star, trash
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.names import entry_in_project
from relion_jobs.ondisk.one_name import name_of, plain_name
from relion_jobs.ondisk.project import read_pipeline
from relion_jobs.pipeline.graph import Pipeline
from relion_jobs.running.finish import owner_of
from relion_jobs.running.registry import Registry

# never cleaned, whatever a job type declares
_CONTROL_FILES = frozenset(
    {
        *labels.JOB_MARKS,
        labels.JOB_STAR,
        labels.JOB_PIPELINE_STAR,
        labels.DELETED_PIPELINE_STAR,
        labels.OUTPUT_NODES_STAR,
        labels.PIPELINE_STAR,
        labels.NOTE,
        labels.RUN_OUT,
        labels.RUN_ERR,
        labels.SUBMIT_SCRIPT,
        labels.NO_HARSH_CLEAN,
    }
)


@dataclass(frozen=True)
class Cleaned:
    """What a clean moved.

    Attributes
    ----------
    name
        The job.
    paths
        Relative to the project.
    n_bytes
        Of all of them.
    """

    name: str
    paths: tuple[str, ...]
    n_bytes: int


def clean_job(project: Path, name: str, registry: Registry, *, harsh: bool) -> Cleaned:
    """Move what a job can do without to the Trash.

    Raises
    ------
    UserError
        The job has not succeeded, runs, or is of a type that is not ours.
    """
    pipeline = read_pipeline(project)
    process = pipeline.process(name)
    directory = JobDirectory(project, process.name)
    try:
        job_type = registry.find(process.label)
    except UnknownJobType:
        raise UserError(
            f"{name} is of type {process.label}, which is not ours; clean it in RELION (relion_pipeliner --"
            f"{'harsh' if harsh else 'gentle'}_clean {process.number})."
        ) from None
    owner = owner_of(directory)
    if process.status is not Status.SUCCEEDED or (owner is not None and not owner.is_dead()):
        raise UserError(f"{name} is {process.status}; only jobs that have Succeeded are cleaned.")
    paths = tuple(cleanable_paths(pipeline, directory, job_type, harsh=harsh))
    n_bytes = sum(os.lstat(project / path).st_size for path in paths)
    for path in paths:
        trash.move_file_to_trash(project, path)
    return Cleaned(name, paths, n_bytes)


def clean_all(project: Path, registry: Registry, *, harsh: bool) -> tuple[list[Cleaned], list[str]]:
    """Clean every succeeded job of our types; a harsh clean passes over jobs with a file NO_HARSH_CLEAN.

    Returns
    -------
    list of Cleaned, list of str
        What was done, and a sentence for each job that could not be cleaned.
    """
    cleaned, complaints = [], []
    for process in read_pipeline(project).processes:
        is_spared = harsh and (project / process.name / labels.NO_HARSH_CLEAN).exists()
        if process.status is Status.SUCCEEDED and not is_spared and _is_ours(process.label, registry):
            try:
                cleaned.append(clean_job(project, process.name, registry, harsh=harsh))
            except UserError as error:
                complaints.append(f"{process.name} was not cleaned: {error}")
    return cleaned, complaints


def cleanable_paths(pipeline: Pipeline, directory: JobDirectory, job_type: JobType, *, harsh: bool) -> list[str]:
    """Files that a clean would move, relative to the project.

    A file is left where it is if it is a node of the pipeline, if job.star names it, or if it is one of RELION's own.
    """
    root = directory.path
    project = directory.project
    named = {node.path for node in pipeline.nodes}
    named |= {pipeline.real_path(plain_name(project, word)) for word in _words_of_job_star(directory)}
    kept = named | {name_of(project, path) for path in named}
    found = set()
    for one in job_type.cleanables:
        if ".." in PurePosixPath(one.pattern).parts or one.pattern.startswith("/"):
            raise UserError(f"Job type {job_type.name} wants to clean '{one.pattern}', which leaves the job directory.")
        if (one.harsh and not harsh) or (one.needs and not (root / one.needs).is_file()):
            continue
        for path in root.glob(one.pattern):
            found |= set(_files(path))
    inside = (str(path.relative_to(project)) for path in found if path.name not in _CONTROL_FILES)
    return sorted(path for path in inside if path not in kept and _lies_in(directory, path))


def _files(path: Path) -> Iterable[Path]:
    """Yield a file or link itself, or all that a directory holds; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path):
        yield from (Path(folder) / name for name in names)
        yield from (Path(folder) / name for name in folders if (Path(folder) / name).is_symlink())


def _lies_in(directory: JobDirectory, path: str) -> bool:
    """Return False for what is reached through a link that leads out of the job."""
    entry = entry_in_project(directory.project, path)
    return Path(os.path.realpath(entry.parent)).is_relative_to(os.path.realpath(directory.path))


def _words_of_job_star(directory: JobDirectory) -> set[str]:
    values = job_star.read(directory.path).values.values()
    words = [word for value in values for word in value.replace("=", " ").split()]
    return {word.strip("'\"") for word in words if word.strip("'\"")}


def _is_ours(label: str, registry: Registry) -> bool:
    try:
        registry.find(label)
    except UserError:
        return False
    return True
