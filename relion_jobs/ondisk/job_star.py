"""job.star <-> JobRequest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from relion_jobs.contract.errors import BadStarFile, UserError
from relion_jobs.contract.labels import JOB_STAR
from relion_jobs.ondisk import star
from relion_jobs.ondisk.atomic import disk_error
from relion_jobs.ondisk.old_labels import process_label
from relion_jobs.ondisk.star import Table

RUN_JOB = "run.job"

_JOB, _VALUES = "job", "joboptions_values"
_LABEL, _CONTINUE, _TOMO, _OLD_TYPE = "rlnJobTypeLabel", "rlnJobIsContinue", "rlnJobIsTomo", "rlnJobType"
_VARIABLE, _VALUE = "rlnJobOptionVariable", "rlnJobOptionValue"


@dataclass(frozen=True)
class JobRequest:
    """What job.star says.

    Attributes
    ----------
    label
        Type label, e.g. ``dynamight``.
    is_continue
        True on "Continue!".
    is_tomo
        True in a tomography project.
    values
        Text of each option by its variable.
    """

    label: str
    is_continue: bool = False
    is_tomo: bool = False
    values: dict[str, str] = field(default_factory=dict)


def locate(path: Path) -> Path:
    """Return the settings file that `path` means, as RELION reads such names.

    ``DynaMight/job002/`` is its job.star (its run.job where there is no job.star), a file is itself, and ``.gui_dynamight`` is
    a prefix of ``.gui_dynamightjob.star``.

    Raises
    ------
    UserError
        There is no such file.
    """
    tried = [path / JOB_STAR, path / RUN_JOB] if path.is_dir() else [path]
    if not path.is_dir() and path.suffix not in (".star", ".job"):
        tried += [path.with_name(path.name + JOB_STAR), path.with_name(path.name + RUN_JOB)]
    for candidate in tried:
        if candidate.is_file():
            return candidate
    places = " nor ".join(map(str, tried))
    raise UserError(f"There are no job settings at {path}: neither {places} is a file. Put it back, or make a new job.")


def read(path: Path, *, variables: Mapping[str, str] | None = None) -> JobRequest:
    """Read a job.star, or run.job of RELION 3.0 and older.

    Parameters
    ----------
    path
        A file, a job directory, or a prefix such as ``.gui_dynamight``: see `locate`.
    variables
        Variable of each GUI label, for run.job, which knows labels only; a label that is not there is kept as it is.

    Raises
    ------
    UserError
        There is no such file.
    BadStarFile
        It is damaged; the message names the line.
    """
    path = locate(path)
    if path.suffix == ".job":
        return _read_run_job(path, variables or {})
    tables = star.read_tables(path)
    job = star.require(tables, _JOB, path)
    about = star.single_values(job)
    options = tables.get(_VALUES, Table(_VALUES, (_VARIABLE, _VALUE), (), source=str(path)))
    return JobRequest(
        label=about[_LABEL] if _LABEL in about else process_label(_integer(job, _OLD_TYPE, about)),
        is_continue=_flag(job, _CONTINUE, about),
        is_tomo=_flag(job, _TOMO, about),
        values=dict(zip(options.column(_VARIABLE), options.column(_VALUE), strict=True)),
    )


def write(request: JobRequest, path: Path) -> None:
    """Write a job.star whole or not at all, byte for byte as RELION 5 would: options sorted by variable."""
    about = (request.label, request.is_continue, request.is_tomo)
    # sorted by bytes, as RELION's map sorts them
    rows = tuple(sorted(request.values.items(), key=lambda item: item[0].encode("utf-8", "surrogateescape")))
    tables = [
        Table(_JOB, (_LABEL, _CONTINUE, _TOMO), (about,), is_loop=False),
        Table(_VALUES, (_VARIABLE, _VALUE), rows),
    ]
    star.write_tables(tables, path)


def _flag(table: Table, label: str, values: Mapping[str, str]) -> bool:
    """Read 0 or 1; a missing one is 0, as in the files of RELION 3."""
    return bool(_integer(table, label, {label: "0", **values}))


def _integer(table: Table, label: str, values: Mapping[str, str]) -> int:
    try:
        return int(values[label])
    except KeyError:
        raise table.bad_row(0, f"table data_{_JOB} has no _{_LABEL}; write the job type there, e.g. dynamight.") from None
    except ValueError:
        raise table.bad_row(0, f"_{label} is '{values[label]}'; it must be a whole number.") from None


def _read_run_job(path: Path, variables: Mapping[str, str]) -> JobRequest:
    """Read ``job_type == 22``, ``is_continue == false``, then ``GUI label == value`` on each line."""
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError as error:
        raise disk_error(error, path, "read") from error
    by_label = {label.strip(): variable for label, variable in variables.items()}
    texts: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        label, equals, value = line.partition("==")
        if equals:
            texts[label.strip()] = value.strip()
        elif line.strip():
            raise BadStarFile(f"{path}, line {number}: expected '<label> == <value>', found '{line.strip()}'.")
    kind = texts.pop("job_type", "")
    if not (kind.isascii() and kind.isdigit()):
        raise BadStarFile(f"{path}, line 1: job_type is '{kind}'; it must be a number such as 22 (DynaMight).")
    is_continue = texts.pop("is_continue", "false") == "true"
    values = {by_label.get(label, label): value for label, value in texts.items()}
    return JobRequest(process_label(int(kind)), is_continue, False, values)
