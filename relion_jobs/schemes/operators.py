"""What the operators of a scheme take and compute: all of RELION 5's, without files and clock.

Source: RELION 5's schemer. Departures: a number as ``input2`` counts (RELION accepts it and computes with 0); a negative
``nth_word`` counts from the back, as RELION's help says; ``star_table_max_idx`` and ``_min_idx`` work.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from relion_jobs.contract.errors import UserError
from relion_jobs.schemes.scheme_graph import CONTINUE, NEW, UNDEFINED, Scheme, Value, number


@dataclass(frozen=True)
class Signature:
    """Kinds of the variables that an operator takes.

    Attributes
    ----------
    output, input1, input2
        ``float``, ``bool``, ``string``; ``number``: a float variable or a number; ``any``: a variable of any kind; with ``?``
        it may be left out. Empty: not used.
    """

    output: str = ""
    input1: str = ""
    input2: str = ""


_COMPARISON = Signature("bool", "float", "number")
_ARITHMETIC = Signature("float", "float", "number")
_TABLE = Signature("float", "string")
_TWO_STRINGS = Signature("string", "string", "string")

SIGNATURES: Mapping[str, Signature] = {
    "bool=set": Signature("bool", "bool"),
    "bool=and": Signature("bool", "bool", "bool"),
    "bool=or": Signature("bool", "bool", "bool"),
    "bool=not": Signature("bool", "bool"),
    **dict.fromkeys(("bool=gt", "bool=lt", "bool=ge", "bool=le", "bool=eq"), _COMPARISON),
    "bool=file_exists": Signature("bool", "string"),
    "bool=read_star": Signature("bool", "string", "number?"),
    "float=set": Signature("float", "float"),
    **dict.fromkeys(("float=plus", "float=minus", "float=mult", "float=divide"), _ARITHMETIC),
    "float=round": Signature("float", "float"),
    "float=count_images": Signature("float", "string", "string?"),
    "float=count_words": Signature("float", "string"),
    "float=read_star": Signature("float", "string", "number?"),
    **dict.fromkeys(("float=star_table_max", "float=star_table_min", "float=star_table_avg"), _TABLE),
    **dict.fromkeys(("float=star_table_max_idx", "float=star_table_min_idx"), _TABLE),
    "float=star_table_sort_idx": Signature("float", "string", "number"),
    "string=set": Signature("string", "string"),
    **dict.fromkeys(("string=join", "string=before_first", "string=after_first"), _TWO_STRINGS),
    **dict.fromkeys(("string=before_last", "string=after_last"), _TWO_STRINGS),
    "string=read_star": Signature("string", "string", "number?"),
    "string=glob": Signature("string", "string"),
    "string=nth_word": Signature("string", "string", "number"),
    "touch_file": Signature("", "string"),
    "copy_file": Signature("", "string", "string"),
    "move_file": Signature("", "string", "string"),
    "delete_file": Signature("", "string"),
    "wait": Signature("float?", "float"),
    "email": Signature("", "any?", "any?"),
    "exit_maxtime": Signature("", "float"),
    "exit": Signature(),
}

# RELION takes two numbers for equal that differ by less
_EQUAL_WITHIN = 1e-8


def problems(scheme: Scheme) -> list[str]:
    """Sentences about all that would stop the scheme sooner or later: operators, forks, edges, modes."""
    found = []
    for name, one in scheme.operators.items():
        if one.kind not in SIGNATURES:
            found.append(f"operator {name} is of type '{one.kind}'; known are {', '.join(SIGNATURES)}.")
            continue
        wanted = SIGNATURES[one.kind]
        for slot in ("output", "input1", "input2"):
            kind, text = getattr(wanted, slot), getattr(one, slot)
            if not _fits(scheme, kind, text):
                expected = {"number": "a number or a float variable", "any": "a variable"}.get(
                    kind.rstrip("?"), f"a {kind.rstrip('?')} variable"
                )
                found.append(f"{slot} of operator {name} ({one.kind}) is '{text}'; it must be {expected}.")
    nodes = {*scheme.operators, *scheme.jobs}
    for edge in scheme.edges:
        ends = (edge.end, edge.end_if_true) if edge.is_fork else (edge.end,)
        found += [
            f"the edge from {edge.start} names the node {node}, which is not there."
            for node in (edge.start, *ends)
            if node not in nodes and (node != UNDEFINED or node == edge.start)
        ]
        if edge.is_fork and edge.variable not in scheme.bools:
            found.append(f"the fork at {edge.start} asks the boolean variable {edge.variable}, which is not there.")
    for name, job in scheme.jobs.items():
        if job.mode not in (NEW, CONTINUE):
            found.append(f"job {name} has mode '{job.mode}'; it must be {NEW} or {CONTINUE}.")
    return [f"{scheme.name}: {text}" for text in found]


def _fits(scheme: Scheme, kind: str, text: str) -> bool:
    if not kind or (kind.endswith("?") and text == UNDEFINED):
        return True
    kind = kind.rstrip("?")
    if kind == "any":
        return text in scheme.floats or text in scheme.bools or text in scheme.strings
    if kind != "number":
        return text in getattr(scheme, kind + "s")
    try:
        return text in scheme.floats or math.isfinite(float(text))
    except ValueError:
        return False


def value_of(scheme: Scheme, kind: str, text: str) -> Value | None:
    """Return the value of an input of that kind (see `Signature`); None where it is not used or left out."""
    if not kind or (text == UNDEFINED and kind.endswith("?")):
        return None
    kind = kind.rstrip("?")
    if kind == "number":
        return scheme.floats[text].value if text in scheme.floats else number(text, f"{scheme.name}: '{text}'")
    if kind == "any":
        kind = next(one for one in ("string", "bool", "float") if text in getattr(scheme, one + "s"))
    value: Value = getattr(scheme, kind + "s")[text].value
    return value


_COMPUTE: Mapping[str, Callable[..., Value]] = {
    "bool=set": bool,
    "bool=and": lambda a, b: a and b,
    "bool=or": lambda a, b: a or b,
    "bool=not": operator.not_,
    "bool=gt": operator.gt,
    "bool=lt": operator.lt,
    "bool=ge": operator.ge,
    "bool=le": operator.le,
    "bool=eq": lambda a, b: abs(a - b) < _EQUAL_WITHIN,
    "float=set": float,
    "float=plus": operator.add,
    "float=minus": operator.sub,
    "float=mult": operator.mul,
    "float=divide": operator.truediv,
    # half away from zero, unlike Python's round
    "float=round": lambda a: float(math.trunc(a + math.copysign(0.5, a))),
    "float=count_words": lambda text: float(len(words(text))),
    "string=set": str,
    "string=join": operator.add,
    "string=before_first": lambda text, mark: text.partition(mark)[0] if mark else "",
    "string=after_first": lambda text, mark: text.partition(mark)[2] if mark and mark in text else text,
    "string=before_last": lambda text, mark: text.rpartition(mark)[0] if mark and mark in text else text,
    "string=after_last": lambda text, mark: text.rpartition(mark)[2] if mark else "",
    "string=nth_word": lambda text, place: nth(words(text), place),
}


def is_pure(kind: str) -> bool:
    """Return True for an operator that needs nothing but its variables."""
    return kind in _COMPUTE


def compute(scheme: Scheme, name: str, inputs: Sequence[Value]) -> Value:
    """Return what a pure operator writes into its output variable.

    Raises
    ------
    UserError
        The result is no finite number, as after a division by zero.
    """
    one = scheme.operators[name]
    try:
        value = _COMPUTE[one.kind](*inputs)
    except (ZeroDivisionError, OverflowError):
        value = math.nan
    if isinstance(value, float) and not math.isfinite(value):
        shown = " and ".join(f"{value_:g}" for value_ in inputs)
        raise UserError(f"{scheme.name}: operator {name} ({one.kind}) of {shown} gives no number.")
    return value


def words(text: str) -> list[str]:
    """Return the comma-separated words of a string variable; none of an empty or undefined one."""
    return text.split(",") if text not in ("", UNDEFINED) else []


def nth(choices: Sequence[str], place: float) -> str:
    """Return a word by its place: 1 is the first, -1 the last; ``undefined`` where there is none."""
    index = round(place)
    index = index - 1 if index > 0 else len(choices) + index
    return choices[index] if round(place) != 0 and 0 <= index < len(choices) else UNDEFINED


def of_column(kind: str, column: Sequence[float], place: float | None) -> float:
    """Compute a ``star_table_`` operator on the numbers of one column.

    Parameters
    ----------
    kind
        Its type. Places count from 0.
    column
        Numbers, one per row; at least one.
    place
        For ``sort_idx``: 1 is the smallest value, 2 the next, -1 the largest, as RELION computes it (its help says the opposite).

    Raises
    ------
    UserError
        `place` is 0 or beyond the table.
    """
    if kind == "float=star_table_avg":
        return math.fsum(column) / len(column)
    if kind in ("float=star_table_max", "float=star_table_min"):
        return max(column) if kind.endswith("max") else min(column)
    if kind in ("float=star_table_max_idx", "float=star_table_min_idx"):
        return float(column.index(max(column) if kind.endswith("max_idx") else min(column)))
    order = sorted(range(len(column)), key=lambda index: (column[index], index))
    index = round(place or 0)
    if index == 0 or abs(index) > len(order):
        raise UserError(f"sort_idx takes a place from 1 to {len(order)}, or from -1 to -{len(order)}; found {index}.")
    return float(order[index - 1 if index > 0 else index])
