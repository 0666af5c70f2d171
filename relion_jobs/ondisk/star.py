r"""Control STAR files (pipelines, job.star, output nodes) as RELION 5 reads and writes them.

Every value is text. Particle tables are read elsewhere: this reader looks at one character after the other and is slow.

The dialect, where it differs from what one might expect: a loop ends at the first blank line; a double quote inside a quoted
value is preceded by BEL (``\a``) where a blank or the end follows; an empty table is not written at all; a file without a
``# version`` line is of version 30000.

Source: RELION 5's files and its reader's behaviour; departures are named at the functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from relion_jobs.contract.errors import BadStarFile, UserError
from relion_jobs.ondisk.atomic import disk_error, write_whole

VERSION = 50001
VERSION_WITHOUT_LINE = 30000

_BLANKS = " \t"
_ESCAPE = "\a"
_VERSION_LINE = "# version "
_PLAIN_TOKEN = re.compile(rf"[^{_BLANKS}]+")
# a first value that begins like this would be taken for a label, a table or a comment if it stood bare
_RESERVED = ("_", "data_", "loop_", "#")

Value = str | int | float


@dataclass(frozen=True)
class Table:
    """One ``data_`` block.

    Attributes
    ----------
    name
        Without ``data_``.
    columns
        Labels without underscore, e.g. ``rlnPipeLineNodeName``.
    rows
        One tuple per row, as long as `columns`. What was read is text; numbers are written in RELION's width.
    is_loop
        False for a list: one row, one line per label.
    version
        Number of the nearest ``# version`` line above.
    lines
        Line number in the file of each row, for messages; empty if the table was not read.
    source
        File that it was read from, for messages.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    is_loop: bool = True
    version: int = VERSION
    lines: tuple[int, ...] = field(default=(), compare=False)
    source: str = field(default="", compare=False)

    def column(self, label: str) -> tuple[str, ...]:
        """Return the texts of one column; BadStarFile if the table has none of that label."""
        if label not in self.columns:
            raise BadStarFile(f"{self.source}: table data_{self.name} has no column _{label}; it has {', '.join(self.columns)}.")
        index = self.columns.index(label)
        return tuple(str(row[index]) for row in self.rows)

    def optional_column(self, label: str, default: str) -> tuple[str, ...]:
        """Return the texts of one column, or `default` for every row where there is no such column."""
        return self.column(label) if label in self.columns else (default,) * len(self.rows)

    def bad_row(self, row: int, problem: str) -> BadStarFile:
        """Return the error for row number `row` (0-based), with file and line."""
        line = f", line {self.lines[row]}" if row < len(self.lines) else ""
        return BadStarFile(f"{self.source}{line}: {problem}")


def read_tables(path: Path) -> dict[str, Table]:
    """Read all tables of a file by their names, in the order of the file.

    Raises
    ------
    UserError
        The file cannot be read.
    BadStarFile
        It is no STAR file; the message names the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise disk_error(error, path, "read") from error
    return parse(content.decode("utf-8-sig", "surrogateescape"), str(path))


def parse(text: str, source: str) -> dict[str, Table]:
    """Read all tables of `text`; `source` names it in messages.

    Comment lines between data rows are skipped, which RELION refuses; rows below a blank line are refused, which RELION
    silently drops; blanks inside quotes are kept, which RELION collapses.
    """
    return _Reader(text, source).tables()


def write_tables(tables: Iterable[Table], path: Path) -> None:
    """Write tables whole or not at all; those without rows are left out, as RELION does."""
    write_whole(path, format_tables(tables))


def format_tables(tables: Iterable[Table]) -> str:
    """Return the text of a file, byte for byte as RELION 5 would write it."""
    return "".join(_format_table(table) for table in tables if table.rows)


def _format_table(table: Table) -> str:
    lines = ["", f"{_VERSION_LINE}{VERSION}", "", f"data_{table.name}", ""]
    if table.is_loop:
        lines.append("loop_ ")
        lines += [f"_{label} #{number} " for number, label in enumerate(table.columns, start=1)]
        for row in table.rows:
            lines.append("".join(_right(_format_value(value, first=index == 0)) + " " for index, value in enumerate(row)))
    else:
        width = max([10, *(len(label) for label in table.columns)]) + 12
        for label, value in zip(table.columns, table.rows[0], strict=True):
            lines.append(f"_{label:<{width}}{_format_value(value)}")
    return "\n".join([*lines, " ", ""])


def _right(text: str) -> str:
    """Push a value to the right in 10 bytes: RELION counts bytes, not letters."""
    return " " * (10 - len(text.encode("utf-8", "surrogateescape"))) + text


def _format_value(value: Value, first: bool = False) -> str:
    """Return one value as RELION writes it; `first` is true for the first of a loop's row."""
    if isinstance(value, str):
        return _quote(value, first)
    if isinstance(value, int):
        return f"{int(value):>12}"
    return number_text(value)


