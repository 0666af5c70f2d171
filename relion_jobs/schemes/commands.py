"""What each command of ``relion_jobs scheme`` does; prints with `console.say`, returns the exit code."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import ABORT_NOW, Status
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.locks import scheme_holder, scheme_lock
from relion_jobs.ondisk.project import locate, read_pipeline
from relion_jobs.running.commands import complain, say
from relion_jobs.running.console import Console
from relion_jobs.running.overview import table
from relion_jobs.running.registry import project_registry
from relion_jobs.schemes import scheme_star
from relion_jobs.schemes.operators import problems
from relion_jobs.schemes.runner import SchemeRunner, abort_scheme
from relion_jobs.schemes.scheme_graph import UNDEFINED, Edge, Operator, Scheme, Value, Variable, reset, rest, set_variable
from relion_jobs.schemes.texts import value_text


def list_schemes() -> int:
    """List the schemes of the project and how they stand."""
    project = locate(Path.cwd())
    names = scheme_star.scheme_names(project)
    if not names:
        say("No schemes: RELION keeps them in Schemes/NAME/scheme.star.")
        return 0
    rows = [("SCHEME", "AT", "")]
    for name in names:
        try:
            scheme = scheme_star.read(project, name)
            rows.append((scheme.short_name, scheme.current_node, _standing(project, scheme)))
        except UserError as error:
            # a damaged one must not hide the others
            complain(str(error))
    for line in table(rows):
        say(line)
    return 0


def show(name: str) -> int:
    """Show variables, jobs and the way of one scheme; what is wrong in it goes to standard error."""
    project = locate(Path.cwd())
    scheme = scheme_star.read(project, name)
    say(f"{scheme.name}: at {scheme.current_node}, {_standing(project, scheme)}")
    variables: list[tuple[str, Variable[float] | Variable[bool] | Variable[str]]] = [
        *scheme.floats.items(),
        *scheme.bools.items(),
        *scheme.strings.items(),
    ]
    _say_table("VARIABLE", "VALUE", "AFTER RESET", ((key, _text(one.value), _text(one.reset_value)) for key, one in variables))
    jobs = ((key, one.job if one.has_started else "not started", one.mode) for key, one in scheme.jobs.items())
    _say_table("NODE", "JOB", "MODE", jobs)
    _say_table("NODE", "DOES", "THEN", _way(scheme))
    for text in problems(scheme):
        complain(text)
    return 0


def run(name: str) -> int:
    """Run a scheme from its current node, or take up a run that died."""
    project = locate(Path.cwd())
    directory = JobDirectory(project, scheme_star.read(project, name).name)
    console = Console(directory.run_out, directory.run_err)
    try:
        status = SchemeRunner(project, name, project_registry(project), console.line).run()
    finally:
        console.close()
    return 0 if status == Status.SUCCEEDED else 1


def abort(name: str) -> int:
    """Ask a running scheme and its job to stop."""
    project = locate(Path.cwd())
    scheme = scheme_star.read(project, name)
    if not scheme_holder(project, scheme.short_name):
        complain(f"{scheme.name} is not running; nothing to abort.")
        return 1
    for text in abort_scheme(project, name):
        say(text)
    return 0


def reset_scheme(name: str) -> int:
    """Take a scheme back to its beginning; its jobs stay in the project."""
    project = locate(Path.cwd())
    scheme = scheme_star.read(project, name)
    with scheme_lock(project, scheme.short_name, f"reset {scheme.name}", report=complain):
        scheme = reset(scheme_star.read(project, name))
        scheme_star.write(scheme, project)
        JobDirectory(project, scheme.name).clear_marks()
    say(f"{scheme.name} stands at {scheme.current_node} again.")
    return 0


def set_value(name: str, variable: str, text: str, *, reset_too: bool) -> int:
    """Set a variable of a scheme."""
    project = locate(Path.cwd())
    scheme = scheme_star.read(project, name)
    # what is wrong is said before a lock is waited for
    set_variable(scheme, variable, text, reset_too=reset_too)
    with scheme_lock(project, scheme.short_name, f"set {variable} of {scheme.name}", report=complain):
        scheme_star.write(set_variable(scheme_star.read(project, name), variable, text, reset_too=reset_too), project)
    return 0


def _standing(project: Path, scheme: Scheme) -> str:
    """Say how a scheme stands: who runs it, how it ended, whether a run of it died."""
    directory = JobDirectory(project, scheme.name)
    if holder := scheme_holder(project, scheme.short_name):
        return f"{'stopping' if (directory.path / ABORT_NOW).exists() else 'runs'}: {holder}"
    if scheme.run is not None:
        return "its run died; 'relion_jobs scheme run' takes it up"
    status = directory.status_from_marks()
    if status and _marked_since_last_change(directory):
        return str(status)
    job = scheme.jobs.get(scheme.current_node)
    process = read_pipeline(project).find(job.job) if job and job.has_started else None
    return rest(scheme, process.status if process else None)


def _marked_since_last_change(directory: JobDirectory) -> bool:
    """Whether the mark says how the last run ended: relion_schemer on a command line changes the scheme and writes no mark."""
    changed = (directory.path / scheme_star.SCHEME_STAR).stat().st_mtime_ns
    return any((directory.path / mark).stat().st_mtime_ns >= changed for mark in directory.marks())


def _say_table(*words: object) -> None:
    *header, rows = words
    assert isinstance(rows, Iterable)
    found = list(rows)
    if found:
        say("")
        for line in table([tuple(map(str, header)), *found]):
            say(f"  {line}")


def _text(value: Value) -> str:
    return str(value) if isinstance(value, bool) else value_text(value) or '""'


def _way(scheme: Scheme) -> Iterable[tuple[str, str, str]]:
    """Rows of nodes in the order of the edges: what each does and what follows."""
    edges = {edge.start: edge for edge in scheme.edges}
    for node in dict.fromkeys([*edges, *scheme.jobs, *scheme.operators]):
        one = scheme.operators.get(node)
        yield node, _does(one) if one else "job", _then(edges.get(node))


def _does(one: Operator) -> str:
    inputs = [text for text in (one.input1, one.input2) if text != UNDEFINED]
    does = " ".join([one.kind, *inputs])
    return f"{does} -> {one.output}" if one.output != UNDEFINED else does


def _then(edge: Edge | None) -> str:
    if edge is None:
        return "end"
    return f"{edge.end_if_true} if {edge.variable}, else {edge.end}" if edge.is_fork else edge.end
