"""``relion_jobs``: what a person types. The parser and the way out; what the commands do is in `relion_jobs.running.commands`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from relion_jobs import __version__
from relion_jobs.contract.errors import RelionJobsError
from relion_jobs.contract.jobtype import Tool
from relion_jobs.running import commands, worker
from relion_jobs.running.closed_output import ending_quietly
from relion_jobs.running.limits import Limits
from relion_jobs.running.registry import load_function, project_registry
from relion_jobs.running.sentences import sentence
from relion_jobs.schemes import commands as schemes
from relion_jobs.upkeep import commands as upkeep

DESCRIPTION = """Runs RELION-style jobs in a RELION project directory, from any directory inside it.

  relion_jobs new TYPE -o VAR=VALUE ...      adds a Scheduled job and prints its directory
  relion_jobs run JOB_DIR                    runs it and waits for its end
  relion_jobs continue JOB_DIR -o VAR=VALUE  runs its next task, or goes on where it stopped"""

JOB_HELP = "job directory, e.g. DynaMight/job002, or its alias"
SET_HELP = "set an option ('relion_jobs options TYPE' lists them); may be repeated"
DETACH_HELP = "return at once; 'relion_jobs status' tells how it goes"

AddParser = Callable[..., argparse.ArgumentParser]


def parser(tools: Sequence[Tool] = ()) -> argparse.ArgumentParser:
    """All commands; `tools` are those of job types, for the help text."""
    epilog = "commands of job types:\n" + "\n".join(f"  {tool.name:<12} {tool.help}" for tool in tools) if tools else None
    whole = argparse.ArgumentParser(
        "relion_jobs", description=DESCRIPTION, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    whole.add_argument("--version", action="version", version=f"relion_jobs {__version__}")
    add = whole.add_subparsers(title="commands", metavar="COMMAND", required=True).add_parser
    _add_looking(add)
    _add_new(add)
    _add_running(add)
    _add_upkeep(add)
    return whole


def _add_looking(add: AddParser) -> None:
    init = add("init", help="make a directory a RELION project", description="Make a directory a RELION project.")
    init.add_argument("directory", nargs="?", default=".", metavar="DIR", help="default: the current directory")
    init.set_defaults(call=lambda given: commands.init(Path(given.directory)))

    types = add("types", help="list the job types", description="List the job types, with their labels in RELION's pipeline.")
    types.set_defaults(call=lambda given: commands.types())

    text = "list the options of a job type"
    options = add("options", help=text, description=f"{text.capitalize()}: variable, label, default, range, flag, help.")
    options.add_argument("type", metavar="TYPE", help="e.g. dynamight")
    options.set_defaults(call=lambda given: commands.options(given.type))

    text = "what each job does, why it waits, the last lines of its log"
    status = add("status", help=text, description=f"Tell {text}. Enters jobs that have ended in the pipeline.")
    status.add_argument("job", nargs="?", metavar="JOB_DIR", help=f"{JOB_HELP}; default: all jobs")
    status.add_argument("--watch", action="store_true", help="tell again every 2 s until nothing runs or waits")
    status.set_defaults(call=lambda given: commands.status(given.job, watch=given.watch))

    text = "check the inputs of a job and print its plan, without running it"
    check = add("check", help=text, description=f"{text.capitalize()}.")
    check.add_argument("job", metavar="JOB_DIR", help=JOB_HELP)
    check.set_defaults(call=lambda given: commands.check(given.job))


def _add_new(add: AddParser) -> None:
    text = "add a scheduled job and print its directory"
    new = add("new", help=text, description=f"{text.capitalize()}.")
    new.add_argument("type", metavar="TYPE", help="e.g. dynamight; 'relion_jobs types' lists them")
    new.add_argument("--job", type=Path, metavar="job.star", help="take the options from this file")
    new.add_argument("-o", dest="changes", action="append", default=[], metavar="VAR=VALUE", help=SET_HELP)
    new.add_argument("--alias", default="", metavar="NAME", help="second name of the job")
    new.set_defaults(call=lambda given: commands.new(given.type, given.job, given.changes, given.alias))


def _add_running(add: AddParser) -> None:
    run = add("run", help="run jobs and wait for their end", description="Run jobs, one after another, as their job.star says.")
    run.add_argument("jobs", nargs="+", metavar="JOB_DIR", help=JOB_HELP)
    run.add_argument("--detach", action="store_true", help=DETACH_HELP)
    run.set_defaults(call=lambda given: commands.run(given.jobs, detach=given.detach))

    text = """Do what RELION's "Continue!" does: run the task that is ticked (such as do_inverse=Yes) in the same directory.
