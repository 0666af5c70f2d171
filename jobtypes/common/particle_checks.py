"""What a particle STAR file must hold, each failure one sentence with column, row and remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobtypes.common.conventions import EULER_ANGLE_COLUMNS, HALVES, ORIGIN_COLUMNS
from jobtypes.common.star_tables import StarTable
from relion_jobs.contract.errors import BadStarFile, UserError

_REFINED = "give the run_data.star of a Refine3D job"
_REQUIRED = {
    "rlnImageName": _REFINED,
    "rlnOpticsGroup": "convert it with relion_convert_star --i OLD --o NEW",
    **dict.fromkeys(EULER_ANGLE_COLUMNS, _REFINED),
    **dict.fromkeys(("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"), "run CtfFind and extract the particles with its CTF"),
}
_OF_IMAGE = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
_LARGEST_NUMBER = 1 << 31  # of an image in its stack: the header of a stack can count no further
LARGEST_DEFOCUS_ANGSTROMS = 1e6  # 0.1 mm
NORM = "rlnNormCorrection"
_HELICAL = ("rlnHelicalTubeID", "rlnHelicalTrackLength", "rlnHelicalTrackLengthAngst", "rlnAnglePsiFlipRatio")


def find_tables(path: Path, tables: dict[str, StarTable]) -> tuple[StarTable, StarTable]:
    """Return data_particles and data_optics, or say what the file is instead."""
    if "particles" in tables and "optics" in tables:
        if len(tables["particles"]) == 0:
            raise UserError(f"{path}: data_particles has no rows; {_REFINED}.")
        return tables["particles"], tables["optics"]
    old = any("rlnImageName" in table.columns for table in tables.values())
    if old:
        raise UserError(
            f"{path} has no data_optics table, so RELION before 3.1 wrote it; convert it with relion_convert_star --i "
            f"{path} --o NEW."
        )
    found = ", ".join(f"data_{name}" for name in tables) or "no table"
    raise UserError(f"{path} is no particle STAR file: found {found}, expected data_optics and data_particles; {_REFINED}.")


def refuse_helices(particles: StarTable) -> None:
    """Refuse helices, whose segments are not independent."""
    helical = next((name for name in particles.columns if name in _HELICAL), None)
    if helical is not None:
        raise UserError(f"{particles.path} holds helical segments (column _{helical}), not supported; expected single particles.")


def require_columns(particles: StarTable, *, of_image: bool = True) -> None:
    """Refuse a table without a column that is needed, of single images or of tilt stacks."""
    for column, remedy in _REQUIRED.items():
        if column not in particles.columns and (of_image or column not in _OF_IMAGE):
            raise particles.lacks(column, remedy)
    pixels = next((name for name in ("rlnOriginX", "rlnOriginY") if name in particles.columns), None)
    if pixels is not None and not any(name in particles.columns for name in ORIGIN_COLUMNS):
        raise UserError(
            f"{particles.path}: origins are in pixels (column _{pixels}), as before RELION 3.1; convert it with "
            f"relion_convert_star."
        )


def split_image_names(
    particles: StarTable, names: NDArray[np.object_]
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Split "k@stack" names: stack paths in order of appearance, (n,) stack of each particle, (n,) 0-based slice of each."""
    numbers = np.empty(len(names), dtype=np.int64)
    stack_of = np.empty(len(names), dtype=np.int64)
    stacks: dict[str, int] = {}
    for row, name in enumerate(names):
        number, _, stack = name.strip().partition("@")
        image = int(number) if number.isascii() and number.isdigit() else 0
        if not (stack and 0 < image <= _LARGEST_NUMBER):
            raise BadStarFile(
                f"{particles.path}: column _rlnImageName of data_particles is {name!r} in {particles.where(row)}; "
                f"expected NUMBER@STACK with a number from 1, such as 000001@Extract/job002/particles.mrcs."
            )
        numbers[row] = image - 1
        stack_of[row] = stacks.setdefault(stack, len(stacks))
    return tuple(stacks), stack_of, numbers


