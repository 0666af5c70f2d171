"""The second name of a job: the column of the pipeline, the link beside the job, the entries of the browse tree.

Source: RELION 5 (pipeliner.cpp, ``setAliasJob``). Departure: the link of an alias that is removed goes too.
"""

from __future__ import annotations

from pathlib import Path

from relion_jobs.ondisk import nodes_directory
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.project import edit_pipeline
from relion_jobs.pipeline.graph import with_alias


def set_alias(project: Path, name: str, alias: str) -> str:
    """Give a job an alias, or take it away with an empty one; returns a sentence.

    Raises
    ------
    UserError
        The alias breaks a rule of RELION, belongs to another job, or its place is taken by a file.
    """
    directory = JobDirectory(project, name)
    with edit_pipeline(project, f"setAlias: {name}") as edit:
        old = edit.pipeline.process(name).alias
        pipeline = with_alias(edit.pipeline, name, alias)
        new = pipeline.process(name).alias
        if new:
            directory.link_alias(new)
        nodes_directory.remove_entries(project, edit.pipeline, name)
        if old and old != new:
            directory.unlink_alias(old)
        nodes_directory.add_entries(project, pipeline, name)
        edit.pipeline = pipeline
    return f"{name} is also {new} now." if new else f"{name} has no alias now."