A task ticked with -o unticks an earlier one; with no task ticked, the first task goes on where it stopped."""
    again = add("continue", help="run the next task of a job, or go on where it stopped", description=text)
    again.add_argument("job", metavar="JOB_DIR", help=JOB_HELP)
    again.add_argument("-o", dest="changes", action="append", default=[], metavar="VAR=VALUE", help=SET_HELP)
    again.add_argument("--detach", action="store_true", help=DETACH_HELP)
    again.set_defaults(call=lambda given: commands.continue_(given.job, given.changes, detach=given.detach))

    text = "ask a running job to stop at its next checkpoint"
    abort = add("abort", help=text, description=f"{text.capitalize()}.")
    abort.add_argument("job", metavar="JOB_DIR", help=JOB_HELP)
    abort.set_defaults(call=lambda given: commands.abort(given.job))

    _add_schedule(add)
    _add_scheme(add)


def _add_schedule(add: AddParser) -> None:
    text = "run the scheduled jobs in the order of their files"
    rest = "waits for inputs and for jobs that others run. Started again after its death, it goes on where it was."
    schedule = add("schedule", help=text, description=f"{text.capitalize()}; {rest}")
    schedule.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="how many may run at once on this machine (default: 1)"
    )
    schedule.add_argument("--jobs-per-gpu", type=int, default=1, metavar="N", help="how many on each of its GPUs (default: 1)")
    schedule.add_argument("--repeat", type=int, default=1, metavar="N", help="run them N times (default: 1)")
    help_text = "from the start of one time to the start of the next at least (default: 0)"
    schedule.add_argument("--wait", type=float, default=0.0, metavar="MINUTES", help=help_text)
    schedule.add_argument("--stop", action="store_true", help="let the schedule that is under way start nothing more")
    schedule.add_argument("--abort", action="store_true", help="ask its running jobs to stop, too")
    schedule.set_defaults(call=_schedule)


def _schedule(given: argparse.Namespace) -> int:
    if given.stop or given.abort:
        return commands.stop_schedule(abort=given.abort)
    return commands.schedule(Limits(given.jobs, given.jobs_per_gpu), rounds=given.repeat, wait_minutes=given.wait)


def _add_scheme(add: AddParser) -> None:
    text = "read, change and run RELION's schemes"
    scheme = add("scheme", help=text, description=f"{text.capitalize()}: Schemes/NAME/scheme.star and its jobs.")
    verb = scheme.add_subparsers(title="commands", metavar="COMMAND", required=True).add_parser
    listed = verb("list", help="list the schemes and how they stand")
    listed.set_defaults(call=lambda given: schemes.list_schemes())
    for name, function, help_text in (
        ("show", schemes.show, "show variables, jobs and the way through a scheme"),
        ("run", schemes.run, "run a scheme from its current node; after a death, go on where it was"),
        ("reset", schemes.reset_scheme, "take a scheme back to its beginning; its jobs stay in the project"),
        ("abort", schemes.abort, "ask a running scheme and its job to stop"),
    ):
        one = verb(name, help=help_text, description=f"{help_text.capitalize()}.")
        one.add_argument("scheme", metavar="NAME", help="e.g. flex, for Schemes/flex")
        one.set_defaults(call=lambda given, function=function: function(given.scheme))
    change = verb("set", help="set a variable of a scheme", description="Set a variable of a scheme.")
    change.add_argument("scheme", metavar="NAME", help="e.g. flex, for Schemes/flex")
    change.add_argument("variable", metavar="VARIABLE", help="'relion_jobs scheme show NAME' lists them")
    change.add_argument("value", metavar="VALUE", help="a number, True or False, or a text")
    change.add_argument("--for-reset", action="store_true", help="it is also the value that a reset gives back")
    change.set_defaults(
        call=lambda given: schemes.set_value(given.scheme, given.variable, given.value, reset_too=given.for_reset)
    )


def _add_upkeep(add: AddParser) -> None:
    text = "move jobs to the Trash"
    delete = add("delete", help=text, description=f"{text.capitalize()}; 'relion_jobs undelete' brings them back.")
    delete.add_argument("jobs", nargs="+", metavar="JOB_DIR", help=JOB_HELP)
    delete.add_argument("--recursive", action="store_true", help="delete all jobs that use their outputs too")
    delete.set_defaults(call=lambda given: upkeep.delete(given.jobs, recursive=given.recursive))

    text = "bring a job back from the Trash, and those that were deleted together with it"
    undelete = add("undelete", help=text, description=f"{text.capitalize()}.")
    undelete.add_argument("job", metavar="JOB_DIR", help="e.g. DynaMight/job004")
    undelete.set_defaults(call=lambda given: upkeep.undelete(given.job))

    text = "erase the Trash for good"
    empty = add("empty-trash", help=text, description=f"{text.capitalize()}; says first what would go.")
    empty.add_argument("--yes", action="store_true", help="erase it")
    empty.set_defaults(call=lambda given: upkeep.empty_trash(is_sure=given.yes))

    text = "move what succeeded jobs can do without to the Trash"
    clean = add("clean", help=text, description=f"{text.capitalize()}: intermediate files, never nodes; only jobs of our types.")
    clean.add_argument("jobs", nargs="*", metavar="JOB_DIR", help=JOB_HELP)
    clean.add_argument("--harsh", action="store_true", help="results that the job can make again, too")
    clean.add_argument("--all", action="store_true", help="all jobs; --harsh passes over those with a file NO_HARSH_CLEAN")
    clean.set_defaults(call=lambda given: upkeep.clean(given.jobs, harsh=given.harsh, everything=given.all))

    text = "say by hand how a job ended"
    mark = add("mark", help=text, description=f"{text.capitalize()}; outputs that do not exist are dropped from the pipeline.")
    mark.add_argument("job", metavar="JOB_DIR", help=JOB_HELP)
    mark.add_argument("word", choices=("finished", "failed", "aborted"), help="how it ended")
    mark.set_defaults(call=lambda given: upkeep.mark(given.job, given.word))

    text = "give a job an alias"
    alias = add("alias", help=text, description=f"{text.capitalize()}, or take it away.")
    alias.add_argument("job", metavar="JOB_DIR", help=JOB_HELP)
    alias.add_argument("alias", nargs="?", default="", metavar="NAME", help="none: take the alias away")
    alias.set_defaults(call=lambda given: upkeep.alias(given.job, given.alias))

    text = "put a new scheduled job in the place of an old one, which goes to the Trash"
    overwrite = add("overwrite", help=text, description=f"{text.capitalize()}. It has the old one's options but for those given.")
    overwrite.add_argument("job", metavar="JOB_DIR", help=JOB_HELP)
    overwrite.add_argument("-o", dest="changes", action="append", default=[], metavar="VAR=VALUE", help=SET_HELP)
    overwrite.set_defaults(call=lambda given: upkeep.overwrite(given.job, given.changes))

    text = "check the project: pipeline, directories, files, locks"
    verify = add("verify", help=text, description=f"{text.capitalize()}. Changes nothing without --mend.")
    verify.add_argument("--mend", action="store_true", help="mend what can be mended, and say what was done")
    verify.set_defaults(call=lambda given: upkeep.verify(mend=given.mend))


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 well, 1 not, 2 where the command line is wrong; see also `closed_output`."""
    return ending_quietly(partial(_main, list(sys.argv[1:] if words is None else words)))


