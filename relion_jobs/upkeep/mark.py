"""Saying by hand how a job ended, as RELION's "Mark as finished" and "Mark as failed" do.

Source: RELION 5 (pipeliner.cpp, ``markAsFinishedJob``). Marks in the job directory are left as they are, as there.
"""

from __future__ import annotations

from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.ondisk import nodes_directory
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.locks import forget_dead_owner
from relion_jobs.ondisk.project import edit_pipeline
from relion_jobs.pipeline.graph import add_outputs, with_status, without_nodes
from relion_jobs.running.finish import owner_of

WORDS = {"finished": Status.SUCCEEDED, "failed": Status.FAILED, "aborted": Status.ABORTED}


def mark_job(project: Path, name: str, word: str) -> list[str]:
    """Set the status of a job, register what RELION_OUTPUT_NODES.star lists, drop outputs that do not exist.

    Parameters
    ----------
    project
        Project directory.
    name
        The job.
    word
        ``finished``, ``failed`` or ``aborted``.

    Returns
    -------
    list of str
        What was done.

    Raises
    ------
    UserError
        The job is being run here.
    """
    directory = JobDirectory(project, name)
    owner = owner_of(directory)
    if owner is not None and not owner.is_dead():
        raise UserError(f"{name} is being run by {owner}; abort it instead: 'relion_jobs abort {name}'.")
    status = WORDS[word]
    with edit_pipeline(project, f"mark {name} as {word}") as edit:
        was = edit.pipeline.process(name).status
        pipeline = with_status(edit.pipeline, name, status)
        new = [node for node in directory.read_output_nodes() if pipeline.node(node.path) is None]
        pipeline = add_outputs(pipeline, name, new)
        missing = [node.path for node in pipeline.outputs_of(name) if not (project / node.path).exists()]
        nodes_directory.remove_entries(project, pipeline, name)
        pipeline = without_nodes(pipeline, *missing)
        nodes_directory.add_entries(project, pipeline, name)
        edit.pipeline = pipeline
    forget_dead_owner(project / name)
    return [f"{name} was {was} and is now {status}.", *(f"Its output {path} does not exist and was dropped." for path in missing)]