def whole_stacks(
    particles: StarTable, names: NDArray[np.object_]
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Take names for stacks that belong to a particle as a whole: what `split_image_names` returns, with slice 0 of each."""
    row = next((row for row, name in enumerate(names) if "@" in name), None)
    if row is not None:
        raise BadStarFile(
            f"{particles.path}: column _rlnImageName of data_particles is {names[row]!r} in {particles.where(row)}; expected the "
            "name of the particle's own stack, without NUMBER@: give the run_optimisation_set.star of a Refine3D job."
        )
    stacks: dict[str, int] = {}
    stack_of = np.array([stacks.setdefault(name.strip(), len(stacks)) for name in names], dtype=np.int64)
    return tuple(stacks), stack_of, np.zeros(len(names), dtype=np.int64)


def checked_halves(
    particles: StarTable, values: NDArray[np.float64], copy_of: NDArray[np.int64], names: NDArray[np.object_]
) -> NDArray[np.int64]:
    """Return rlnRandomSubset as int64, refusing other values than 1 and 2 and images with copies in both halves."""
    bad = np.flatnonzero(~np.isin(values, HALVES))
    if len(bad):
        raise BadStarFile(
            f"{particles.path}: column _rlnRandomSubset of data_particles is {values[bad[0]]:g} in "
            f"{particles.where(int(bad[0]))}; "
            f"expected 1 or 2 (without the column the halves are drawn)."
        )
    half = values.astype(np.int64)
    lowest = np.full(int(copy_of.max()) + 1, 3)
    np.minimum.at(lowest, copy_of, half)
    split = np.flatnonzero(half != lowest[copy_of])
    if len(split):
        twin = int(np.flatnonzero((copy_of == copy_of[split[0]]) & (half != half[split[0]]))[0])
        also = "" if names[twin] == names[split[0]] else f"; {names[twin]} and {names[split[0]]} are one"
        raise UserError(
            f"{particles.path}: the same image is in half 1 and in half 2 (_rlnRandomSubset of data_particles, "
            f"{particles.where(twin)} and {particles.where(int(split[0]))}{also}), so the halves are not independent; give all "
            f"copies of an image the same half, or remove the column and they are drawn anew."
        )
    return half


def refuse_out_of_range(particles: StarTable, values: dict[str, NDArray[Any]], box_angstroms: NDArray[np.float64]) -> None:
    """Refuse a defocus that no microscope has, particles that lie beside their images (n,), and grey scales that are none."""
    for column in ("rlnDefocusU", "rlnDefocusV"):
        if column in values:
            _refuse(particles, values, column, np.abs(values[column]) > LARGEST_DEFOCUS_ANGSTROMS, lambda row: "a defocus in A")
    for column in (*ORIGIN_COLUMNS, "rlnOriginZAngst"):
        if column in values:
            beside = np.abs(values[column]) > box_angstroms
            _refuse(particles, values, column, beside, lambda row: f"an origin in A, within the box of {box_angstroms[row]:g} A")
    if NORM in values:
        _refuse(particles, values, NORM, values[NORM] <= 0, lambda row: "a factor above 0")


def _refuse(
    particles: StarTable, values: dict[str, NDArray[Any]], column: str, bad: NDArray[np.bool_], expected: Callable[[int], str]
) -> None:
    """Name the first of the rows (n,) that are bad, if any, with what is expected there."""
    rows = np.flatnonzero(bad)
    if len(rows):
        row = int(rows[0])
        raise BadStarFile(
            f"{particles.path}: column _{column} of data_particles is {values[column][row]:g} in {particles.where(row)}; "
            f"expected {expected(row)}: correct the row or take it out."
        )


def refuse_empty_half(path: Path, half: NDArray[np.int64]) -> None:
    """Refuse a file of which one half has no particles."""
    for number in HALVES:
        if not np.any(half == number):
            raise UserError(
                f"{path}: no particle is in half {number} (_rlnRandomSubset of data_particles); expected particles in "
                f"both halves, "
                f"or no such column, and they are drawn."
            )


def group_indices(particles: StarTable, values: NDArray[np.float64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each particle the index of its optics group, refusing numbers that data_optics does not have."""
    order = np.argsort(numbers)
    place = np.minimum(np.searchsorted(numbers[order], values), len(numbers) - 1)
    index = order[place]
    bad = np.flatnonzero(numbers[index] != values)
    if len(bad):
        raise BadStarFile(
            f"{particles.path}: column _rlnOpticsGroup of data_particles is {values[bad[0]]:g} in "
            f"{particles.where(int(bad[0]))}; "
            f"expected a group of data_optics ({', '.join(map(str, numbers))}); add the group there or take its particles out."
        )
    return index
