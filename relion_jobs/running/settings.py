"""The settings of one launch: from the text of job.star, ``-o VAR=VALUE`` and flags to checked values."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from relion_jobs.contract import labels
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.jobtype import JobType, Task
from relion_jobs.contract.options import (
    OTHER_ARGS,
    Option,
    Value,
    defaults,
    join_other_args,
    parse_values,
    split_other_args,
    take_flags,
)
from relion_jobs.ondisk.names import check_name
from relion_jobs.ondisk.one_name import name_of, plain_name
from relion_jobs.ondisk.site import Site

QUEUE_SWITCH = "do_queue"
QUEUE_TEMPLATE = "qsubscript"
SUBMIT_COMMAND = "qsub"


@dataclass(frozen=True)
class Settings:
    """What one launch of a job does.

    Attributes
    ----------
    texts
        Rows of job.star.
    values
        Parsed options, as the task gets them.
    task
        The task that runs.
    is_continue
        Whether this is a press of "Continue!".
    remarks
        Sentences that the user should see, though nothing is wrong.
    then
        Settings of the tasks that run behind this one in the same run.
    """

    texts: Mapping[str, str]
    values: Mapping[str, Value]
    task: Task
    is_continue: bool
    remarks: tuple[str, ...] = ()
    then: tuple[Settings, ...] = ()

    @property
    def title(self) -> str:
        """What runs, for the person who waits."""
        return ", ".join(one.task.title for one in (self, *self.then))


def known_options(job_type: JobType, environment: Mapping[str, str] = os.environ) -> tuple[Option, ...]:
    """Options of the job type, and the queue's own ones (``qsub_extraN``) where RELION_QSUB_EXTRAi names them."""
    options = job_type.options
    if not any(option.variable == QUEUE_SWITCH for option in options):
        return options
    count = environment.get("RELION_QSUB_EXTRA_COUNT", "2")
    extras = []
    for index in range(1, int(count) + 1 if count.isdigit() else 3):
        variable = f"RELION_QSUB_EXTRA{index}"
        if variable in environment:
            extras.append(
                Option(
                    variable=f"qsub_extra{index}",
                    label=environment[variable],
                    tab="Running",
                    kind="text",
                    default=environment.get(variable + "_DEFAULT", ""),
                    help=environment.get(variable + "_HELP", "A further value for the submission script."),
                )
            )
    return (*options, *extras)


def parse_assignments(words: Iterable[str]) -> dict[str, str]:
    """``VAR=VALUE`` words as a mapping."""
    changes = {}
    for word in words:
        variable, equals, text = word.partition("=")
        if not equals or not variable:
            raise UserError(f"'-o {word}' is not of the form VARIABLE=VALUE.")
        if "\n" in text or "\r" in text:
            raise UserError(f"The value of {variable} has a line break in it; job.star cannot hold that.")
        changes[variable.strip()] = text.strip()
    return changes


def new_texts(job_type: JobType, site: Site | None = None) -> dict[str, str]:
    """Rows of job.star of a new job: the defaults of all options but our extra ones, which travel in `other_args`."""
    texts = defaults(option for option in known_options(job_type) if not option.extra)
    given = site_texts(site) if site else {}
    return texts | {variable: text for variable, text in given.items() if variable in texts}


def program_name(job_type: JobType) -> str:
    """Name of our program that RELION calls for jobs of this type; empty where RELION has no option for it."""
    return job_type.option(job_type.program).default if job_type.program else ""


def with_installed_program(job_type: JobType, texts: Mapping[str, str]) -> dict[str, str]:
    """`texts` with the absolute path of our program in the option that names it, so that a RELION without our PATH finds it.

    What the user gave stays. The name alone is replaced, and a path of our program at which it is no more; not by a path that the
    shell which reads RELION's command line would take apart.
    """
    text = texts.get(job_type.program, "")
    name = program_name(job_type)
    is_gone = Path(text).is_absolute() and Path(text).name == name and not Path(text).is_file()
    if not text or not (text == name or is_gone):
        return dict(texts)
    beside = Path(sys.executable).with_name(name)
    installed = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    if installed is None or shlex.quote(os.path.abspath(installed)) != os.path.abspath(installed):
        return dict(texts)
    return {**texts, job_type.program: os.path.abspath(installed)}


def completed(job_type: JobType, texts: Mapping[str, str]) -> dict[str, str]:
    """Rows of a job.star with defaults where it is empty but may not be, as other programs leave numbers that do not matter."""
    needed = [option for option in known_options(job_type) if option.kind in ("integer", "number", "choice")]
    empty = defaults(option for option in needed if not texts.get(option.variable, "-").strip())
    return {**texts, **empty}


