"""One column of any STAR table, read line by line: particle tables may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from relion_jobs.contract.errors import BadStarFile
from relion_jobs.ondisk import star
from relion_jobs.ondisk.atomic import disk_error

_OPTICS = "optics"


def count_rows(path: Path, table: str) -> int:
    """Count the rows of a table.

    Parameters
    ----------
    path
        Any STAR file.
    table
        Its name without ``data_``. A file of RELION 3.0 and older, which has a single table of another name, is counted too.

    Raises
    ------
    UserError
        The file cannot be read.
    BadStarFile
        It has no such table.
    """
    counts = {name: sum(1 for _ in rows) for name, _labels, rows in _tables(path)}
    if table in counts:
        return counts[table]
    if len(counts) == 1 and _OPTICS not in counts:
        return next(iter(counts.values()))
    raise BadStarFile(f"{path} has no table data_{table}; it has {_list(counts)}.")


def read_column(path: Path, table: str, label: str) -> list[str]:
    """Read the texts of one column, or the one text of a list.

    Parameters
    ----------
    path
        Any STAR file.
    table, label
        Names, without ``data_`` and underscore.

    Raises
    ------
    UserError
        The file cannot be read.
    BadStarFile
        It has no such table or column, or a row is short; the message names the line.
    """
    names = []
    for name, labels, rows in _tables(path):
        names.append(name)
        if name != table:
            continue
        values = []
        for line_number, words in rows:
            if label not in labels:
                break
            if len(words) != len(labels):
                raise BadStarFile(
                    f"{path}, line {line_number}: {len(words)} values for the {len(labels)} columns of data_{table}."
                )
            values.append(words[labels.index(label)])
        if label not in labels:
            raise BadStarFile(f"{path}: table data_{table} has no column _{label}; it has {_list(labels)}.")
        return values
    raise BadStarFile(f"{path} has no table data_{table}; it has {_list(names)}.")


def _list(names: object) -> str:
    return ", ".join(map(str, names)) if isinstance(names, list | dict) and names else "none"


def _tables(path: Path) -> Iterator[tuple[str, list[str], Iterator[tuple[int, list[str]]]]]:
    """Yield (name, labels, rows) of each table; `labels` is complete once `rows`, ``(line number, words)``, has yielded."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            lines = enumerate(file, start=1)
            for _number, line in lines:
                if line.startswith("data_"):
                    labels: list[str] = []
                    rows = _rows(lines, labels, str(path))
                    yield line.removeprefix("data_").strip(), labels, rows
                    # to the end of this table, where the caller did not read it
                    for _ in rows:
                        pass
    except OSError as error:
        raise disk_error(error, path, "read") from error


def _rows(lines: Iterator[tuple[int, str]], labels: list[str], source: str) -> Iterator[tuple[int, list[str]]]:
    """Rows of the table that begins at the next line; a list gives one row, of all its values."""
    values: list[str] = []
    is_loop = False
    has_rows = False
    first = 0
    for line_number, line in lines:
        text = line.strip()
        if text.startswith("#"):
            continue
        if not text:
            # a table ends at the first blank line below its rows
            if has_rows or (values and not is_loop):
                break
        elif text.startswith("loop_"):
            is_loop = True
        elif text.startswith("_") and not has_rows:
            label, *rest = star.split_line(text, source, line_number)
            if label[1:] in labels:
                raise BadStarFile(
                    f"{source}, line {line_number}: column {label} stands twice in this table; take one of the two out."
                )
            labels.append(label[1:])
            if not is_loop:
                values.append(rest[0] if rest else "")
                first = first or line_number
        else:
            has_rows = True
            yield line_number, star.split_line(text, source, line_number)
    if values and not is_loop:
        yield first, values
