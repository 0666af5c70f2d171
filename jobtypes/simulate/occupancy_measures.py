"""How well an occupancy between 0 and 1 tells molecules that lack the first arm from whole ones. Pure: arrays in, numbers out.

Judged are images of our molecule at its pose. Absence must not pass for motion: what latents say of it is measured as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobtypes.simulate.latent_measures import neighbours_r2
from jobtypes.simulate.nuisances import GOOD
from jobtypes.simulate.quality_measures import area_under_curve, calibration, calibration_error
from jobtypes.simulate.truth import Truth

Array = NDArray[np.floating]
Rows = NDArray[np.integer]


@dataclass(frozen=True)
class OccupancyAgreement:
    """Agreement of the occupancies of a job with who lacks the first arm.

    Parameters
    ----------
    particles, lacking
        How many were judged, and how many of them lack the arm.
    part
        Name of the occupancy that tells it best; empty: there is none.
    auc
        Area under the curve: probability that a molecule with the arm has a higher occupancy than one without; half where there
        is no occupancy, NaN without both kinds of molecules.
    calibration_error
        |mean occupancy - share that has the arm|, mean over the particles of all bins; NaN where there is no occupancy.
    absence_in_latents
        Half set with both kinds of molecules -> share of the variance of absence that the latents tell (15 nearest neighbours,
        R2); should be about 0.
    """

    particles: int
    lacking: int
    part: str
    auc: float
    calibration_error: float
    absence_in_latents: dict[int, float]


def score_occupancy(
    truth: Truth, occupancies: Mapping[str, Array], particles: Rows, latents: Mapping[int, tuple[Array, Rows]]
) -> OccupancyAgreement:
    """Judge the occupancies (n,) of particles (n,), rows of the particle STAR file.

    `latents`: half set -> latents (m, d) and the rows (m,) of their particles.
    """
    good = truth.kind[particles] == GOOD
    has_arm = truth.has_arm[particles][good]
    areas = {name: area_under_curve(np.asarray(values, float)[good], has_arm) for name, values in occupancies.items()}
    # a set without missing arms has no area; any column will do then
    part = max(areas, key=lambda name: np.nan_to_num(areas[name]), default="")
    told = {}
    for half, (values, rows) in latents.items():
        mine = truth.kind[rows] == GOOD
        target = truth.has_arm[rows][mine].astype(float)
        if target.any() and not target.all():
            told[half] = float(neighbours_r2(np.asarray(values, float)[mine], target[:, None])[0])
    both = bool(has_arm.any() and not has_arm.all())
    return OccupancyAgreement(
        particles=int(good.sum()),
        lacking=int((~has_arm).sum()),
        part=part,
        auc=areas[part] if part else 0.5 if both else float("nan"),
        calibration_error=calibration_error(calibration(np.asarray(occupancies[part], float)[good], has_arm))
        if part
        else float("nan"),
        absence_in_latents=told,
    )