def with_changes(job_type: JobType, texts: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """`texts` with options set; our extra ones go into `other_args`.

    Raises
    ------
    UserError
        The job type has no such option.
    """
    options = {option.variable: option for option in known_options(job_type)}
    result = dict(texts)
    for variable, text in changes.items():
        if variable not in options:
            job_type.option(variable)
        option = options[variable]
        if option.kind == "boolean" and text.lower() in ("yes", "true", "no", "false"):
            text = labels.YES if text.lower() in ("yes", "true") else labels.NO
        if option.extra:
            option.parse(text)
            # without aliases: another task may read the same spelling as an option of its own
            own = [replace(option, aliases=())]
            result[OTHER_ARGS] = join_other_args(own, result.get(OTHER_ARGS, ""), {variable: text})
        else:
            result[variable] = text
    return result


def with_ticks(job_type: JobType, texts: Mapping[str, str], changes: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Where `changes` tick a task for "Continue!", untick those that an earlier launch left ticked in job.star.

    Returns the texts, without `changes`, and what was unticked.
    """
    switches = [task.switch for task in job_type.tasks if task.switch]
    if not any(changes.get(switch, "").lower() in ("yes", "true") for switch in switches):
        return dict(texts), []
    extra, _ = split_other_args(known_options(job_type), texts.get(OTHER_ARGS, ""))
    stale = [switch for switch in switches if switch not in changes and {**texts, **extra}.get(switch) == labels.YES]
    return with_changes(job_type, texts, dict.fromkeys(stale, labels.NO)), stale


def with_flags(job_type: JobType, texts: Mapping[str, str], given: Mapping[str, str], *, task: str) -> dict[str, str]:
    """`texts` with command-line flags on top, `other_args` opened into single values: an argument list repeats what it holds."""
    options = known_options(job_type)
    inside, rest = split_other_args(options, texts.get(OTHER_ARGS, ""), task=task)
    return {**texts, **inside, **given, OTHER_ARGS: shlex.join(rest)}


def read_settings(
    job_type: JobType, texts: Mapping[str, str], *, is_continue: bool, task: Task | None = None, strict: bool = True
) -> Settings:
    """Parse and check all options.

    Parameters
    ----------
    job_type
        Kind of job.
    texts
        Rows of job.star.
    is_continue
        Whether the job is continued.
    task
        The task, where it is known already: then it alone; else the ticked one and those that follow it.
    strict
        False leaves words of `other_args` that nobody knows to the task.

    Raises
    ------
    UserError
        An option is missing, of the wrong type or unknown, or two tasks are ticked.
    """
    options = known_options(job_type)
    chosen = task or job_type.choose_task(parse_values(options, texts), is_continue=is_continue)
    values = parse_values(options, texts, task=chosen.name)
    unknown = shlex.split(str(values.get(OTHER_ARGS) or ""))
    if OTHER_ARGS not in values:
        unknown = split_other_args(options, texts.get(OTHER_ARGS, ""))[1]
    if unknown and strict:
        raise UserError(
            f"Additional arguments hold '{unknown[0]}', which job type {job_type.name} does not know; "
            f"'relion_jobs options {job_type.name}' lists what it knows."
        )
    remarks = [
        f"job.star has an option '{name}' that job type {job_type.name} does not know; ignored."
        for name in texts
        if name not in {option.variable for option in options} and name != OTHER_ARGS and not name.startswith("qsub_extra")
    ]
    then = () if task else job_type.following_tasks(chosen, values)
    following = tuple(read_settings(job_type, texts, is_continue=True, task=one, strict=strict) for one in then)
    return Settings(dict(texts), values, chosen, is_continue, tuple(remarks), following)


def other_tasks_flags(job_type: JobType, words: Sequence[str], task: Task) -> list[str]:
    """Sentences about flags in `words` that mean something to other tasks only."""
    given, _ = take_flags(known_options(job_type), words, task=task.name)
    return [
        f"{option.flag} belongs to {' and '.join(option.tasks)}; task {task.name} ignores it."
        for option in job_type.options
        if option.variable in given and option.tasks and task.name not in option.tasks
    ]


def check_inputs(job_type: JobType, settings: Settings, project: Path, *, promised: Collection[str] = ()) -> None:
    """Check that the input files are there and have names that RELION can use.

    Parameters
    ----------
    job_type, settings
        The job.
    project
        Paths are relative to it.
    promised
        Files and job directories (ending in ``/``) that another job is going to write; they may be missing.

    Raises
    ------
    UserError
        A file is missing or its name unusable.
    """
    for option in job_type.options:
        text = str(settings.values.get(option.variable) or "")
        if not text or option.kind not in ("node", "file"):
            continue
        if option.kind == "file" and (option.variable == QUEUE_TEMPLATE or text == option.default):
            continue
        if option.kind == "node":
            check_name(text, f"file of option {option.variable}")
        name = name_of(project, text)
        is_promised = name in promised or any(one.endswith("/") and name.startswith(one) for one in promised)
        if not (project / text).exists() and not is_promised:
            raise UserError(
                f"Option {option.variable} ({option.label.strip()}) is '{text}', a file that does not exist in {project}."
            )


def as_project_paths(job_type: JobType, changes: Mapping[str, str], *, project: Path, cwd: Path) -> dict[str, str]:
    """Give files in `changes` their plain names, as RELION stores them: relative to the project where they lie in it.

    A path is taken from the project, or from `cwd` where it is only there. Files in `other_args` get theirs too.
    """
    files = {option.variable: option for option in job_type.options if option.kind in ("node", "file")}
    inside, _ = split_other_args([option for option in files.values() if option.extra], changes.get(OTHER_ARGS, ""))
    named = {variable: text for variable, text in (inside | dict(changes)).items() if variable in files and text.strip()}
    plain = {}
    for variable, text in named.items():
        is_elsewhere = not (project / text).exists() and (cwd / text).exists()
        is_default = text == files[variable].default
        plain[variable] = text if is_default else plain_name(project, str(cwd / text) if is_elsewhere else text.strip())
    result = dict(changes) | {variable: text for variable, text in plain.items() if variable in changes}
    moved = {variable: plain[variable] for variable, text in inside.items() if plain.get(variable, text) != text}
    if moved:
        result[OTHER_ARGS] = join_other_args([files[variable] for variable in moved], changes[OTHER_ARGS], moved)
    return result


def site_texts(site: Site, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Queue options that site.yaml gives; RELION's environment variables come before it."""
    given = {
        "qsubscript": ("RELION_QSUB_TEMPLATE", site.queue_template),
        "queuename": ("RELION_QUEUE_NAME", site.queue_name),
        "qsub": ("RELION_QSUB_COMMAND", site.queue_command),
    }
    return {name: str(value) for name, (variable, value) in given.items() if value and variable not in environment}
