"""What a scheme puts into the options of its jobs: values of variables, directories of jobs."""

from __future__ import annotations

import re
from collections.abc import Callable

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import NO, SCHEMES, YES
from relion_jobs.schemes.scheme_graph import Scheme, Value

_JOB_PATH = re.compile(rf"{SCHEMES}/([^/\s,]+)/([^/\s,]+)/")
_VARIABLE = re.compile(r"\$\$(\S*)")


def value_text(value: Value) -> str:
    """Return a value as it goes into the options of a job: Yes or No, a number as short as RELION writes it, or the text."""
    if isinstance(value, bool):
        return YES if value else NO
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:g}"
    return value


def fill_in(scheme: Scheme, text: str, option: str, *, kind: str = "") -> str:
    """Replace every ``$$variable`` in the text of a job's option; a name ends at a blank.

    Parameters
    ----------
    scheme
        The scheme.
    text
        Text of the job's option.
    option
        Its variable, for messages.
    kind
        Kind of the option (`relion_jobs.contract.options.Kind`); empty where it is not known.

    Raises
    ------
    UserError
        The scheme has no such variable, or one of a kind that does not fit: only boolean variables go into boolean options,
        and no string into a number.
    """

    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        where = f"{scheme.name}: option {option} takes $${name}"
        if name in scheme.bools:
            if kind not in ("", "boolean"):
                raise UserError(f"{where}, a boolean variable, but is itself of kind {kind}; use a string variable.")
            return value_text(scheme.bools[name].value)
        if name not in scheme.floats and name not in scheme.strings:
            raise UserError(f"{where}, but the scheme has no such variable.")
        is_number = name in scheme.floats
        if kind == "boolean" or (kind in ("integer", "number") and not is_number):
            raise UserError(f"{where}, a {'number' if is_number else 'string'}, but is itself of kind {kind}.")
        return value_text(scheme.floats[name].value if is_number else scheme.strings[name].value)

    return _VARIABLE.sub(value_of, text)


def real_paths(scheme: Scheme, text: str, read_other: Callable[[str], Scheme], *, strict: bool) -> str:
    """Replace each ``Schemes/NAME/NODE/`` in a text by the directory of the job that this node has started.

    Parameters
    ----------
    scheme
        The scheme that runs.
    text
        Value of a string variable, or of a job's option. What names no job of a scheme is left as it is.
    read_other
        Returns another scheme by its short name.
    strict
        Refuse the job of a node that has not started; else its path is left, where no output of it will be found.

    Raises
    ------
    UserError
        As `strict` says, or from `read_other`.
    """

    def job_of(match: re.Match[str]) -> str:
        owner = scheme if match[1] == scheme.short_name else read_other(match[1])
        job = owner.jobs.get(match[2])
        if job is not None and job.has_started:
            return job.job.rstrip("/") + "/"
        if job is not None and strict:
            raise UserError(f"{scheme.name}: '{text}' is made by node {match[2]} of {owner.name}, which has not run yet.")
        return match[0]

    return _JOB_PATH.sub(job_of, text)
