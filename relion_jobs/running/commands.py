"""What each command of ``relion_jobs`` does; prints with `sys.stdout.write`, returns the exit code."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from relion_jobs.contract import labels
from relion_jobs.contract.errors import UnknownJobType, UserError
from relion_jobs.contract.jobtype import JobType
from relion_jobs.contract.options import Option, defaults
from relion_jobs.ondisk import job_star, schedule_journal
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.project import create, locate, read_pipeline, resolve_job
from relion_jobs.ondisk.site import read_site
from relion_jobs.running import launch, settings
from relion_jobs.running.finish import take_stock
from relion_jobs.running.follow import Follower
from relion_jobs.running.foreign_jobs import PIPELINER, hand_to_relion, run_foreign
from relion_jobs.running.limits import Limits
from relion_jobs.running.overview import job_lines, project_lines, table
from relion_jobs.running.registry import Registry, answers_to, load_function, project_registry
from relion_jobs.running.scheduler import Scheduler
from relion_jobs.running.sentences import printable
from relion_jobs.running.submit import submit

WATCH_SECONDS = 2.0


def say(text: str) -> None:
    """Write one line to standard output at once."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(printable(text) + "\n")


def init(directory: Path) -> int:
    """Make a directory a project."""
    say(f"RELION project {create(directory)}")
    return 0


def types() -> int:
    """List the job types; broken plugins are named on standard error."""
    job_types, complaints = project_registry(project_or_none()).load_all()
    rows = [("NAME", "LABEL", "DESCRIPTION"), *((one.name, one.type_label, one.description or one.title) for one in job_types)]
    for line in table(rows):
        say(line)
    for complaint in complaints:
        complain(complaint)
    return 0


def options(name: str) -> int:
    """List the options of a job type."""
    job_type = project_registry(project_or_none()).find(name)
    known = settings.known_options(job_type)
    texts = defaults(known)
    for title, extra in (
        (f"RELION's options of {job_type.title}", False),
        ("Options of ours (with -o, or as flags in Additional arguments, other_args)", True),
    ):
        chosen = [option for option in known if option.extra == extra]
        if chosen:
            say(title)
            rows = [("VARIABLE", "LABEL", "DEFAULT", "RANGE", "FLAG", "HELP")]
            rows += [
                (one.variable, one.label.strip(), texts[one.variable] or '""', allowed(one), one.flag or "", one.help)
                for one in chosen
            ]
            for line in table(rows):
                say(f"  {line}")
    return 0


def allowed(option: Option) -> str:
    """Say what may be given for an option, in a few words."""
    if option.kind == "boolean":
        return f"{labels.YES}, {labels.NO}"
    if option.choices:
        return ", ".join(option.choices)
    words = {"integer": "whole number", "node": "file of the project"}.get(option.kind, option.kind)
    if option.minimum is not None:
        words += f" >= {option.minimum:g}"
    if option.maximum is not None:
        words += f"{' and' if option.minimum is not None else ''} <= {option.maximum:g}"
    if option.slider is not None:
        words += f" (slider {option.slider[0]:g} to {option.slider[1]:g})"
    return words + (", required" if option.required else "")


def new(name: str, job: Path | None, assignments: Sequence[str], alias: str) -> int:
    """Add a Scheduled job and print its directory."""
    project, cwd = locate(Path.cwd()), Path.cwd()
    _tell_what_ended(project)
    job_type = project_registry(project).find(name)
    texts = settings.new_texts(job_type, read_site(project))
    if job is not None:
        texts |= _texts_of(job, job_type)
    changes = settings.as_project_paths(job_type, settings.parse_assignments(assignments), project=project, cwd=cwd)
    say(launch.new_job(project, job_type, settings.with_changes(job_type, texts, changes), alias=alias))
    return 0


def _texts_of(job: Path, job_type: JobType) -> dict[str, str]:
    request = job_star.read(job)
    if not answers_to(job_type, request.label):
        raise UserError(f"{job} is of type '{request.label}', not '{job_type.type_label}'.")
    return request.values


def run(names: Sequence[str], *, detach: bool) -> int:
    """Run jobs one after another; stops at the first that does not succeed."""
    project = locate(Path.cwd())
    _tell_what_ended(project)
    registry = project_registry(project)
    jobs = [resolve_job(project, name, Path.cwd()) for name in names]
    if detach and len(jobs) > 1:
        raise UserError("--detach takes one job; 'relion_jobs schedule' runs several, each as soon as its inputs are there.")
    return max(_run_one(project, job, registry, detach=detach) for job in jobs)