def _main(words: list[str]) -> int:
    try:
        tool = _tool(words)
        if words[:1] == ["worker"]:
            return worker.main(words[1:])
        if tool is not None:
            code: int = load_function(tool.run)(words[1:])
            return code
        call: Callable[[argparse.Namespace], int] = (given := parser(_tools(words)).parse_args(words)).call
        return call(given)
    except BrokenPipeError:
        raise
    except (RelionJobsError, OSError) as error:
        sys.stderr.write(sentence(error) + "\n")
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
    return 1


def _tool(words: Sequence[str]) -> Tool | None:
    """Find the job type's tool that the first word names; job types are not loaded for our own commands."""
    if not words or words[0].startswith("-") or words[0] in COMMANDS:
        return None
    return next((tool for tool in _tools(["-h"]) if tool.name == words[0]), None)


def _tools(words: Sequence[str]) -> list[Tool]:
    """Tools of all job types where the general help text or an unknown command needs them."""
    if words and words[0] in COMMANDS:
        return []
    return [tool for job_type in project_registry(commands.project_or_none()).load_all()[0] for tool in job_type.tools]


COMMANDS = (
    *("worker", "init", "types", "options", "status", "check", "new", "run", "continue", "abort", "schedule", "scheme"),
    *("delete", "undelete", "empty-trash", "clean", "mark", "alias", "overwrite", "verify"),
)