def number_text(value: float) -> str:
    """Return a number as RELION writes it, which keeps six digits behind the point, or six digits of a large or small number."""
    text = f"{value:12.5f}" if value < 0 else f"{value:12f}"
    # RELION would lose small numbers: 1.23e-7 became 0.000000
    return text if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:12.5e}"


def _quote(text: str, first: bool) -> str:
    """Put a value in double quotes where RELION does, and where a bare one would be taken for something else."""
    if not all(character.isprintable() or character in "\t" or ord(character) >= 0x80 for character in text):
        raise UserError(f"A STAR file cannot hold the value {text!r}; take the line breaks and control characters out of it.")
    if text == "":
        return '""'
    reserved = text.startswith("#") or (first and text.startswith(_RESERVED))
    if not reserved and text[0] not in "\"'" and not any(blank in text for blank in _BLANKS):
        return text
    escaped = []
    for index, character in enumerate(text):
        if character == '"' and text[index + 1 : index + 2] in ("", *_BLANKS):
            escaped.append(_ESCAPE)
        escaped.append(character)
    return '"' + "".join(escaped) + '"'


class _Reader:
    """Reads one file from the top; `line` is the 1-based number of the line that was taken last."""

    def __init__(self, text: str, source: str) -> None:
        self.lines = text.split("\n")
        self.source = source
        self.line = 0
        self.version = VERSION_WITHOUT_LINE

    def tables(self) -> dict[str, Table]:
        tables: dict[str, Table] = {}
        while (name := self._next_table()) is not None:
            if name in tables:
                raise self._bad(f"table data_{name} stands here a second time; take one of the two out.")
            tables[name] = self._table(name)
        return tables

    def _bad(self, problem: str) -> BadStarFile:
        return BadStarFile(f"{self.source}, line {self.line}: {problem}")

    def _take(self) -> str | None:
        """Return the next line without blanks around it; None at the end."""
        if self.line >= len(self.lines):
            return None
        line = self.lines[self.line]
        self.line += 1
        if line.endswith("\r"):
            raise self._bad("the line ends in CR LF (a Windows file), which RELION cannot read; convert the file with dos2unix.")
        return line.strip(_BLANKS)

    def _peek_starts(self, *prefixes: str) -> bool:
        return self.line < len(self.lines) and self.lines[self.line].strip(_BLANKS).startswith(prefixes)

    def _next_table(self) -> str | None:
        """Go to the next ``data_`` line and return the table's name."""
        while (line := self._take()) is not None:
            if line.startswith(_VERSION_LINE):
                self._note_version(line)
            elif line.startswith("data_"):
                return line.removeprefix("data_").split("#")[0].strip(_BLANKS)
            elif line and not line.startswith("#"):
                raise self._bad(f"'{_short(line)}' belongs to no table; a table ends at its first blank line.")
        return None

    def _note_version(self, line: str) -> None:
        number = line.removeprefix(_VERSION_LINE).strip(_BLANKS)
        if not (number.isascii() and number.isdigit()):
            raise self._bad(f"'{_short(number)}' is no version number.")
        self.version = int(number)

    def _table(self, name: str) -> Table:
        version = self.version
        while self._peek_starts("#") or (self.line < len(self.lines) and not self.lines[self.line].strip(_BLANKS)):
            if (line := self._take()) is not None and line.startswith(_VERSION_LINE):
                self._note_version(line)
        if self._peek_starts("loop_"):
            self._take()
            return self._loop(name, version)
        return self._list(name, version)

    def _list(self, name: str, version: int) -> Table:
        columns: list[str] = []
        values: list[str] = []
        start = self.line + 1
        while self.line < len(self.lines) and not self._peek_starts("data_", _VERSION_LINE):
            tokens = self._tokens(self._take() or "")
            if not tokens:
                continue
            if not tokens[0].startswith("_") or len(tokens) != 2:
                raise self._bad(
                    f"table data_{name} needs one label and one value on each line, found '{_short(' '.join(tokens))}'."
                )
            if tokens[0][1:] in columns:
                raise self._bad(f"{tokens[0]} stands twice in table data_{name}.")
            columns.append(tokens[0][1:])
            values.append(tokens[1])
        rows = (tuple(values),) if columns else ()
        return Table(name, tuple(columns), rows, False, version, (start,) if rows else (), self.source)

    def _loop(self, name: str, version: int) -> Table:
        columns: list[str] = []
        while self._peek_starts("_"):
            label = self._tokens(self._take() or "")[0][1:]
            if label in columns:
                raise self._bad(f"column _{label} stands twice in table data_{name}.")
            columns.append(label)
        rows: list[tuple[str, ...]] = []
        lines: list[int] = []
        while not self._peek_starts("data_") and (line := self._take()):
            tokens = self._tokens(line)
            if not tokens:
                continue
            # as in RELION a short row is filled up only in tables of one or two columns
            if len(tokens) > len(columns) or (len(tokens) < len(columns) and len(columns) > 2):
                raise self._bad(f"table data_{name} has {len(columns)} columns, but this row has {len(tokens)} values.")
            rows.append((*tokens, *[""] * (len(columns) - len(tokens))))
            lines.append(self.line)
        return Table(name, tuple(columns), tuple(rows), True, version, tuple(lines), self.source)

    def _tokens(self, line: str) -> list[str]:
        """Split a line at blanks outside quotes; the rest behind a ``#`` that begins a token is a comment."""
        if not ('"' in line or "'" in line or "#" in line):
            # nearly every line of a large pipeline, ten times as fast
            return _PLAIN_TOKEN.findall(line)
        tokens: list[str] = []
        position = 0
        while position < len(line):
            character = line[position]
            if character in _BLANKS:
                position += 1
            elif character == "#":
                break
            elif character in "\"'":
                end = self._closing_quote(line, position)
                tokens.append(line[position + 1 : end].replace(_ESCAPE + character, character))
                position = end + 1
            else:
                end = position
                while end < len(line) and line[end] not in _BLANKS:
                    end += 1
                tokens.append(line[position:end])
                position = end
        return tokens

    def _closing_quote(self, line: str, start: int) -> int:
        """Return the place of the quote that ends a value: the first one before a blank or the end that is not escaped."""
        for end in range(start + 1, len(line)):
            if line[end] == line[start] and line[end + 1 : end + 2] in ("", *_BLANKS) and line[end - 1] != _ESCAPE:
                return end
        raise self._bad(f"the quote that opens '{_short(line[start:])}' is not closed.")


def split_line(line: str, source: str, number: int) -> list[str]:
    """Split one line of a STAR file into its values; `source` and `number` (from 1) name it in messages."""
    reader = _Reader("", source)
    reader.line = number
    return reader._tokens(line)


def _short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def require(tables: dict[str, Table], name: str, source: Path) -> Table:
    """Return a table that a file must hold; BadStarFile if it is missing or empty."""
    table = tables.get(name)
    if table is None or not table.rows:
        raise BadStarFile(f"{source} has no table data_{name}; it is damaged or of another kind.")
    return table


def single_values(table: Table) -> dict[str, str]:
    """Return a list table (or the first row of a loop) as label -> text."""
    return {label: str(value) for label, value in zip(table.columns, table.rows[0], strict=True)}


def columns_besides(table: Table, known: Sequence[str]) -> tuple[str, ...]:
    """Return the labels that are not in `known`, in their order."""
    return tuple(label for label in table.columns if label not in known)
