"""Particles chosen by latent, cluster or displacement, written as a subset that RELION reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray

from jobtypes.common.particles import ParticleTable, write_particles
from relion_jobs.contract.errors import UserError

SUBSETS = Path("subsets")


def in_polygon(points: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of points (P, 2) lie inside the polygon with corners (c, 2), c at least 3."""
    if len(corners) < 3:
        raise UserError(f"The polygon has {len(corners)} corners; draw at least 3.")
    return np.asarray(Polygon(corners).contains_points(points))


def in_range(values: NDArray[np.float64], lowest: float | None, highest: float | None) -> NDArray[np.bool_]:
    """Which of values (P,) lie between the ends given, ends included."""
    return np.asarray((values >= (-np.inf if lowest is None else lowest)) & (values <= (np.inf if highest is None else highest)))


def write_subset(table: ParticleTable, job_directory: Path, rows: NDArray[np.int64], half: int) -> Path:
    """Write chosen rows of the particle STAR as the next subsets/subset_NNN_half{h}.star of the job.

    Parameters
    ----------
    table
        The job's particles.
    job_directory
        Where `subsets/` is.
    rows : (m,)
        0-based rows to keep; their order and all columns stay.
    half
        1 or 2; 0 for held-out particles of both.

    Raises
    ------
    UserError
        Nothing was chosen.
    """
    if len(rows) == 0:
        raise UserError("The selection is empty, no subset was written; choose a larger region.")
    folder = Path(job_directory) / SUBSETS
    numbers = [int(path.name.split("_")[1]) for path in folder.glob("subset_[0-9]*_half*.star")]
    path = folder / f"subset_{max(numbers, default=0) + 1:03d}_half{half}.star"
    write_particles(table, path, rows=np.sort(rows))
    return path
