"""Particles that came from cryoSPARC through csparc2star (pyem) or cs2star, and their uids there.

A .cs file is a numpy array with a name for each column: ``uid``, ``blob/path`` and ``blob/idx``, the image's number from 0. The
STAR file that was made of it names the same stacks: by their path in the cryoSPARC project, by links ``.../J12/NAME.mrcs`` to
them, or with the uid of the exposure stripped off the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jobtypes.common.particles import ParticleTable
from jobtypes.common.whole_files import written_whole
from relion_jobs.contract.errors import UserError

UID_COLUMN = "ucsfUid"  # where pyem keeps it
_PATH, _INDEX, _UID = "blob/path", "blob/idx", "uid"
_EXPOSURE_UID = re.compile(r"^\d{21}_")


def write_uids(table: ParticleTable, rows: ArrayLike, path: Path, source: Path | None) -> None:
    """Write the uids of particles, one in each line, whole or not at all.

    Parameters
    ----------
    table
        The particles.
    rows : (m,)
        Those to write.
    path
        Text file to write.
    source
        The .cs file that the STAR file was made of; None: the STAR file itself has a column `UID_COLUMN`.

    Raises
    ------
    UserError
        The uid of a particle cannot be told, or a file cannot be read or written.
    """
    chosen = table.select(rows)
    uids = _uids_in_star(chosen) if source is None else _uids_in_cs(chosen, source)
    with written_whole(path) as temporary:
        Path(temporary).write_text("".join(f"{uid}\n" for uid in uids))


def _uids_in_star(table: ParticleTable) -> list[str]:
    particles = table.source["particles"]
    if UID_COLUMN not in particles.columns:
        raise UserError(
            f"{table.path} has no column _{UID_COLUMN} with cryoSPARC's uids; name the .cs file that it was made of "
            "(--uids FILE.cs)."
        )
    texts = particles.read(texts=(UID_COLUMN,))[UID_COLUMN]
    return [str(texts[row]) for row in table.rows]


def _uids_in_cs(table: ParticleTable, source: Path) -> list[str]:
    """Find each particle by the first kind of name that tells all of them."""
    uids, images, stacks = _read_cs(source)
    lost = ""
    for name_of in (_whole, _in_its_job, _last, _last_without_uid):
        known = _by_name(zip(images, map(name_of, stacks), strict=True), uids)
        names = [name_of(table.stack_paths[stack]) for stack in table.stack_of]
        found = [known.get((int(image), name)) for image, name in zip(table.slice_of, names, strict=True)]
        if None not in found:
            return [str(uid) for uid in found]
        lost = lost or table.image_name(found.index(None))
    raise UserError(
        f"{source} does not tell which of its particles {lost} of {table.path} is; name the .cs file of which this STAR file was "
        "made."
    )


def _read_cs(path: Path) -> tuple[NDArray[np.uint64], NDArray[np.int64], list[str]]:
    """Read uids (k,), image numbers (k,) from 0 and stacks of a .cs file."""
    try:
        content = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read as a .cs file of cryoSPARC ({error}).") from error
    columns = content.dtype.names or () if isinstance(content, np.ndarray) else ()
    missing = [name for name in (_UID, _PATH, _INDEX) if name not in columns]
    if missing:
        raise UserError(f"{path} has no column {missing[0]}; expected a .cs file with the images of particles.")
    stacks = [text.decode(errors="replace") if isinstance(text, bytes) else str(text) for text in content[_PATH]]
    return content[_UID], content[_INDEX].astype(np.int64), stacks


def _by_name(names: Iterable[tuple[np.int64, str]], uids: NDArray[np.uint64]) -> dict[tuple[int, str], int | None]:
    """Map number and name to the uid; None where two particles have the same."""
    known: dict[tuple[int, str], int | None] = {}
    for (image, name), uid in zip(names, uids.tolist(), strict=True):
        known[int(image), name] = uid if known.setdefault((int(image), name), uid) == uid else None
    return known


def _whole(stack: str) -> str:
    return stack.removeprefix(">")


def _last(stack: str) -> str:
    name = PurePosixPath(stack)
    return name.stem if name.suffix.lower() in (".mrc", ".mrcs") else name.name


def _in_its_job(stack: str) -> str:
    """``J12/NAME`` of both ``J12/extract/NAME.mrc`` and ``.../J12/NAME.mrcs``."""
    job = next((part for part in reversed(PurePosixPath(_whole(stack)).parts) if re.fullmatch(r"J\d+", part)), "")
    return f"{job}/{_last(stack)}"


def _last_without_uid(stack: str) -> str:
    return _EXPOSURE_UID.sub("", _last(stack))
