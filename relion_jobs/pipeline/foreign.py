"""What others wrote in a pipeline file and we do not know: kept, never looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ForeignTable:
    """A table of the pipeline file that is not ours.

    Attributes
    ----------
    name
        Without ``data_``.
    is_loop
        False for a list of one row.
    columns
        Labels without underscore.
    rows
        Texts, one tuple per row.
    """

    name: str
    is_loop: bool
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ForeignColumn:
    """A column of a known table that is not ours.

    Attributes
    ----------
    table
        Name of the table without ``data_``.
    label
        Label without underscore.
    values
        ``(key of the row, text)``; the key is what names the row: a process, a node path, or an edge ``(from, to)``. A row
        that has no entry, such as one added later, is written as ``None``.
    """

    table: str
    label: str
    values: tuple[tuple[str | tuple[str, str], str], ...]
