"""Output files that a job gets after it has ended, from a tool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import nodes_directory
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.locks import job_lock
from relion_jobs.ondisk.project import edit_pipeline
from relion_jobs.pipeline.graph import add_outputs


@contextmanager
def job_at_rest(project: Path, directory: Path) -> Iterator[Callable[[Path, str], None]]:
    """Keep a job from being run while a tool writes into its directory.

    Parameters
    ----------
    project
        Absolute project directory.
    directory
        Job directory relative to it.

    Yields
    ------
    Callable
        ``register(path, label)`` makes a file, relative to the project, an output node of the job: in
        RELION_OUTPUT_NODES.star, and in the pipeline if the job has succeeded. Else RELION reads it when it does.

    Raises
    ------
    LockTimeout
        The job is running; the message names the process.
    """
    job = JobDirectory(project, f"{directory}/")

    def register(path: Path, label: str) -> None:
        node = Node(str(path), label)
        job.add_output_node(node)
        with edit_pipeline(project, f"new output of {job.name}") as edit:
            if edit.pipeline.process(job.name).status == Status.SUCCEEDED:
                edit.pipeline = add_outputs(edit.pipeline, job.name, [node])
                nodes_directory.add_entries(project, edit.pipeline, job.name)

    with job_lock(job.path):
        yield register
