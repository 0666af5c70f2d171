"""Schemes/NAME/scheme.star <-> Scheme, and the schemes of a project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from relion_jobs.contract.errors import BadStarFile, UserError
from relion_jobs.contract.labels import SCHEMES
from relion_jobs.ondisk import star
from relion_jobs.ondisk.names import check_name, inside_project
from relion_jobs.ondisk.star import Table
from relion_jobs.pipeline.foreign import ForeignTable
from relion_jobs.schemes.scheme_graph import Edge, Operator, RunState, Scheme, SchemeJob, Variable, number

SCHEME_STAR = "scheme.star"

_GENERAL = "scheme_general"
_GENERAL_COLUMNS = ("rlnSchemeName", "rlnSchemeCurrentNodeName")
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "scheme_floats": tuple(f"rlnSchemeFloatVariable{part}" for part in ("Name", "Value", "ResetValue")),
    "scheme_bools": tuple(f"rlnSchemeBooleanVariable{part}" for part in ("Name", "Value", "ResetValue")),
    "scheme_strings": tuple(f"rlnSchemeStringVariable{part}" for part in ("Name", "Value", "ResetValue")),
    "scheme_operators": tuple(f"rlnSchemeOperator{part}" for part in ("Name", "Type", "Output", "Input1", "Input2")),
    "scheme_jobs": tuple(f"rlnSchemeJob{part}" for part in ("NameOriginal", "Name", "Mode", "HasStarted")),
    "scheme_edges": (
        "rlnSchemeEdgeInputNodeName",
        "rlnSchemeEdgeOutputNodeName",
        "rlnSchemeEdgeIsFork",
        "rlnSchemeEdgeOutputNodeNameIfTrue",
        "rlnSchemeEdgeBooleanVariable",
    ),
}

# of ours: in the same file, so that the state of a run and the current node change together
_RUN = "relion_jobs_run"
_RUN_COLUMNS = tuple(f"relionJobs{part}" for part in ("Launcher", "Job", "Counter", "WaitedSince", "ExitAt"))

T = TypeVar("T", float, bool, str)


def scheme_name(text: str) -> str:
    """Return the directory of a scheme with its slash, from ``flex``, ``Schemes/flex`` or ``Schemes/flex/``; UserError if odd."""
    short = text.strip().rstrip("/").removeprefix(f"{SCHEMES}/")
    check_name(short, "scheme")
    if "/" in short or short.startswith("."):
        raise UserError(f"'{text}' is no name of a scheme; 'relion_jobs scheme list' lists those of the project.")
    return f"{SCHEMES}/{short}/"


def scheme_names(project: Path) -> list[str]:
    """Names of all schemes of a project, e.g. ``Schemes/flex/``."""
    return [f"{SCHEMES}/{path.parent.name}/" for path in sorted((project / SCHEMES).glob(f"*/{SCHEME_STAR}"))]


def read(project: Path, name: str) -> Scheme:
    """Read the scheme of that name (see `scheme_name`).

    Rows that RELION's schemer adds by mistake are passed over (see `stray_rows`). Whether operators and edges make sense is asked
    of `relion_jobs.schemes.operators.problems`.

    Raises
    ------
    UserError
        There is no such scheme.
    BadStarFile
        The file is damaged; the message names the line.
    """
    name = scheme_name(name)
    path = inside_project(project, name + SCHEME_STAR)
    if not path.is_file():
        known = ", ".join(scheme_names(project)) or "none"
        raise UserError(f"The project has no scheme {name} (no {name}{SCHEME_STAR}); it has {known}.")
    tables = star.read_tables(path)
    general = star.require(tables, _GENERAL, path)
    written = general.column(_GENERAL_COLUMNS[0])[0].rstrip("/") + "/"
    if written != name:
        label = _GENERAL_COLUMNS[0]
        raise BadStarFile(f"{path}: _{label} is {written}, but the scheme lies in {name}; write {name} there.")
    known_tables = {one: tables.get(one, Table(one, columns, ())) for one, columns in _COLUMNS.items()}
    return Scheme(
        name=name,
        current_node=general.column(_GENERAL_COLUMNS[1])[0],
        floats=_variables(known_tables["scheme_floats"], _float),
        bools=_variables(known_tables["scheme_bools"], _bool),
        strings=_variables(known_tables["scheme_strings"], lambda table, row, text: text),
        operators={name: Operator(*words) for name, *words in _rows(known_tables["scheme_operators"])},
        jobs=_jobs(known_tables["scheme_jobs"]),
        edges=tuple(_edges(known_tables["scheme_edges"])),
        run=_run_state(tables[_RUN]) if _RUN in tables else None,
        foreign_tables=tuple(
            ForeignTable(table.name, table.is_loop, table.columns, tuple(tuple(map(str, row)) for row in table.rows))
            for table in tables.values()
            if table.name not in (*_COLUMNS, _GENERAL, _RUN)
        ),
    )


def stray_rows(project: Path, name: str) -> list[str]:
    """Names of the rows of scheme.star that are no jobs, such as ``dynamight/backprojection``; `read` passes over them.

    Raises
    ------
    UserError, BadStarFile
        As for `read`.
    """
    scheme = read(project, name)
    table = star.read_tables(inside_project(project, scheme.name + SCHEME_STAR)).get("scheme_jobs")
    return [row for row, job, mode, _ in _rows(table) if _is_stray(job, mode)] if table else []


def write(scheme: Scheme, project: Path) -> None:
    """Write scheme.star whole or not at all; what RELION 5 wrote comes back byte for byte.

    Numbers have RELION's format where that loses nothing, else all their digits, so that a scheme that is interrupted goes on
    with the same values. Whoever writes holds `locks.scheme_lock`.
    """
    star.write_tables(_tables(scheme), inside_project(project, scheme.name + SCHEME_STAR))


def _tables(scheme: Scheme) -> Iterable[Table]:
    yield Table(_GENERAL, _GENERAL_COLUMNS, ((scheme.name, scheme.current_node),), is_loop=False)
    floats = tuple((name, _number(one.value), _number(one.reset_value)) for name, one in scheme.floats.items())
    bools = tuple((name, one.value, one.reset_value) for name, one in scheme.bools.items())
    strings = tuple((name, one.value, one.reset_value) for name, one in scheme.strings.items())
    operators = tuple((name, one.kind, one.output, one.input1, one.input2) for name, one in scheme.operators.items())
    jobs = tuple((name, one.job, one.mode, one.has_started) for name, one in scheme.jobs.items())
    edges = tuple((one.start, one.end, one.is_fork, one.end_if_true, one.variable) for one in scheme.edges)
    contents: tuple[tuple[tuple[str | int | float, ...], ...], ...] = (floats, bools, strings, operators, jobs, edges)
    for (name, columns), rows in zip(_COLUMNS.items(), contents, strict=True):
        yield Table(name, columns, rows)
    if (run := scheme.run) is not None:
        row = (run.launcher, run.job, run.counter, f"{run.waited_since:.3f}", f"{run.exit_at:.3f}")
        yield Table(_RUN, _RUN_COLUMNS, (row,), is_loop=False)
    for foreign in scheme.foreign_tables:
        yield Table(foreign.name, foreign.columns, foreign.rows, foreign.is_loop)


def _number(value: float) -> float | str:
    return value if float(star.number_text(value)) == value else repr(value)


def _rows(table: Table) -> list[tuple[str, ...]]:
    """Rows of a known table in the order of its known columns; each first value stands once."""
    return list(zip(*(table.column(label) for label in _COLUMNS[table.name]), strict=True))


def _variables(table: Table, parse: Callable[[Table, int, str], T]) -> dict[str, Variable[T]]:
    return {
        name: Variable(parse(table, row, value), parse(table, row, reset_value))
        for row, (name, value, reset_value) in enumerate(_rows(table))
    }


def _jobs(table: Table) -> dict[str, SchemeJob]:
    return {
        name: SchemeJob(job, mode, _bool(table, row, has_started))
        for row, (name, job, mode, has_started) in enumerate(_rows(table))
        if not _is_stray(job, mode)
    }


def _is_stray(job: str, mode: str) -> bool:
    """Whether a row is no job: RELION's schemer adds one, with nothing in it, for a folder of a job that an option names."""
    return not job and not mode


def _edges(table: Table) -> Iterable[Edge]:
    for row, (start, end, is_fork, end_if_true, variable) in enumerate(_rows(table)):
        yield Edge(start, end, _bool(table, row, is_fork), end_if_true, variable)


def _run_state(table: Table) -> RunState:
    launcher, job, counter, waited_since, exit_at = (table.column(label)[0] for label in _RUN_COLUMNS)
    if not (counter.isascii() and counter.isdigit()):
        raise table.bad_row(0, f"_{_RUN_COLUMNS[2]} is '{counter}'; it must be a whole number.")
    return RunState(launcher, job, int(counter), number(waited_since, _RUN_COLUMNS[3]), number(exit_at, _RUN_COLUMNS[4]))


def _float(table: Table, row: int, text: str) -> float:
    try:
        return number(text, f"the variable {table.rows[row][0]}")
    except UserError as error:
        raise table.bad_row(row, str(error)) from None


def _bool(table: Table, row: int, text: str) -> bool:
    if text not in ("0", "1"):
        raise table.bad_row(row, f"'{text}' stands where 0 or 1 must be.")
    return text == "1"
