"""How well learned displacements agree with the known motion. Pure: arrays in, numbers out.

The measure and its constants are those of the adk64 reference set, so that its scores and ours can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from jobtypes.simulate.truth import Truth

Array = NDArray[np.floating]
Rows = NDArray[np.integer]

NEIGHBOURS = 8
NEIGHBOUR_SIGMA_ANGSTROMS = 3.0
REACH_ANGSTROMS = 8.0
MOVING_RMS_ANGSTROMS = 2.0
CORE_RMS_ANGSTROMS = 0.5


@dataclass(frozen=True)
class Motion:
    """Agreement of displacements over a part of the points.

    Parameters
    ----------
    points
        Number of points.
    explained
        1 - SSE/SST: 0 for a rigid molecule, 1 for the truth; NaN where nothing moves.
    gain
        Regression of prediction on truth: below 1 the motion is underestimated; NaN where nothing moves.
    error_rms, true_rms, predicted_rms
        rms over points and particles of the error and of both motions, A.
    """

    points: int
    explained: float
    gain: float
    error_rms: float
    true_rms: float
    predicted_rms: float


@dataclass(frozen=True)
class DeformationAgreement:
    """Agreement of the displacements of one half.

    Parameters
    ----------
    particles, points
        How many were compared.
    off_structure
        Share of the points farther than 8 A (times scale) from every atom; they are left out.
    reference
        Conformation that the consensus points resemble most.
    moving, core
        Points that truly move by more than 2 A rms, by less than 0.5 A (times scale); None where there are none.
    everything
        All points near the structure.
    """

    particles: int
    points: int
    off_structure: float
    reference: tuple[float, ...]
    everything: Motion | None
    moving: Motion | None
    core: Motion | None


def reference_conformation(truth: Truth, points: Array) -> NDArray[np.float64]:
    """Find the coordinates (motions,) of the conformation that consensus points (m, 3) A resemble most.

    One coordinate after the other, 21 steps each: the mean distance of the coordinate's mobile atoms to the points and of the
    points to the atoms, neither counted beyond 10 A.
    """
    chosen = np.array(truth.consensus_coordinates, float)
    tree = cKDTree(points)
    for motion in range(truth.motions):
        mobile = truth.mobile & (truth.model.driver == motion)
        if not mobile.any():
            continue
        steps = np.linspace(0, 1, 21)
        costs = []
        for step in steps:
            chosen[motion] = step
            atoms = truth.positions(chosen)
            to_points = np.minimum(tree.query(atoms[mobile])[0], 10).mean()
            to_atoms = np.minimum(cKDTree(atoms).query(points)[0], 10).mean()
            costs.append(to_points + to_atoms)
        chosen[motion] = steps[int(np.argmin(costs))]
    return chosen


def true_displacements(truth: Truth, points: Array, particles: Rows, reference: Array) -> tuple[NDArray[np.float32], Array]:
    """Interpolate the true displacements of points in particles.

    A point moves as the mean of its 8 nearest atoms in the reference conformation, weighted by a Gaussian of their distance.

    Parameters
    ----------
    truth
        Known motion.
    points
        (m, 3) A.
    particles
        (p,) rows of the particle STAR file.
    reference
        (motions,) conformation that displacements start from.

    Returns
    -------
    (p, m, 3) A, and the distance (m,) of each point from its nearest atom.
    """
    start = truth.positions(reference)
    distance, nearest = cKDTree(start).query(points, k=NEIGHBOURS)
    spread = 2 * (NEIGHBOUR_SIGMA_ANGSTROMS * truth.scale) ** 2
    weight = np.exp(-(distance**2 - distance[:, :1] ** 2) / spread)
    weight = (weight / weight.sum(1, keepdims=True)).astype(np.float32)
    used, place = np.unique(nearest, return_inverse=True)
    place = place.reshape(nearest.shape)
    result = np.zeros((len(particles), len(points), 3), dtype=np.float32)
    for first in range(0, len(particles), 64):
        rows = slice(first, first + 64)
        moved = truth.model.positions(truth.coordinates[particles[rows]], used) - start[used]
        for neighbour in range(NEIGHBOURS):
            result[rows] += weight[:, neighbour, None] * moved[:, place[:, neighbour]]
    return result, distance[:, 0]


def score_deformation(
    truth: Truth, points: Array, displacements: Array, particles: Rows, weights: Array | None = None
) -> DeformationAgreement:
    """Compare displacements with the truth.

    Which conformation a program calls consensus is free, so each point's mean over the particles is taken out of both.

    Parameters
    ----------
    truth
        Known motion.
    points
        (m, 3) A from the box centre.
    displacements
        (p, m, 3) A.
    particles
        (p,) rows of the particle STAR file.
    weights
        (m,) of the points; None: all alike.
    """
    reference = reference_conformation(truth, points)
    known, distance = true_displacements(truth, points, particles, reference)
    near = distance < REACH_ANGSTROMS * truth.scale
    predicted = displacements - displacements.mean(0)
    known -= known.mean(0)
    per_point = {
        "error": ((predicted - known) ** 2).sum(2).mean(0),
        "true": (known**2).sum(2).mean(0),
        "predicted": (predicted**2).sum(2).mean(0),
        "product": (predicted * known).sum(2).mean(0),
    }
    weight = np.ones(len(points)) if weights is None else np.asarray(weights, float)
    rms = np.sqrt(per_point["true"])
    return DeformationAgreement(
        particles=len(particles),
        points=len(points),
        off_structure=float(1 - near.mean()),
        reference=tuple(reference.tolist()),
        everything=_motion(per_point, weight, near),
        moving=_motion(per_point, weight, near & (rms > MOVING_RMS_ANGSTROMS * truth.scale)),
        core=_motion(per_point, weight, near & (rms < CORE_RMS_ANGSTROMS * truth.scale)),
    )


def _motion(per_point: dict[str, Array], weight: Array, part: NDArray[np.bool_]) -> Motion | None:
    chosen = weight * part
    if not chosen.sum() > 0:
        return None
    error, true, predicted, product = (
        float((chosen * per_point[name]).sum() / chosen.sum()) for name in ("error", "true", "predicted", "product")
    )
    moves = true > 0
    return Motion(
        points=int(part.sum()),
        explained=1 - error / true if moves else float("nan"),
        gain=product / true if moves else float("nan"),
        error_rms=error**0.5,
        true_rms=true**0.5,
        predicted_rms=predicted**0.5,
    )
