"""Which particle of one STAR file is which of another: unbinned, polished, re-extracted or moved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from jobtypes.common.particles import ParticleTable
from jobtypes.common.repeats import SAME_VIEW_DEGREES
from jobtypes.common.rotations import euler_matrices
from relion_jobs.contract.errors import UserError

_OF_TOMOGRAM = "rlnTomoParticleName"
_MICROGRAPH, _X, _Y = "rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY"
LARGEST_MEDIAN_TURN_DEGREES = SAME_VIEW_DEGREES
_COORDINATE_STEP = 1e-2  # pixels of the micrograph: RELION writes six decimals


def match_particles(earlier: ParticleTable, now: ParticleTable) -> tuple[NDArray[np.int64], str]:
    """Find each particle of a STAR file in an earlier one.

    The first of these that names all particles decides: rlnImageName; rlnTomoParticleName; rlnMicrographName with its
    coordinates, which lie in pixels of the micrograph whatever the box; the number and the last part of rlnImageName, for
    stacks that were moved; and, where no name of the one file is in the other but both have as many particles, their order. The
    last two are believed only where the orientations agree, since particles that were extracted again may be numbered anew.
    Copies of an image (symmetry expansion) are told apart by their order.

    Parameters
    ----------
    earlier, now
        m and n particles.

    Returns
    -------
    (n,), str
        Row of `earlier` for each particle of `now`, and by what they were matched, in words.

    Raises
    ------
    UserError
        Some particles of `now` are not in `earlier`, or nothing tells which is which.
    """
    closest = (0, "", "")
    for how, is_sure, names_before, names_now in _names(earlier, now):
        rows = _find(names_before, names_now)
        missing = int((rows < 0).sum())
        if not missing:
            if not is_sure:
                _refuse_other_poses(earlier, now, rows, how)
            return rows, how
        found = len(rows) - missing
        if found > closest[0]:
            closest = (found, how, names_now[int(np.flatnonzero(rows < 0)[0])])
    if closest[0]:
        found, how, name = closest
        raise UserError(
            f"{now.path}: {len(now) - found} of its {len(now)} particles are not in {earlier.path}, which the training was made "
            f"with ({found} were found by {how}; the first that was not is {name}); expected the same particles or fewer."
        )
    if len(earlier) != len(now):
        raise UserError(
            f"{now.path} has {len(now)} particles and {earlier.path}, which the training was made with, has {len(earlier)}, and "
            f"neither _rlnImageName nor _{_MICROGRAPH} with coordinates tells which is which; give the same particles."
        )
    rows = np.arange(len(now))
    _refuse_other_poses(earlier, now, rows, "their order")
    return rows, "their order, as no name in one file is in the other"


def _refuse_other_poses(earlier: ParticleTable, now: ParticleTable, rows: NDArray[np.int64], how: str) -> None:
    """Refuse a doubtful match under which most particles look in another direction than before."""
    before, after = (euler_matrices(torch.from_numpy(angles)) for angles in (earlier.angles_degrees[rows], now.angles_degrees))
    cosine = (torch.einsum("nij,nij->n", before, after) - 1) / 2
    median = float(torch.rad2deg(cosine.clamp(-1, 1).acos()).median())
    if median > LARGEST_MEDIAN_TURN_DEGREES:
        raise UserError(
            f"{now.path}: matched with {earlier.path} by {how}, half of the particles would be turned by more than {median:.0f} "
            f"degrees, so these are others or in another order; give _{_MICROGRAPH}, _{_X} and _{_Y} in both files."
        )


def _names(earlier: ParticleTable, now: ParticleTable) -> Iterator[tuple[str, bool, list[str], list[str]]]:
    """By what particles may be told, whether that is sure, and their names in both files."""
    yield "_rlnImageName", True, _image_names(earlier), _image_names(now)
    if all(_OF_TOMOGRAM in table.source["particles"].columns for table in (earlier, now)):
        yield f"_{_OF_TOMOGRAM}", True, _names_in_tomograms(earlier), _names_in_tomograms(now)
    if all(column in table.source["particles"].columns for table in (earlier, now) for column in (_MICROGRAPH, _X, _Y)):
        yield f"_{_MICROGRAPH} and coordinates", True, _places(earlier), _places(now)
    yield "the file names in _rlnImageName", False, _image_names(earlier, tail=True), _image_names(now, tail=True)


def _image_names(table: ParticleTable, *, tail: bool = False) -> list[str]:
    stacks = [PurePosixPath(path).name for path in table.stack_paths] if tail else table.stack_files
    return [f"{image + 1}@{stacks[stack]}" for stack, image in zip(table.stack_of, table.slice_of, strict=True)]


def _names_in_tomograms(table: ParticleTable) -> list[str]:
    names: list[str] = table.source["particles"].read(texts=(_OF_TOMOGRAM,))[_OF_TOMOGRAM][table.rows].tolist()
    return names


def _places(table: ParticleTable) -> list[str]:
    columns = table.source["particles"].read(numbers=(_X, _Y), texts=(_MICROGRAPH,))
    x, y = (np.rint(columns[axis][table.rows] / _COORDINATE_STEP).astype(np.int64) for axis in (_X, _Y))
    return [
        f"{name} at {i * _COORDINATE_STEP:g}, {j * _COORDINATE_STEP:g}"
        for name, i, j in zip(columns[_MICROGRAPH][table.rows], x, y, strict=True)
    ]


def _find(names_before: list[str], names_now: list[str]) -> NDArray[np.int64]:
    """(n,) row of each name, -1 where it is missing; the k-th of equal names is the k-th of them before."""
    rows = {key: row for row, key in enumerate(_counted(names_before))}
    return np.array([rows.get(key, -1) for key in _counted(names_now)], dtype=np.int64)


def _counted(names: list[str]) -> Iterator[tuple[str, int]]:
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, -1) + 1
        yield name, seen[name]
