"""A new job in the place of an old one, as with RELION's "Toggle overwrite": the old one goes to the Trash.

Source: RELION 5 (gui_mainwindow.cpp, ``cb_run_i``): delete, set the job counter back, add, set the counter right again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from relion_jobs.contract.jobtype import JobType
from relion_jobs.contract.labels import DELETED_PIPELINE_STAR
from relion_jobs.ondisk import nodes_directory, trash
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.names import job_entry
from relion_jobs.ondisk.project import edit_pipeline, read_pipeline
from relion_jobs.pipeline.deletion import cut, dependents
from relion_jobs.running import launch
from relion_jobs.running.settings import check_inputs, read_settings
from relion_jobs.upkeep.delete import refuse_running, write_records


def overwrite_job(project: Path, name: str, job_type: JobType, texts: Mapping[str, str]) -> list[str]:
    """Put a new Scheduled job in the place of a job, with its number and alias; the old one goes to the Trash.

    Everything is checked before anything is moved. Old directory and new row change under one lock.

    Parameters
    ----------
    project
        Project directory.
    name
        The job; of the same type as the new one.
    job_type, texts
        The new job.

    Returns
    -------
    list of str
        A sentence for each job whose input came from the old one.

    Raises
    ------
    UserError
        The job is running, an option is wrong or an input missing.
    """
    settings = read_settings(job_type, texts, is_continue=False)
    pipeline = read_pipeline(project)
    check_inputs(job_type, settings, project, promised=launch.promised(pipeline))
    with edit_pipeline(project, f"overwrite: {name}") as edit:
        before = edit.pipeline
        old = before.process(name)
        refuse_running(project, old)
        users = dependents(before, [name])
        parts = cut(before, [name])
        write_records(project, before, parts.removed)
        nodes_directory.remove_entries(project, before, name)
        was_there = job_entry(project, name).exists()
        if was_there:
            trash.move_job_to_trash(project, name)
        try:
            added = launch.add_scheduled(parts.kept, project, name, job_type, settings, alias=old.alias or "")
        except BaseException:
            if was_there:
                trash.bring_back_job(project, name)
                (job_entry(project, name) / DELETED_PIPELINE_STAR).unlink(missing_ok=True)
            raise
        edit.pipeline = replace(added, counter=before.counter)
    JobDirectory(project, name).copy_pipeline()
    return [f"{user} used an output of the old {name}; that input is no longer listed." for user in users]
