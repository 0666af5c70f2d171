"""One look at one matter each: what the pipeline says against what lies in the project."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from relion_jobs.contract import labels
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.ondisk import job_star, made_star, trash
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.names import JOB_NUMBER, job_entry
from relion_jobs.ondisk.owner import ago
from relion_jobs.pipeline.graph import Pipeline, Process
from relion_jobs.running.finish import owner_of
from relion_jobs.running.launch import NOT_YOURS
from relion_jobs.running.unbegun import unbegun_sentence
from relion_jobs.upkeep import mending
from relion_jobs.upkeep.delete import deleted_but_not_moved
from relion_jobs.upkeep.findings import Finding


def name_findings(project: Path, pipeline: Pipeline) -> Iterator[Finding]:
    """Rows whose name is no job directory of this project, twice the same row, one number for two jobs."""
    for process in pipeline.processes:
        with _finding_instead() as problem:
            job_entry(project, process.name)
        yield from problem
    for name, times in Counter(process.name for process in pipeline.processes).items():
        if times > 1:
            yield Finding(f"The pipeline lists {name} {times} times.", remedy="Take the rows out that are wrong, in an editor.")
    numbers: dict[int, list[str]] = {}
    for process in pipeline.processes:
        numbers.setdefault(process.number, []).append(process.name)
    for names in numbers.values():
        if len(set(names)) > 1:
            remedy = "RELION does this where two programs add jobs at once; both work."
            yield Finding(f"{' and '.join(names)} have the same number.", remedy=remedy, is_wrong=False)


def sound_rows(project: Path, pipeline: Pipeline) -> tuple[Process, ...]:
    """Rows whose name is a job directory of this project."""
    found = []
    for process in pipeline.processes:
        with suppress(UserError):
            job_entry(project, process.name)
            found.append(process)
    return tuple(found)


def counter_findings(project: Path, pipeline: Pipeline) -> Iterator[Finding]:
    """A job counter that would give out a number that is taken."""
    highest = max((process.number for process in pipeline.processes), default=0)
    if pipeline.counter <= highest:
        sentence = f"The job counter is {pipeline.counter}, but there is a job number {highest}."
        yield Finding(sentence, partial(mending.raise_counter, project))


def directory_findings(project: Path, pipeline: Pipeline) -> Iterator[Finding]:
    """Rows without a directory."""
    in_trash = trash.deleted_jobs(project)
    for process in pipeline.processes:
        if (project / process.name).is_dir():
            continue
        if process.name in in_trash:
            sentence = f"{process.name} is in the pipeline, but its directory is in the Trash."
            yield Finding(sentence, partial(mending.bring_back, project, process.name))
        else:
            yield Finding(
                f"{process.name} is in the pipeline, but has no directory.", partial(mending.take_out, project, process.name)
            )


def orphan_findings(project: Path, pipeline: Pipeline) -> Iterator[Finding]:
    """Job directories that the pipeline does not list."""
    known = {process.name for process in pipeline.processes}
    for name in _job_directories(project):
        if name in known:
            continue
        folder = project / name
        if not any(folder.iterdir()):
            yield Finding(f"{name} is empty and not in the pipeline.", partial(mending.remove_empty, project, name))
        elif deleted_but_not_moved(project, name):
            sentence = f"{name} was deleted from the pipeline, but its directory did not get into the Trash."
            yield Finding(sentence, partial(mending.finish_deletion, project, name))
        elif (folder / labels.JOB_PIPELINE_STAR).is_file():
            yield Finding(f"{name} is a job directory that the pipeline does not list.", partial(mending.enter, project, name))
        elif any((folder / file).exists() for file in (labels.JOB_STAR, labels.NOTE, labels.RUN_OUT)):
            remedy = f"It has no {labels.JOB_PIPELINE_STAR} to enter it from; move it away."
            yield Finding(f"{name} is a job directory that the pipeline does not list.", remedy=remedy)


def alias_findings(project: Path, pipeline: Pipeline) -> Iterator[Finding]:
    """Aliases without their link, and links of aliases that are no more."""
    aliases = {process.alias.rstrip("/"): process for process in pipeline.processes if process.alias}
    for alias, process in aliases.items():
        link = project / alias
        if not os.path.lexists(link) or (link.is_symlink() and _target(project, link) != process.name.rstrip("/")):
            directory = JobDirectory(project, process.name)
            yield Finding(f"The alias {alias}/ of {process.name} has no link.", partial(mending.link_alias, directory, alias))
        elif not link.is_symlink():
            yield Finding(f"{alias} is no link, though it is the alias of {process.name}.", remedy="Move it away.")
    names = {process.name.rstrip("/") for process in pipeline.processes}
    for link in sorted(path for folder in _type_directories(project) for path in folder.iterdir() if path.is_symlink()):
        place = str(link.relative_to(project))
        if place not in aliases and place not in names and (target := _target(project, link)) in names:
            sentence = f"The link {place} leads to {target}/, which has no such alias; RELION leaves such links behind."
            yield Finding(sentence, partial(mending.remove_link, project, place), is_wrong=False)


def edge_findings(project: Path, pipeline: Pipeline) -> Iterator[Finding]:
    """Edges that lead to a job or a file that the pipeline does not list; RELION drops them when it writes next."""
    names = {process.name for process in pipeline.processes}
    paths = {node.path for node in pipeline.nodes}
    bad_inputs = [edge for edge in pipeline.input_edges if edge[0] not in paths or edge[1] not in names]
    bad_outputs = [edge for edge in pipeline.output_edges if edge[0] not in names or edge[1] not in paths]
    for start, end in (*bad_inputs, *bad_outputs):
        missing = start if start not in names | paths else end
        sentence = f"The edge from {start} to {end} leads to {missing}, which the pipeline does not list."
        yield Finding(sentence, partial(mending.drop_edge, project, (start, end)))


def node_findings(project: Path, pipeline: Pipeline) -> Iterator[Finding]:
    """Files of the pipeline that are not there though they should be."""
    makers = {path: process for process, path in pipeline.output_edges}
    statuses = {process.name: process.status for process in pipeline.processes}
    users: dict[str, list[str]] = {}
    for path, process in pipeline.input_edges:
        users.setdefault(path, []).append(process)
    for node in pipeline.nodes:
        maker = makers.get(node.path, "")
        is_due = (statuses.get(maker) is Status.SUCCEEDED) if maker else node.path in users
        if not is_due or (project / node.path).exists():
            continue
        what = f"an output of {maker}" if maker else f"an input of {users[node.path][0]}"
        sentence = f"{node.path}, {what}, does not exist."
        if os.path.lexists(project / trash.trash_path(node.path)):
            yield Finding(f"{sentence[:-1]}: it is in the Trash.", partial(mending.bring_back_file, project, node.path))
        else:
            remedy = f"'relion_jobs mark {maker} finished' drops it from the pipeline." if maker else "Put it back."
            yield Finding(sentence, remedy=remedy)


def status_findings(project: Path, pipeline: Pipeline) -> Iterator[Finding]:
    """Statuses that the marks or the processes contradict."""
    for process in pipeline.processes:
        if not (project / process.name).is_dir():
            continue
        directory = JobDirectory(project, process.name)
        marked = directory.status_from_marks()
        if process.status is Status.RUNNING and marked is not None:
            yield Finding(
                f"{process.name} is Running, but its mark says {marked}.", partial(mending.enter_end, project, process.name)
            )
        elif process.status is Status.RUNNING:
            owner = owner_of(directory)
            if owner is not None and owner.is_dead():
                yield Finding(f"{process.name} is Running, but {owner} is gone and left no mark.", partial(mending.bury, project))
            elif unbegun := unbegun_sentence(directory, time.time()):
                yield Finding(unbegun)
            elif owner is None:
                yield Finding(_silence(directory), remedy=_silence_remedy(process), is_wrong=False)
        elif process.status in (Status.SUCCEEDED, Status.FAILED, Status.ABORTED) and marked not in (None, process.status):
            remedy = "That is so where somebody marked it by hand."
            yield Finding(f"{process.name} is {process.status}, but its mark says {marked}.", remedy=remedy, is_wrong=False)


def settings_findings(project: Path, pipeline: Pipeline) -> Iterator[Finding]:
    """Job settings that cannot be read, or are of another type than the row."""
    for process in pipeline.processes:
        folder = project / process.name
        if not folder.is_dir():
            continue
        with _finding_instead() as problem:
            label = job_star.read(folder).label
            if label.split(".")[:2] != process.label.split(".")[:2] and label != process.type_directory:
                sentence = f"{process.name} is of type {process.label}, but its job.star of type {label}."
                problem.append(Finding(sentence, remedy="Put its job.star back."))
        yield from problem


def overwritten_findings(project: Path, pipeline: Pipeline) -> Iterator[Finding]:
    """Job settings that are not those that this program wrote."""
    for process in pipeline.processes:
        with suppress(UserError):
            if changed := made_star.what_changed(project / process.name):
                yield Finding(f"{process.name}{labels.JOB_STAR} {changed}.", remedy=NOT_YOURS, is_wrong=False)


class _finding_instead:  # noqa: N801 - used as a context manager, like contextlib.suppress
    """Turn the UserError of a block into a finding."""

    def __init__(self) -> None:
        self.found: list[Finding] = []

    def __enter__(self) -> list[Finding]:
        return self.found

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, UserError):
            self.found.append(Finding(str(error), remedy="Mend it by hand."))
            return True
        return False


def _type_directories(project: Path) -> list[Path]:
    skipped = (labels.TRASH, labels.SCHEMES, "ExportJobs")
    folders = (path for path in project.iterdir() if path.is_dir() and not path.is_symlink())
    return sorted(path for path in folders if path.name not in skipped and not path.name.startswith("."))


def _job_directories(project: Path) -> list[str]:
    found = (path for folder in _type_directories(project) for path in folder.iterdir())
    jobs = (path for path in found if JOB_NUMBER.fullmatch(path.name) and path.is_dir() and not path.is_symlink())
    return sorted(f"{path.parent.name}/{path.name}/" for path in jobs)


def _target(project: Path, link: Path) -> str:
    """Return where a link leads, relative to the project; empty where that is outside."""
    target = os.path.normpath(link.parent / os.readlink(link))
    return os.path.relpath(target, project) if Path(target).is_relative_to(project) else ""


def _silence(directory: JobDirectory) -> str:
    try:
        last = f"its log was last written {ago(directory.run_out.stat().st_mtime)}"
    except OSError:
        last = "it has no log"
    return f"{directory.name} is Running, but no process of this machine says that it runs it; {last}."


def _silence_remedy(process: Process) -> str:
    return f"It may wait in a queue or run elsewhere; if it is dead, 'relion_jobs mark {process.name} failed'."
