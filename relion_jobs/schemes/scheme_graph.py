"""A scheme: jobs and operators as the nodes of a graph, run one after another along its edges, with variables and forks.

Source: RELION 5's schemer (its files, its program and its help); departures are named where they are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.pipeline.foreign import ForeignTable

UNDEFINED = "undefined"
NEW, CONTINUE = "new", "continue"

Value = float | bool | str
T = TypeVar("T", float, bool, str)


@dataclass(frozen=True)
class Variable(Generic[T]):
    """A variable: its value, and the one that a reset gives back."""

    value: T
    reset_value: T


@dataclass(frozen=True)
class Operator:
    """A node that computes, or does something to a file, instead of running a job.

    Attributes
    ----------
    kind
        RELION's type, e.g. ``float=plus``; `relion_jobs.schemes.operators` knows them all.
    output, input1, input2
        Names of variables; some kinds take a number as `input2`. ``undefined`` where unused.
    """

    kind: str
    output: str = UNDEFINED
    input1: str = UNDEFINED
    input2: str = UNDEFINED


@dataclass(frozen=True)
class SchemeJob:
    """A node that runs a job.

    Attributes
    ----------
    job
        Job directory with its slash, e.g. ``DynaMight/job010/``; the node's own name while it has not started.
    mode
        ``new``: a new job each time; ``continue``: a new job at first, and "Continue!" in its directory from then on.
    has_started
        Whether `job` is a job of the project.
    """

    job: str
    mode: str
    has_started: bool


@dataclass(frozen=True)
class Edge:
    """Which node follows which; a fork asks a boolean variable.

    Attributes
    ----------
    start, end
        Names of nodes; `end` is for a fork whose variable is false, or the only way.
    is_fork
        Whether `end_if_true` and `variable` count.
    end_if_true
        Next node where the variable is true.
    variable
        Boolean variable of the fork.
    """

    start: str
    end: str
    is_fork: bool = False
    end_if_true: str = UNDEFINED
    variable: str = UNDEFINED


@dataclass(frozen=True)
class RunState:
    """Where the run of a scheme is at its current node, so that a run that dies can be taken up without a job run twice.

    Attributes
    ----------
    launcher
        Process that runs the scheme, in the words of `relion_jobs.ondisk.owner.Owner`.
    job
        Job that the current node has added or scheduled in this visit; ``undefined`` before that.
    counter
        Number of the next new job when the current node began to add one; 0 before that.
    waited_since
        When the last ``wait`` ended, in seconds since 1970; 0: never.
    exit_at
        When ``exit_maxtime`` ends the scheme, in seconds since 1970; 0: not set yet.
    """

    launcher: str
    job: str = UNDEFINED
    counter: int = 0
    waited_since: float = 0.0
    exit_at: float = 0.0


@dataclass(frozen=True)
class Scheme:
    """All of a scheme. Variables of different kinds may bear the same name, as in RELION.

    Attributes
    ----------
    name
        Directory with its slash, e.g. ``Schemes/flex/``.
    current_node
        Where it goes on.
    floats, bools, strings
        Variables by name, in the order of the file.
    operators, jobs
        Nodes by name.
    edges
        In the order of the file; of several that leave one node the last counts, as in RELION.
    run
        State of a run that has not ended; None where none is under way.
    foreign_tables
        What others wrote in the file.
    """

    name: str
    current_node: str = UNDEFINED
    floats: Mapping[str, Variable[float]] = field(default_factory=dict)
    bools: Mapping[str, Variable[bool]] = field(default_factory=dict)
    strings: Mapping[str, Variable[str]] = field(default_factory=dict)
    operators: Mapping[str, Operator] = field(default_factory=dict)
    jobs: Mapping[str, SchemeJob] = field(default_factory=dict)
    edges: tuple[Edge, ...] = ()
    run: RunState | None = None
    foreign_tables: tuple[ForeignTable, ...] = ()

    @property
    def short_name(self) -> str:
        """Name without directory, e.g. ``flex``."""
        return self.name.rstrip("/").rpartition("/")[2]

    @property
    def start_node(self) -> str:
        """First node: where the first edge starts."""
        return self.edges[0].start if self.edges else UNDEFINED

    def next_node(self) -> str:
        """Node that follows the current one; ``undefined`` where the scheme ends.

        Raises
        ------
        UserError
            The boolean variable of a fork does not exist.
        """
        found = UNDEFINED
        for edge in self.edges:
            if edge.start != self.current_node:
                continue
            if edge.is_fork and edge.variable not in self.bools:
                raise UserError(f"{self.name}: the fork at {edge.start} asks the variable {edge.variable}, which is not there.")
            found = edge.end_if_true if edge.is_fork and self.bools[edge.variable].value else edge.end
        return found

    def at(self, node: str) -> Scheme:
        """Return the scheme with another current node, whose visit begins."""
        run = replace(self.run, job=UNDEFINED, counter=0) if self.run else None
        return replace(self, current_node=node, run=run)

    def with_job(self, node: str, job: str) -> Scheme:
        """Return the scheme with `job` as the job that `node` has started."""
        return replace(self, jobs={**self.jobs, node: replace(self.jobs[node], job=job, has_started=True)})

    def with_value(self, kind: str, name: str, value: Value, *, reset_too: bool = False) -> Scheme:
        """Return the scheme with the variable `name` of `kind` (``float``, ``bool``, ``string``) set."""
        if kind == "float":
            return replace(self, floats=_changed(self.floats, name, float(value), reset_too))
        if kind == "bool":
            return replace(self, bools=_changed(self.bools, name, bool(value), reset_too))
        return replace(self, strings=_changed(self.strings, name, str(value), reset_too))


def _changed(table: Mapping[str, Variable[T]], name: str, value: T, reset_too: bool) -> dict[str, Variable[T]]:
    return {**table, name: Variable(value, value if reset_too else table[name].reset_value)}


def reset(scheme: Scheme) -> Scheme:
    """Return the scheme as before its first run: variables, jobs and the current node."""
    return replace(
        scheme,
        current_node=scheme.start_node,
        floats={name: replace(one, value=one.reset_value) for name, one in scheme.floats.items()},
        bools={name: replace(one, value=one.reset_value) for name, one in scheme.bools.items()},
        strings={name: replace(one, value=one.reset_value) for name, one in scheme.strings.items()},
        jobs={name: replace(one, job=name, has_started=False) for name, one in scheme.jobs.items()},
        run=None,
    )


def rest(scheme: Scheme, status: Status | None) -> str:
    """Say how a scheme stands that nobody runs, from its own state alone: RELION's schemer need not leave a mark.

    Parameters
    ----------
    scheme
        The scheme.
    status
        Of the job that its current node has started; None where there is none.
    """
    node = scheme.current_node
    if node in scheme.operators and scheme.operators[node].kind == "exit":
        return "ended: it has reached an exit"
    if node in (scheme.start_node, UNDEFINED) and not any(job.has_started for job in scheme.jobs.values()):
        return "not run yet"
    if node == UNDEFINED:
        return "ended: no edge goes on"
    job = f"; {scheme.jobs[node].job} is {status}" if status else ""
    return f"begun, and nobody runs it{job}"


def set_variable(scheme: Scheme, name: str, text: str, *, reset_too: bool = False) -> Scheme:
    """Set a variable to a text that a person typed.

    Parameters
    ----------
    scheme
        The scheme.
    name
        Variable; of several of that name the boolean one comes first, then the number, as in RELION.
    text
        ``true``, ``false``, ``1``, ``0`` (also ``Yes``, ``No``), a number, or any text.
    reset_too
        Also change the value that a reset gives back.

    Raises
    ------
    UserError
        There is no such variable, or the text does not fit it.
    """
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    value: Value = text
    if name in scheme.bools:
        kind = "bool"
        if text.lower() not in words:
            raise UserError(f"{scheme.name}: variable {name} is boolean; '{text}' is neither True nor False.")
        value = words[text.lower()]
    elif name in scheme.floats:
        kind = "float"
        value = number(text, f"{scheme.name}: variable {name}")
    elif name in scheme.strings:
        kind = "string"
    else:
        known = ", ".join([*scheme.floats, *scheme.bools, *scheme.strings]) or "none"
        raise UserError(f"{scheme.name} has no variable '{name}'; it has {known}.")
    return scheme.with_value(kind, name, value, reset_too=reset_too)


def number(text: str, what: str) -> float:
    """Read a finite number; UserError names `what`."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value != value or abs(value) == float("inf"):
        raise UserError(f"{what} is a number; '{text}' is none.")
    return value
