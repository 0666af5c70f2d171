"""Particles chosen by latent, cluster or displacement, written as a subset that RELION reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray

from jobtypes.common.particles import ParticleTable, write_particles
from jobtypes.dynamight import layout
from relion_jobs.contract.errors import UserError


def in_polygon(points: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of points (P, 2) lie inside the polygon with corners (c, 2), c at least 3."""
    if len(corners) < 3:
        raise UserError(f"The polygon has {len(corners)} corners; draw at least 3.")
    return np.asarray(Polygon(corners).contains_points(points))


def in_range(values: NDArray[np.float64], lowest: float | None, highest: float | None) -> NDArray[np.bool_]:
    """Which of values (P,) lie between the ends given, ends included."""
    return np.asarray((values >= (-np.inf if lowest is None else lowest)) & (values <= (np.inf if highest is None else highest)))


def write_subset(table: ParticleTable, job_directory: Path, rows: NDArray[np.int64], half: int | None) -> Path:
    """Write chosen rows of the particle STAR as the next subset of the job.

    Parameters
    ----------
    table
        The job's particles.
    job_directory
        Of the job.
    rows : (m,)
        0-based rows to keep; their order and all columns stay.
    half
        1 or 2; None: particles of both; 0: held-out particles of both.

    Raises
    ------
    UserError
        Nothing was chosen.
    """
    if len(rows) == 0:
        raise UserError("The selection is empty, no subset was written; choose a larger region.")
    series = layout.PARTICLE_SUBSETS
    names = (path.name for path in (Path(job_directory) / series.folder).glob("*"))
    numbers = [found[0] for name in names if (found := series.number_and_half(name))]
    path = Path(job_directory) / series.path(max(numbers, default=0) + 1, half, ".star")
    write_particles(table, path, rows=np.sort(rows))
    return path
