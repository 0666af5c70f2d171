"""What mends a project, one thing at a time; each function says what it did."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from relion_jobs.contract import labels
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.ondisk import pipeline_star, trash
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.names import entry_in_project, job_entry
from relion_jobs.ondisk.nodes_directory import add_entries
from relion_jobs.ondisk.project import edit_pipeline, with_file_names
from relion_jobs.pipeline.deletion import cut, put_back
from relion_jobs.pipeline.graph import Edge
from relion_jobs.running.finish import bury_the_dead, notice_ends


def bring_back(project: Path, name: str) -> str:
    """Move a job that the pipeline lists out of the Trash."""
    trash.bring_back_job(project, name)
    with suppress(FileNotFoundError):
        (job_entry(project, name) / labels.DELETED_PIPELINE_STAR).unlink()
    return "brought it back from the Trash."


def take_out(project: Path, name: str) -> str:
    """Take the row of a job without directory out of the pipeline and keep it in the Trash."""
    with edit_pipeline(project, f"take {name} out") as edit:
        parts = cut(edit.pipeline, [name])
        place = entry_in_project(project, f"{trash.trash_path(name)}/{labels.DELETED_PIPELINE_STAR}")
        place.parent.mkdir(parents=True, exist_ok=True)
        pipeline_star.write(parts.removed, place)
        edit.pipeline = parts.kept
    return f"took it out of the pipeline; its row is in {trash.trash_path(name)}/{labels.DELETED_PIPELINE_STAR}."


def remove_empty(project: Path, name: str) -> str:
    """Remove an empty job directory."""
    job_entry(project, name).rmdir()
    return "removed the empty directory."


def finish_deletion(project: Path, name: str) -> str:
    """Move a job to the Trash whose row a deletion has taken out already."""
    trash.move_job_to_trash(project, name)
    return f"moved it to the Trash; 'relion_jobs undelete {name}' brings it back."


def enter(project: Path, name: str) -> str:
    """Enter a job directory in the pipeline from its job_pipeline.star, with the status that its mark says."""
    directory = JobDirectory(project, name)
    part = with_file_names(project, pipeline_star.read(directory.path / labels.JOB_PIPELINE_STAR))
    if part.find(name) is None:
        raise UserError(f"{name}{labels.JOB_PIPELINE_STAR} is of another job; move the directory away.")
    ended = directory.status_from_marks()
    # what job_pipeline.star says is of the launch: a job that was running and left no mark is dead
    old = part.process(name).status
    row = replace(part.process(name), status=ended or (Status.FAILED if old is Status.RUNNING else old))
    with edit_pipeline(project, f"enter {name}") as edit:
        edit.pipeline = put_back(edit.pipeline, replace(part, processes=(row,)), [name])
        add_entries(project, edit.pipeline, name)
        status = edit.pipeline.process(name).status
    return f"entered it as {status}."


def link_alias(directory: JobDirectory, alias: str) -> str:
    """Make the link of an alias."""
    directory.link_alias(alias)
    return "made the link."


def remove_link(project: Path, place: str) -> str:
    """Remove a link."""
    entry_in_project(project, place).unlink()
    return "removed the link."


def bring_back_file(project: Path, path: str) -> str:
    """Move a file of the pipeline out of the Trash."""
    trash.bring_back_file(project, path)
    return "brought it back from the Trash."


def enter_end(project: Path, name: str) -> str:
    """Give a running job that has an exit mark its status."""
    return " ".join(["entered the end of the job.", *notice_ends(project, [name])])


def bury(project: Path) -> str:
    """Mark jobs as failed whose process is gone."""
    return " ".join(bury_the_dead(project)) or "it has ended meanwhile."


def raise_counter(project: Path) -> str:
    """Set the number of the next job above all that are there."""
    with edit_pipeline(project, "mend the job counter") as edit:
        now = max([edit.pipeline.counter, *(process.number + 1 for process in edit.pipeline.processes)])
        edit.pipeline = replace(edit.pipeline, counter=now)
    return f"the next job gets number {now}."


def drop_edge(project: Path, edge: Edge) -> str:
    """Take an edge out of the pipeline."""
    with edit_pipeline(project, "mend edges") as edit:
        now = edit.pipeline
        edit.pipeline = replace(
            now,
            input_edges=tuple(one for one in now.input_edges if one != edge),
            output_edges=tuple(one for one in now.output_edges if one != edge),
        )
    return "took the edge out, as RELION does."
