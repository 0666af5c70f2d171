"""Deleting jobs as RELION does: into the Trash, with what is needed to bring them back.

Source: RELION 5 (pipeliner.cpp, ``deleteNodesAndProcesses``, ``undeleteJob``). Departures: a running job is refused; a job comes
back with status, alias and all edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import DELETED_PIPELINE_STAR, JOB_PIPELINE_STAR, TRASH, Status
from relion_jobs.ondisk import nodes_directory, pipeline_star, trash
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.names import job_entry
from relion_jobs.ondisk.project import edit_pipeline, read_pipeline, with_file_names
from relion_jobs.pipeline.deletion import cut, dependents, put_back
from relion_jobs.pipeline.graph import Pipeline, Process, job_pipeline
from relion_jobs.running.finish import owner_of


def delete_jobs(project: Path, names: Sequence[str], *, recursive: bool) -> list[str]:
    """Move jobs to the Trash.

    The pipeline is written first, so that a deletion that is cut short leaves a directory without a row, which
    `verify` finishes, and never a row without a directory.

    Parameters
    ----------
    project
        Project directory.
    names
        Jobs, by name or alias.
    recursive
        Delete the jobs that use their outputs too.

    Returns
    -------
    list of str
        A sentence for each deleted job, and for each job that lost an input.

    Raises
    ------
    UserError
        A job is running or unknown, or the disk refuses.
    """
    with edit_pipeline(project, f"delete {' '.join(names)}") as edit:
        before = edit.pipeline
        chosen = [before.process(name).name for name in names]
        using = dependents(before, chosen)
        chosen += using if recursive else []
        gone = [process for process in before.processes if process.name in chosen]
        for process in gone:
            refuse_running(project, process)
            job_entry(project, process.name)
        parts = cut(before, chosen)
        write_records(project, before, parts.removed)
        for process in gone:
            nodes_directory.remove_entries(project, before, process.name)
        edit.pipeline = parts.kept
    sentences = []
    for process in gone:
        sentences.append(_to_trash(project, process))
    if not recursive:
        sentences += [f"{name} used its output and is kept; it has lost that input." for name in _bereaved(parts.removed)]
    return sentences


def refuse_running(project: Path, process: Process) -> None:
    """Raise UserError if a job runs: its row says so and no exit mark is there, or a live process of ours holds it."""
    directory = JobDirectory(project, process.name)
    owner = owner_of(directory)
    if owner is not None and not owner.is_dead():
        raise UserError(f"{process.name} is being run by {owner}; abort it first and wait for its end.")
    if process.status is Status.RUNNING and directory.path.is_dir() and directory.status_from_marks() is None:
        raise UserError(
            f"{process.name} is Running; abort it first, or mark it if it is dead: 'relion_jobs mark {process.name} failed'."
        )


def write_records(project: Path, before: Pipeline, removed: Pipeline) -> None:
    """Write what brings deleted jobs back: deleted_pipeline.star in the first one's directory, job_pipeline.star in each.

    RELION's own Undelete takes the latter, which RELION leaves without nodes and edges at each "Continue!"; one that lacks none
    stays as it is.

    Parameters
    ----------
    project
        Project directory.
    before
        The pipeline with the jobs.
    removed
        The part that goes.
    """
    for process in removed.processes:
        folder = job_entry(project, process.name)
        if folder.is_dir() and not _is_whole(project, folder / JOB_PIPELINE_STAR, before, process.name):
            whole = job_pipeline(process, before.inputs_of(process.name), before.outputs_of(process.name))
            pipeline_star.write(whole, folder / JOB_PIPELINE_STAR)
    folder = job_entry(project, removed.processes[0].name)
    if folder.is_dir():
        pipeline_star.write(removed, folder / DELETED_PIPELINE_STAR)


def _is_whole(project: Path, file: Path, pipeline: Pipeline, name: str) -> bool:
    """Whether a job_pipeline.star has all files of a job that the pipeline lists."""
    try:
        found = with_file_names(project, pipeline_star.read(file))
    except UserError:
        return False
    return (
        found.find(name) is not None
        and set(pipeline.inputs_of(name)) <= set(found.inputs_of(name))
        and set(pipeline.outputs_of(name)) <= set(found.outputs_of(name))
    )


def undelete(project: Path, name: str) -> list[str]:
    """Bring a job back from the Trash, and those that were deleted together with it.

    Parameters
    ----------
    project
        Project directory.
    name
        ``DynaMight/job004``, also with ``Trash/`` before or a file of the job behind it.

    Returns
    -------
    list of str
        What was done.

    Raises
    ------
    UserError
        The Trash has no such job, or its name is in use again.
    """
    wanted = trashed_name(project, name)
    removed, file = record_of_deletion(project, wanted)
    here = [process.name for process in removed.processes if process.name in trash.deleted_jobs(project)]
    sentences = []
    with edit_pipeline(project, f"undelete {wanted}") as edit:
        taken = [process.name for process in edit.pipeline.processes if process.name in here]
        if wanted in taken:
            raise UserError(f"The pipeline has a job {wanted} again; delete that one before the old one comes back.")
        back = [one for one in here if one not in taken]
        for one in back:
            trash.bring_back_job(project, one)
        removed = replace(removed, processes=tuple(_as_it_ended(project, process) for process in removed.processes))
        edit.pipeline = put_back(edit.pipeline, removed, back)
        for one in back:
            sentences += _at_home(project, edit.pipeline, removed.process(one))
    with suppress(FileNotFoundError):
        (project / file).unlink()
    return sentences


def trashed_name(project: Path, text: str) -> str:
    """Return the job in the Trash that a person means."""
    parts = Path(text.strip()).parts
    if parts[:1] == (TRASH,):
        parts = parts[1:]
    jobs = trash.deleted_jobs(project)
    matches = [job for job in jobs if Path(job).parts == parts[:2] or (len(parts) == 1 and Path(job).name == parts[0])]
    if not matches:
        raise UserError(f"'{text}' is no job in the Trash: {trash.jobs_sentence(project)}.")
    if len(matches) > 1:
        raise UserError(f"'{text}' may be {' or '.join(matches)}; give the directory too.")
    return matches[0]


def record_of_deletion(project: Path, name: str) -> tuple[Pipeline, str]:
    """Return the pipeline part that a deletion took out, and where it will lie once the jobs are back.

    The newest deleted_pipeline.star that lists the job; else its job_pipeline.star, as RELION's own undelete takes it.
    """
    found = []
    for file in (project / TRASH).glob(f"*/job[0-9]*/{DELETED_PIPELINE_STAR}"):
        with suppress(UserError):
            part = with_file_names(project, pipeline_star.read(file))
            if part.find(name) is not None:
                found.append((file.stat().st_mtime, str(file.relative_to(project / TRASH)), part))
    if found:
        _, place, part = max(found, key=lambda item: item[:2])
        return part, place
    file = project / TRASH / name / JOB_PIPELINE_STAR
    if not file.is_file():
        raise UserError(
            f"{trash.trash_path(name)} holds neither {DELETED_PIPELINE_STAR} nor {JOB_PIPELINE_STAR}, so its row is lost; "
            "move its files by hand."
        )
    # named after what is never there: job_pipeline.star belongs to the job and stays
    part = with_file_names(project, pipeline_star.read(file))
    return replace(part, foreign_tables=()), f"{name}{DELETED_PIPELINE_STAR}"


def empty_trash(project: Path) -> str:
    """Erase the Trash for good; returns a sentence."""
    found = trash.contents(project)
    trash.erase(project)
    return f"Erased {sentence_about(found)}."


def sentence_about(found: trash.TrashContents) -> str:
    """Say what the Trash holds."""
    jobs = f", among them the job{'s' if len(found.jobs) > 1 else ''} {', '.join(found.jobs)}" if found.jobs else ""
    return f"{found.n_files} files of {found.n_bytes / 1e6:.1f} MB{jobs}"


def _to_trash(project: Path, process: Process) -> str:
    directory = JobDirectory(project, process.name)
    if process.alias:
        directory.unlink_alias(process.alias)
    if not job_entry(project, process.name).exists():
        return f"{process.name} was taken out of the pipeline; it had no directory."
    trash.move_job_to_trash(project, process.name)
    return f"{process.name} is now in {TRASH}/; 'relion_jobs undelete {process.name}' brings it back."


def _bereaved(removed: Pipeline) -> list[str]:
    """Jobs that stay, of which an input edge goes."""
    gone = {process.name for process in removed.processes}
    return list(dict.fromkeys(process for _, process in removed.input_edges if process not in gone))


def _as_it_ended(project: Path, process: Process) -> Process:
    """Give a job the status of its exit mark where its record, a job_pipeline.star, is of its launch."""
    if process.status is not Status.RUNNING:
        return process
    directory = JobDirectory(project, process.name)
    return replace(process, status=(directory.status_from_marks() if directory.path.is_dir() else None) or Status.FAILED)


def _at_home(project: Path, pipeline: Pipeline, process: Process) -> list[str]:
    """Make the link and the browse entries of a job that is back."""
    alias = pipeline.process(process.name).alias
    sentences = [f"{process.name} is back."]
    if alias:
        JobDirectory(project, process.name).link_alias(alias)
    elif process.alias:
        sentences.append(f"Its alias {process.alias} belongs to another job now; it came back without.")
    made = {node.path for node in pipeline.outputs_of(process.name)}
    for name in dict.fromkeys([process.name, *(user for path, user in pipeline.input_edges if path in made)]):
        nodes_directory.add_entries(project, pipeline, name)
    return sentences


def deleted_but_not_moved(project: Path, name: str) -> bool:
    """Return True for the directory of a job whose deletion was cut short: its row is gone, its record is there."""
    file = project / name / DELETED_PIPELINE_STAR
    return file.is_file() and read_pipeline(project).find(name) is None
