"""States that the user asks for: those of given particles, or of given latents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common.conventions import EULER_ANGLE_COLUMNS
from jobtypes.common.particles import ParticleTable
from jobtypes.common.rotations import euler_matrices
from jobtypes.common.star_tables import StarTable, read_tables
from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.errors import UserError

MOST_STATES = 200  # each becomes a map


@dataclass(frozen=True)
class GivenState:
    """A state with a name.

    Attributes
    ----------
    name
        E.g. ``particle 17`` or ``latent 3``, counted from 1 as the rows of the files are.
    coordinates : (D,) A
        Along the main motions.
    lacking
        Numbers of the parts that are missing in it.
    """

    name: str
    coordinates: Tensor
    lacking: tuple[int, ...] = ()


def states_of_particles(session: Session, path: Path, table: ParticleTable) -> tuple[list[GivenState], int]:
    """States of the particles listed in a file.

    Parameters
    ----------
    session
        The half set.
    path
        Particle STAR file whose images are particles of the job; or a text file with one number per line, 1 for the first
        particle of the job's STAR file. Of several copies of an image (symmetry expansion) a STAR file means the one whose
        orientation is nearest to what it gives.
    table
        The job's particles.

    Returns
    -------
    tuple
        States in the order of the list, and the number of listed particles that belong to the other half and are left out.

    Raises
    ------
    UserError
        The file cannot be read, names a particle that the job does not have, or none of this half.
    """
    rows = listed_rows(path, table)
    _limit(path, len(rows))
    index = {int(row): place for place, row in enumerate(session.part.rows)}
    here = [int(row) for row in rows if int(row) in index]
    if not here:
        raise UserError(f"{path} names no particle of half {session.half}; name some, or show the other half set.")
    states = [
        GivenState(f"particle {row + 1}", session.coordinates[index[row]], session.part.lacking(index[row])) for row in here
    ]
    return states, len(rows) - len(here)


def listed_rows(path: Path, table: ParticleTable) -> NDArray[np.int64]:
    """Rows (m,) of the job's STAR file, from 0, of the particles in a list; see `states_of_particles`."""
    return _rows_of_star(path, table) if path.suffix == ".star" else _rows_of_list(path, len(table))


def states_of_latents(session: Session, path: Path) -> list[GivenState]:
    """States of the latents in a text file: one per line, its numbers separated by blanks or commas.

    Raises
    ------
    UserError
        The file cannot be read, is empty, or a line has another number of values than the latents of the job.
    """
    expected = session.part.latent_mean.shape[1]
    rows = []
    for number, line in _lines(path):
        words = line.replace(",", " ").split()
        values = [_number(word, path, number) for word in words]
        if len(values) != expected:
            raise UserError(
                f"{path}: line {number} has {len(values)} values; expected {expected}, one for each latent dimension of the job."
            )
        rows.append(values)
    _limit(path, len(rows))
    states = session.latent_states(torch.tensor(rows, dtype=torch.float32))
    return [GivenState(f"latent {number}", state) for number, state in enumerate(states, start=1)]


def read_corners(path: Path) -> NDArray[np.float64]:
    """Corners (c, 2) of a polygon in a text file, one per line.

    Raises
    ------
    UserError
        The file cannot be read, or a line does not hold two numbers.
    """
    corners = []
    for number, line in _lines(path):
        values = [_number(word, path, number) for word in line.replace(",", " ").split()]
        if len(values) != 2:
            raise UserError(f"{path}: line {number} has {len(values)} values; expected 2, the x and y of a corner.")
        corners.append(values)
    return np.array(corners, dtype=np.float64).reshape(-1, 2)


def _rows_of_star(path: Path, table: ParticleTable) -> NDArray[np.int64]:
    source = read_tables(path).get("particles")
    if source is None or "rlnImageName" not in source.columns:
        raise UserError(f"{path} has no column _rlnImageName in a table data_particles; expected some of the job's particles.")
    copies: dict[str, list[int]] = {}
    for row in range(len(table)):
        copies.setdefault(table.image_name(row), []).append(row)
    listed = []
    for row, name in enumerate(source.read(numbers=(), texts=("rlnImageName",))["rlnImageName"], start=1):
        number, _, stack = str(name).partition("@")
        found = copies.get(f"{int(number):06d}@{stack}") if number.isdigit() else None
        if found is None:
            raise UserError(f"{path}: particle {row}, {name}, is no particle of the job, whose STAR file is {table.path}.")
        listed.append(found)
    return _nearest_copies(listed, source, table)


def _nearest_copies(listed: list[list[int]], source: StarTable, table: ParticleTable) -> NDArray[np.int64]:
    """Of the copies that the job has of the image in each row of a STAR file, the one that is oriented as the row says."""
    rows = np.array([copies[0] for copies in listed], dtype=np.int64)
    several = [place for place, copies in enumerate(listed) if len(copies) > 1]
    if not several:
        return rows
    if missing := [name for name in EULER_ANGLE_COLUMNS if name not in source.columns]:
        columns = ", ".join(f"_{name}" for name in EULER_ANGLE_COLUMNS)
        raise UserError(
            f"{source.path}: the image in {source.where(several[0])} has {len(listed[several[0]])} copies in {table.path}, and "
            f"without _{missing[0]} nothing tells which is meant; give {columns}, or a text file with numbers of particles."
        )
    given = source.read(numbers=EULER_ANGLE_COLUMNS)
    wanted = euler_matrices(torch.from_numpy(np.stack([given[name] for name in EULER_ANGLE_COLUMNS], axis=1)))
    for place in several:
        there = euler_matrices(torch.from_numpy(table.angles_degrees[listed[place]]))
        rows[place] = listed[place][int((there * wanted[place]).sum((1, 2)).argmax())]  # the trace of the turn between them
    return rows


def _rows_of_list(path: Path, count: int) -> NDArray[np.int64]:
    rows = []
    for number, line in _lines(path):
        value = _number(line, path, number)
        if value != int(value) or not 1 <= value <= count:
            raise UserError(f"{path}: line {number} is {line!r}; expected the number of a particle, from 1 to {count}.")
        rows.append(int(value) - 1)
    return np.array(rows, dtype=np.int64)


def _lines(path: Path) -> list[tuple[int, str]]:
    """Lines of a text file that are not empty and no comment, with their numbers from 1."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"{path} cannot be read ({reason}); expected a text file.") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        raise UserError(f"{path} is empty; expected one entry per line.")
    return lines


def _number(word: str, path: Path, line: int) -> float:
    try:
        value = float(word)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise UserError(f"{path}: line {line} holds {word!r}; expected a number.")
    return value


def _limit(path: Path, count: int) -> None:
    if count > MOST_STATES:
        raise UserError(f"{path} names {count} states, each of which becomes a map; name at most {MOST_STATES}.")
