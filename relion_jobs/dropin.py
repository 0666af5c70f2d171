"""``relion_jobs_TYPE``: what RELION calls as the executable of a job type, e.g. ``relion_jobs_dynamight``.

RELION gives an argument list and appends stdout and stderr to run.out and run.err; the process runs the task itself and leaves
the exit mark that RELION waits for. Called by hand it does the same in a terminal.

    relion_jobs_dynamight optimize-deformations --refinement-star-file S --output-directory D --initial-model M ...
    relion_jobs_dynamight explore-latent-space D --half-set 1 --pipeline-control D
    python -m relion_jobs.dropin dynamight ...
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from relion_jobs.contract import labels
from relion_jobs.contract.errors import RelionJobsError, UserError
from relion_jobs.contract.jobtype import JobType, Task
from relion_jobs.contract.options import Option, flags_of, take_flags
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.job_star import JobRequest
from relion_jobs.ondisk.one_name import plain_name
from relion_jobs.ondisk.project import touch_changed
from relion_jobs.running.closed_output import ending_quietly
from relion_jobs.running.companion import accompany, is_companion
from relion_jobs.running.execute import execute
from relion_jobs.running.overview import table
from relion_jobs.running.registry import answers_to, load_function, project_registry
from relion_jobs.running.sentences import sentence
from relion_jobs.running.settings import (
    Settings,
    as_project_paths,
    check_inputs,
    completed,
    known_options,
    new_texts,
    other_tasks_flags,
    read_settings,
    with_changes,
    with_flags,
    with_installed_program,
)

PREFIX = "relion_jobs_"

_OUTPUT = Option(
    variable="output_directory",
    label="Job directory:",
    tab="",
    kind="file",
    default="",
    help="Job directory; may be given without the flag.",
    flag="--output-directory",
)
_CONTROL = Option(
    variable="pipeline_control",
    label="Pipeline control:",
    tab="",
    kind="file",
    default="",
    help="Job directory in which RELION waits for the exit mark; RELION adds it by itself.",
    flag="--pipeline-control",
    aliases=("--pipeline_control",),
)


@dataclass(frozen=True)
class Call:
    """One argument list, sorted.

    Attributes
    ----------
    directory
        Job directory as it was given, without its final slash.
    given
        Text of the options that were given.
    unknown
        Words that nobody knows.
    """

    directory: str
    given: dict[str, str]
    unknown: list[str]


def sort_words(options: Sequence[Option], words: Sequence[str], *, task: str) -> Call:
    """Sort the words behind the subcommand; the last of repeated options wins, the job directory comes in any of its ways.

    Raises
    ------
    UserError
        No job directory is named, or an option lacks its value.
    """
    given, rest = take_flags((*options, _OUTPUT, _CONTROL), words, task=task)
    control = given.pop(_CONTROL.variable, "")
    output = given.pop(_OUTPUT.variable, "")
    places = [word for word in rest if not word.startswith("-")]
    directory = (output or (places[0] if places else control)).rstrip("/")
    if not directory:
        raise UserError("No job directory is given; name it, e.g. DynaMight/job002/, or use --output-directory.")
    unknown = list(rest)
    if not output and places:
        unknown.remove(places[0])
    return Call(directory, given, unknown)


def main(words: Sequence[str] | None = None, *, program: str | None = None) -> int:
    """Run one task or tool of the job type that the program is named after; returns the exit code."""
    words = list(sys.argv[1:] if words is None else words)
    return ending_quietly(partial(_main, words, program or Path(sys.argv[0]).name))


def _main(words: list[str], program: str) -> int:
    try:
        job_type = project_registry(Path.cwd()).find(program.removeprefix(PREFIX))
        return _run(job_type, words)
    except BrokenPipeError:
        raise
    except (RelionJobsError, OSError) as error:
        sys.stderr.write(f"Error: {sentence(error)}\n")
        return 1


def _run(job_type: JobType, words: list[str]) -> int:
    task = next((task for task in job_type.tasks if words and task.command == words[0]), None)
    tool = next((tool for tool in job_type.tools if words and tool.name == words[0]), None)
    if tool is not None:
        code: int = load_function(tool.run)(words[1:])
        return code
    if task is None:
        is_help = bool(words) and words[0] in ("-h", "--help")
        (sys.stdout if is_help else sys.stderr).write(_general_help(job_type))
        return 0 if is_help else _refuse_command(job_type, words)
    if {"-h", "--help"} & set(words[1:]):
        sys.stdout.write(task_help(job_type, task))
        return 0
    return _run_task(job_type, task, words[1:])


def _run_task(job_type: JobType, task: Task, words: list[str]) -> int:
    directory = JobDirectory(*_place(_named_directory(words) or _sorted(job_type, task, words).directory))
    directory.create()
    if is_companion():
        return accompany(directory, lambda: settings_of(job_type, task, words, directory))
    # the CCP-EM pipeliner runs several tasks in a row as one job and leaves the mark when all have ended
    leaves_mark = bool(_named_directory(words)) or not directory.is_run_by_ccpem()
    outcome = execute(directory, lambda: settings_of(job_type, task, words, directory), leaves_mark=leaves_mark)
    if (directory.project / labels.PIPELINE_STAR).exists():
        # an open RELION GUI looks for this flag, not for exit marks
        touch_changed(directory.project)
    return outcome.exit_code


def _refuse_command(job_type: JobType, words: list[str]) -> int:
    """Fail the job where RELION waits for a mark; returns the exit code 2, or 1 for a failed job."""
    waiting = _named_directory(words) if words else ""
    if not waiting or not Path(waiting).is_dir():
        return 2

    def refuse() -> Settings:
        known = ", ".join(task.command for task in job_type.tasks)
        raise UserError(f"'{words[0]}' is no command of {PREFIX}{job_type.name}; its tasks are {known}.")

    return execute(JobDirectory(*_place(waiting)), refuse).exit_code


def _sorted(job_type: JobType, task: Task, words: Sequence[str]) -> Call:
    return sort_words(known_options(job_type), words, task=task.name)


def _named_directory(words: Sequence[str]) -> str:
    """Find the directory in which RELION waits for a mark, even where the rest of the argument list makes no sense."""
    flags = (_CONTROL.flag, *_CONTROL.aliases)
    for word, following in zip(words, [*words[1:], ""], strict=True):
        flag, has_value, value = word.partition("=")
        if flag in flags:
            return (value if has_value else following).rstrip("/")
    return ""


def _place(text: str) -> tuple[Path, str]:
    """Split a job directory into project and name; RELION starts us in the project."""
    project = Path.cwd()
    name = Path(plain_name(project, text))
    return (name.parent, name.name) if name.is_absolute() else (project, str(name))


def settings_of(job_type: JobType, task: Task, words: Sequence[str], directory: JobDirectory) -> Settings:
    """Read the settings of one argument list: the directory's job.star with the flags on top.

    A directory without job.star, as after a call by hand, gets one.

    Raises
    ------
    UserError
        An option is unknown, missing or wrong, or an input is not there.
    """
    call = _sorted(job_type, task, words)
    if call.unknown:
        raise UserError(
            f"'{call.unknown[0]}' is no option of {task.command}; '{PREFIX}{job_type.name} {task.command} --help' lists them."
        )
    is_first = task == job_type.tasks[0]
    path = directory.path / labels.JOB_STAR
    texts = new_texts(job_type)
    if path.exists():
        request = job_star.read(path)
        if not answers_to(job_type, request.label):
            raise UserError(f"{directory.name} is a job of type '{request.label}', not '{job_type.type_label}'.")
        texts |= completed(job_type, request.values)
    else:
        switched = {task.switch: labels.YES} if task.switch else {}
        by_hand = with_installed_program(job_type, with_changes(job_type, texts, call.given | switched))
        job_star.write(JobRequest(job_type.type_label, not is_first, False, by_hand), path)
    merged = with_flags(job_type, texts, call.given, task=task.name)
    merged = as_project_paths(job_type, merged, project=directory.project, cwd=directory.project)
    settings = read_settings(job_type, merged, is_continue=not is_first, task=task)
    check_inputs(job_type, settings, directory.project)
    following = job_type.following_tasks(task, settings.values)
    remarks = () if following else other_tasks_flags(job_type, words, task)
    then = tuple(_following_settings(job_type, one, words, texts) for one in following)
    return replace(settings, remarks=(*settings.remarks, *remarks), then=then)


def _following_settings(job_type: JobType, task: Task, words: Sequence[str], texts: Mapping[str, str]) -> Settings:
    """Read what an argument list means to a task that runs behind the one that was called."""
    given = _sorted(job_type, task, words).given
    return read_settings(job_type, with_flags(job_type, texts, given, task=task.name), is_continue=True, task=task)


def _general_help(job_type: JobType) -> str:
    rows = [(task.command, task.title) for task in job_type.tasks] + [(tool.name, tool.help) for tool in job_type.tools]
    lines = [f"usage: {PREFIX}{job_type.name} COMMAND ...", "", job_type.description or job_type.title, "", "commands:"]
    lines += [f"  {line}" for line in table(rows)]
    return "\n".join([*lines, "", f"'{PREFIX}{job_type.name} COMMAND --help' tells more.", ""])


def task_help(job_type: JobType, task: Task) -> str:
    """Help text of one subcommand: the flags that mean something to the task."""
    parser = argparse.ArgumentParser(
        f"{PREFIX}{job_type.name} {task.command}",
        usage=f"{PREFIX}{job_type.name} {task.command} JOB_DIR [options]",
        description=f"Runs {task.title} in a job directory (from the project directory).",
        epilog=f"A job.star in JOB_DIR gives the other values; 'relion_jobs options {job_type.name}' lists all options.",
    )
    options = [option for option in known_options(job_type) if not option.tasks or task.name in option.tasks]
    meaning = flags_of((*options, _OUTPUT, _CONTROL), task=task.name)
    for option in (*options, _OUTPUT, _CONTROL):
        spellings = [spelling for spelling in (option.flag, *option.aliases) if spelling and meaning[spelling] == option]
        if not spellings:
            continue
        text = option.help.replace("%", "%%")
        if option.kind == "boolean":
            parser.add_argument(*spellings, action="store_true", help=text)
        else:
            parser.add_argument(*spellings, metavar=option.kind.upper(), help=text)
    return parser.format_help()


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], program=PREFIX + "".join(sys.argv[1:2])))
