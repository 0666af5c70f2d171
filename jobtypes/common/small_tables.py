"""Small tables of our own as STAR files, written and read by the starfile package, as users read them.

Particles have a reader and a writer of their own in `star_tables` and `particles`: they keep every byte of a million rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import starfile

from jobtypes.common.star_tables import read_tables
from jobtypes.common.whole_files import written_whole
from relion_jobs.contract.errors import BadStarFile

_VERSION = "# version 50001"  # of RELION's labels
_STRANGE = frozenset("\"'#\t\r\n")
_REMEDY = "put back what was written, or delete the file"

Pairs = dict[str, Any]


def write_small_tables(path: Path, tables: Mapping[str, Pairs | pd.DataFrame], *, decimals: int = 6) -> None:
    """Write tables as a STAR file, whole or not at all; the same tables give the same bytes.

    Parameters
    ----------
    path
        File to write.
    tables
        By name without "data_": pairs of label and value, or a loop; labels without underscore.
    decimals
        Of the numbers in loops. Those of pairs have six digits.

    Raises
    ------
    ValueError
        A text holds a quote, a tab, a line break or ``#``, which would not come back.
    """
    for name, table in tables.items():
        _refuse_strange_texts(name, table)
    blocks = {name: table if isinstance(table, pd.DataFrame) else _with_digits(table) for name, table in tables.items()}
    written = starfile.to_string(blocks, float_format=f"%.{decimals}f")
    # its first line tells the time, so that no two files would be the same
    text = "\n".join(("", _VERSION, "", written.partition("\n")[2].lstrip("\n")))
    with written_whole(path) as temporary:
        temporary.write_text(text)


def read_small_tables(path: Path, expected: Mapping[str, tuple[str, ...]], *, texts: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read tables that `write_small_tables` has written: dictionaries of pairs, pandas frames of loops.

    Parameters
    ----------
    path
        File to read.
    expected
        Tables that must be there, and the labels that each must have.
    texts
        Labels whose values stay texts even where they look like numbers.

    Raises
    ------
    UserError
        The file is missing or cannot be read.
    BadStarFile
        It is damaged, or a table or a label is not there.
    """
    try:
        there = read_tables(path)  # refuses a row with too few values, which starfile fills up
        tables: dict[str, Any] = starfile.read(path, always_dict=True, parse_as_string=list(texts))
    except BadStarFile as error:
        raise BadStarFile(f"{str(error).rstrip('.')}; {_REMEDY}.") from error
    except ValueError as error:
        raise BadStarFile(f"{path} cannot be read as a table ({str(error).strip().rstrip('.')}); {_REMEDY}.") from error
    for name, labels in expected.items():
        if name not in there:
            raise BadStarFile(f"{path} has no table data_{name}; {_REMEDY}.")
        for label in labels:
            if label not in there[name].columns:
                raise BadStarFile(f"{path}: data_{name} has no column _{label}; {_REMEDY}.")
    return tables


def _refuse_strange_texts(name: str, table: Pairs | pd.DataFrame) -> None:
    for cell in table.to_numpy().flat if isinstance(table, pd.DataFrame) else table.values():
        if isinstance(cell, str) and set(cell) & _STRANGE:
            raise ValueError(f"data_{name} would hold the text {cell!r}, which a STAR file does not give back as it is.")


def _with_digits(pairs: Pairs) -> Pairs:
    return {label: f"{value:.6g}" if isinstance(value, float) else value for label, value in pairs.items()}
