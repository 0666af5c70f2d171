"""What is written before a job starts: a new job, a run, a press of "Continue!", a request to abort."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from relion_jobs.contract import labels
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.jobtype import JobType
from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import job_star, made_star, nodes_directory, pipeline_star
from relion_jobs.ondisk.atomic import disk_errors
from relion_jobs.ondisk.gui_settings import write_gui_settings
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.job_star import JobRequest
from relion_jobs.ondisk.locks import job_lock
from relion_jobs.ondisk.project import edit_pipeline, read_pipeline, with_file_names
from relion_jobs.ondisk.unfinished import remove_unfinished
from relion_jobs.pipeline.graph import Pipeline, Process, add_outputs, add_process, job_pipeline, with_alias
from relion_jobs.running.finish import bury, complain, notice_ends, owner_of, record_failure
from relion_jobs.running.queue import cancel, cancel_command, standing
from relion_jobs.running.registry import Registry, answers_to
from relion_jobs.running.settings import (
    Settings,
    as_project_paths,
    check_inputs,
    completed,
    read_settings,
    with_changes,
    with_installed_program,
    with_ticks,
)

# RELION takes the number of a new job before it locks the project, so that two programs may take the same one
NOT_YOURS = (
    "If that was you, in RELION or an editor, all is well: the job runs as it stands there. If not, another program took the "
    "same job number at the same time: abort this job and make yours anew with 'relion_jobs new'."
)


@dataclass(frozen=True)
class Launch:
    """A job that is ready to start: its directory is prepared and its row says Running.

    Attributes
    ----------
    directory
        Where it runs.
    job_type
        Kind of job.
    settings
        What it does.
    """

    directory: JobDirectory
    job_type: JobType
    settings: Settings


def new_job(project: Path, job_type: JobType, texts: Mapping[str, str], *, alias: str = "", as_defaults: bool = True) -> str:
    """Add a Scheduled job and return its name, e.g. ``DynaMight/job002/``.

    Everything is checked before anything is written; the number is taken inside the project's lock.

    Parameters
    ----------
    project
        Project directory.
    job_type, texts
        Kind of job and rows of its job.star.
    alias
        Second name.
    as_defaults
        Let RELION's GUI offer these options for the next new job; a scheme does not.

    Raises
    ------
    UserError
        An option is wrong, an input missing, the alias unusable or the project cannot be written.
    """
    settings = read_settings(job_type, as_project_paths(job_type, texts, project=project, cwd=project), is_continue=False)
    check_inputs(job_type, settings, project, promised=promised(read_pipeline(project)))
    with edit_pipeline(project, f"addJob: {job_type.type_directory}", report=complain) as edit:
        pipeline = _skip_taken_numbers(edit.pipeline, project, job_type.type_directory)
        name = pipeline.next_job_directory(job_type.type_directory)
        edit.pipeline = add_scheduled(pipeline, project, name, job_type, settings, alias=alias, as_defaults=as_defaults)
    JobDirectory(project, name).copy_pipeline()
    return name


def add_scheduled(
    pipeline: Pipeline,
    project: Path,
    name: str,
    job_type: JobType,
    settings: Settings,
    *,
    alias: str = "",
    as_defaults: bool = True,
) -> Pipeline:
    """Make the directory of a new Scheduled job and return the pipeline with its row; call it under the project's lock.

    Raises
    ------
    UserError
        The alias is unusable, the directory holds files, or the disk refuses; then no directory is left.
    """
    directory = JobDirectory(project, name)
    process = Process(name, None, job_type.type_label, Status.SCHEDULED)
    pipeline = with_file_names(project, _with_launch(pipeline, process, job_type, settings))
    if alias:
        pipeline = with_alias(pipeline, name, alias)
    directory.create(new=True)
    try:
        _write_files(directory, pipeline, job_type, settings, as_defaults=as_defaults)
        if alias:
            directory.link_alias(str(pipeline.process(name).alias))
    except BaseException:
        # nobody has seen the directory yet, since its number stands in no pipeline
        shutil.rmtree(directory.path, ignore_errors=True)
        raise
    return pipeline


def schedule_continue(project: Path, name: str, job_type: JobType, texts: Mapping[str, str]) -> None:
    """Give a job that has run new options and the status Scheduled, so that `prepare_run` does "Continue!" with it.

    Raises
    ------
    UserError
        See `new_job`; or the job is running.
    """
    settings = read_settings(job_type, as_project_paths(job_type, texts, project=project, cwd=project), is_continue=True)
    check_inputs(job_type, settings, project)
    directory = JobDirectory(project, name)
    with job_lock(directory.path), edit_pipeline(project, f"schedule: {name}", report=complain) as edit:
        scheduled = replace(edit.pipeline.process(name), status=Status.SCHEDULED)
        edit.pipeline = with_file_names(project, _with_launch(edit.pipeline, scheduled, job_type, settings))
        directory.clear_marks()
        _write_files(directory, edit.pipeline, job_type, settings, as_defaults=False)


def prepare_run(project: Path, name: str, registry: Registry, *, as_defaults: bool = True) -> Launch:
    """Get a job ready to run with the job.star that it has; one with bad input gets its failure mark here.

    Parameters
    ----------
    project, name
        The job.
    registry
        Job types.
    as_defaults
        As in `new_job`.

    Raises
    ------
    UserError
        See `new_job`; or the job is running, or of a type that is not ours.
    """
    pipeline = read_pipeline(project)
    directory = JobDirectory(project, name)
    job_type = registry.find(pipeline.process(name).label)
    try:
        request = _request_of(directory, job_type)
        settings = read_settings(job_type, request.values, is_continue=request.is_continue)
        check_inputs(job_type, settings, project, promised=promised(pipeline))
    except UserError as error:
        record_failure(directory, error)
        raise
    return _prepare(project, name, job_type, settings, as_defaults=as_defaults)


def prepare_continue(project: Path, name: str, registry: Registry, *, changes: Mapping[str, str]) -> Launch:
    """Do what "Continue!" does: set options, tick a task, keep the directory.

    A task ticked in `changes` unticks what an earlier launch left ticked; no task ticked means the first one, from where it
    stopped.

    Raises
    ------
    UserError
        See `prepare_run`; or the job has not run yet, or two tasks are ticked.
    """
    process = read_pipeline(project).process(name)
    job_type = registry.find(process.label)
    request = _request_of(JobDirectory(project, name), job_type)
    if process.status == Status.SCHEDULED and not request.is_continue:
        raise UserError(f"{name} has not run yet, so there is nothing to continue; start it with 'relion_jobs run {name}'.")
    texts, unticked = with_ticks(job_type, request.values, changes)
    settings = read_settings(job_type, with_changes(job_type, texts, changes), is_continue=True)
    remarks = tuple(f"{switch} was still ticked from an earlier task and is now No." for switch in unticked)
    return _prepare(project, name, job_type, replace(settings, remarks=(*settings.remarks, *remarks)))


def abort(project: Path, name: str) -> str:
    """Ask a running job to stop; returns a sentence."""
    process = read_pipeline(project).process(name)
    directory = JobDirectory(project, process.name)
    if process.status != Status.RUNNING or directory.status_from_marks() is not None:
        raise UserError(f"{process.name} is not running ({directory.status_from_marks() or process.status}); nothing to abort.")
    is_repeated = directory.abort_requested()
    directory.request_abort()
    queued = standing(directory, fresh=True)
    if queued is None:
        return f"{process.name} was asked to stop; it does so at its next checkpoint."
    runs = queued.state == "runs" or (queued.state == "unknown" and owner_of(directory) is not None)
    if runs and not is_repeated:
        return f"{process.name} was asked to stop by its abort mark and does so at its next checkpoint; {_harder_way(directory)}"
    return _abort_in_queue(directory, runs=runs)


def _harder_way(directory: JobDirectory) -> str:
    """Say how a job in a queue is stopped that does not heed its abort mark."""
    try:
        cancel_command(directory)
    except UserError as error:
        return f"should it not: {error}"
    return f"'relion_jobs abort {directory.name}' once more cancels it in its queue."


def _abort_in_queue(directory: JobDirectory, *, runs: bool) -> str:
    """Cancel a job in its queue; where that cannot be done its abort mark stays, which stops it when it starts."""
    try:
        done = cancel(directory)
    except UserError as error:
        return f"{directory.name} has its abort mark, which it looks for as soon as it runs. {error}"
    if not bury(directory) and directory.status_from_marks() is None and not runs:
        # a queue that does not tell whether it did: nobody else writes the mark of a job that never started
        directory.write_mark(labels.EXIT_ABORTED)
        notice_ends(directory.project, [directory.name])
    return f"{directory.name} was {done}."


def _request_of(directory: JobDirectory, job_type: JobType) -> JobRequest:
    """Read the job.star of a job, which must be of the type that the pipeline says."""
    request = job_star.read(directory.path)
    if not answers_to(job_type, request.label):
        raise UserError(
            f"{directory.name.rstrip('/')}/{labels.JOB_STAR} is of type '{request.label}', but the pipeline lists the job as "
            f"'{job_type.type_label}'; put its job.star back."
        )
    texts = as_project_paths(job_type, request.values, project=directory.project, cwd=directory.project)
    return replace(request, values=completed(job_type, texts))


def _prepare(project: Path, name: str, job_type: JobType, settings: Settings, *, as_defaults: bool = True) -> Launch:
    directory = JobDirectory(project, name)
    pipeline = read_pipeline(project)
    process = pipeline.process(name)
    check_inputs(job_type, settings, project)
    _tell_what_was_changed(directory)
    _refuse_waiting_in_queue(directory, process, settings)
    # held while the directory is changed, so that a running job keeps its marks and its job.star
    with job_lock(directory.path, is_launch=True), edit_pipeline(project, f"runJob: {name}", report=complain) as edit:
        remove_unfinished(directory.path)
        running = replace(edit.pipeline.process(name), status=Status.RUNNING)
        changed = with_file_names(project, _with_launch(edit.pipeline, running, job_type, settings))
        directory.clear_marks()
        _write_files(directory, changed, job_type, settings, as_defaults=as_defaults)
        edit.pipeline = changed
    return Launch(directory, job_type, settings)


def _tell_what_was_changed(directory: JobDirectory) -> None:
    """Warn in the terminal and in run.err where the job that starts is not the one that was made."""
    if changed := made_star.what_changed(directory.path):
        warning = f"Warning: {directory.name}{labels.JOB_STAR} {changed}. {NOT_YOURS}"
        complain(warning)
        with disk_errors(directory.run_err), directory.run_err.open("a", errors="backslashreplace") as log:
            log.write(warning + "\n")


def _refuse_waiting_in_queue(directory: JobDirectory, process: Process, settings: Settings) -> None:
    waits = process.status == Status.RUNNING and settings.values.get("do_queue") and not directory.marks()
    if waits and (directory.path / labels.SUBMIT_SCRIPT).exists():
        raise UserError(
            f"{process.name} was submitted to a queue and has not ended; if the queue has lost it, "
            f"'relion_jobs abort {process.name}' first."
        )


def _with_launch(pipeline: Pipeline, process: Process, job_type: JobType, settings: Settings) -> Pipeline:
    """Add the row, the inputs and the known outputs of one launch to the pipeline."""
    inputs = [] if settings.is_continue else job_type.input_nodes(settings.values)
    pipeline = add_process(pipeline, process, inputs)
    return add_outputs(pipeline, process.name, _known_outputs(process.name, job_type, settings))


def _known_outputs(name: str, job_type: JobType, settings: Settings) -> list[Node]:
    """Outputs of all tasks of a launch that are known before it runs."""
    tasks = [one.task for one in (settings, *settings.then)]
    return [node for task in tasks for node in job_type.output_nodes(task, PurePath(name))]


def _write_files(
    directory: JobDirectory, pipeline: Pipeline, job_type: JobType, settings: Settings, *, as_defaults: bool = True
) -> None:
    """job.star, job_pipeline.star, the defaults of RELION's GUI and the entries of its browse tree."""
    process = pipeline.process(directory.name)
    texts = with_installed_program(job_type, settings.texts)
    request = JobRequest(process.label, settings.is_continue, _is_tomo(directory), texts)
    made_star.keep(request, directory.path)
    job_star.write(request, directory.path / labels.JOB_STAR)
    if as_defaults:
        write_gui_settings(directory.project, process.label, request)
    outputs = _known_outputs(process.name, job_type, settings)
    inputs = () if settings.is_continue else pipeline.inputs_of(process.name)
    pipeline_star.write(job_pipeline(process, inputs, outputs), directory.path / labels.JOB_PIPELINE_STAR)
    nodes_directory.add_entries(directory.project, pipeline, process.name)


def _is_tomo(directory: JobDirectory) -> bool:
    path = directory.path / labels.JOB_STAR
    return path.exists() and job_star.read(path).is_tomo


def _skip_taken_numbers(pipeline: Pipeline, project: Path, type_directory: str) -> Pipeline:
    """Pass over numbers whose directory exists though no pipeline knows it: an interrupted launch, or a RELION GUI's."""
    while os.path.lexists(project / (taken := pipeline.next_job_directory(type_directory)).rstrip("/")):
        complain(f"{taken} exists though the pipeline does not list it, as after an interrupted launch; it is passed over.")
        pipeline = replace(pipeline, counter=pipeline.counter + 1)
    return pipeline


def promised(pipeline: Pipeline) -> set[str]:
    """Name what scheduled and running jobs are going to write: their output nodes, and anything in their directories."""
    coming = [process for process in pipeline.processes if process.status in (Status.SCHEDULED, Status.RUNNING)]
    names = {process.name for process in coming} | {process.alias for process in coming if process.alias}
    return names | {node.path for process in coming for node in pipeline.outputs_of(process.name)}