def _run_one(project: Path, job: str, registry: Registry, *, detach: bool) -> int:
    try:
        registry.find(read_pipeline(project).process(job).label)
    except UnknownJobType:
        if not detach:
            run_foreign(project, job, say)
        elif hand_to_relion(project, job) is None:
            raise UserError(f"{job} is not of our types, and no {PIPELINER} of RELION 5 is on PATH; run it in RELION.") from None
        else:
            say(f"{job} was handed to {PIPELINER}.")
        return 0
    return _go(launch.prepare_run(project, job, registry), detach=detach)


def continue_(name: str, assignments: Sequence[str], *, detach: bool) -> int:
    """Do what "Continue!" does."""
    project = locate(Path.cwd())
    _tell_what_ended(project)
    job = resolve_job(project, name, Path.cwd())
    changes = settings.parse_assignments(assignments)
    registry = project_registry(project)
    request = job_star.read(JobDirectory(project, job).path)
    changes = settings.as_project_paths(registry.find(request.label), changes, project=project, cwd=Path.cwd())
    return _go(launch.prepare_continue(project, job, registry, changes=changes), detach=detach)


def _go(ready: launch.Launch, *, detach: bool) -> int:
    follower = Follower(ready.directory, sys.stdout)
    process = submit(ready)
    where = f"process {process.pid}" if process is not None else "handed to the queue"
    say(f"{ready.directory.name.rstrip('/')}/ {ready.settings.title}: {where}")
    if not detach:
        follower.wait(process)
    return 0


def abort(name: str) -> int:
    """Ask a running job to stop."""
    project = locate(Path.cwd())
    _tell_what_ended(project)
    say(launch.abort(project, resolve_job(project, name, Path.cwd())))
    return 0


def status(name: str | None, *, watch: bool) -> int:
    """Tell how the jobs of the project are, or one of them."""
    project = locate(Path.cwd())
    job = resolve_job(project, name, Path.cwd()) if name else None
    while True:
        _tell_what_ended(project)
        lines = job_lines(project, job) if job else project_lines(project)
        if watch and sys.stdout.isatty():
            sys.stdout.write("\x1b[H\x1b[2J")
        say("\n".join(lines))
        if not watch or not _is_anything_going_on(project, job):
            return 0
        time.sleep(WATCH_SECONDS)


def _is_anything_going_on(project: Path, job: str | None) -> bool:
    processes = [one for one in read_pipeline(project).processes if job is None or one.name == job]
    return any(one.status in (labels.Status.RUNNING, labels.Status.SCHEDULED) for one in processes)


def schedule(limits: Limits, *, rounds: int, wait_minutes: float) -> int:
    """Run the scheduled jobs in dependency order, or take up a schedule that died."""
    if rounds < 1 or not 0 <= wait_minutes < 1e6:
        raise UserError("--repeat takes a number of at least 1, --wait one of minutes that is not negative.")
    project = locate(Path.cwd())
    scheduler = Scheduler(project, project_registry(project), limits, say, rounds=rounds, wait_minutes=wait_minutes)
    return 0 if scheduler.run() else 1


def stop_schedule(*, abort: bool) -> int:
    """Let the scheduler of the project start nothing more; with `abort` its running jobs are asked to stop, too."""
    project = locate(Path.cwd())
    journal = schedule_journal.read(project)
    if not schedule_journal.stop(project):
        raise UserError(f"No schedule is under way in {project}; nothing to stop.")
    say("The schedule was asked to stop: it starts nothing more.")
    pipeline = read_pipeline(project)
    for process in [found for name in (journal.jobs if journal and abort else ()) if (found := pipeline.find(name))]:
        if process.status == labels.Status.RUNNING:
            say(launch.abort(project, process.name))
    return 0


def check(name: str) -> int:
    """Check the inputs of a job and print what it would do."""
    project = locate(Path.cwd())
    job = resolve_job(project, name, Path.cwd())
    request = job_star.read(JobDirectory(project, job).path)
    job_type = project_registry(project).find(request.label)
    chosen = settings.read_settings(job_type, settings.completed(job_type, request.values), is_continue=request.is_continue)
    settings.check_inputs(job_type, chosen, project)
    # the functions of a job type take every path from the project
    os.chdir(project)
    for remark in chosen.remarks:
        complain(f"Warning: {remark}")
    say(f"{job} would run: {chosen.title}")
    if chosen.task.check:
        for sentence in load_function(chosen.task.check)(chosen.values, Path(job)):
            say(sentence)
    return 0


def _tell_what_ended(project: Path) -> None:
    try:
        for text in take_stock(project):
            complain(text)
    except UserError as error:
        # a project that cannot be written can still be looked at
        complain(f"Jobs that have ended cannot be entered in the pipeline: {error}")


def project_or_none() -> Path | None:
    """Find the project around the current directory, for commands that work without one too."""
    try:
        return locate(Path.cwd())
    except UserError:
        return None
