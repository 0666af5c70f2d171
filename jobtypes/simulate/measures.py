"""How well a result agrees with the known motion: deformation, latents, maps. Pure: arrays in, numbers out.

The measures and their constants are those of the adk64 reference set, so that numbers can be compared between sets and with its scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from jobtypes.common.fourier import fsc, resolution_at
from jobtypes.simulate.geometry import matrices_of
from jobtypes.simulate.truth import Truth

Array = NDArray[np.floating]
Rows = NDArray[np.integer]

NEIGHBOURS = 8
NEIGHBOUR_SIGMA_ANGSTROMS = 3.0
REACH_ANGSTROMS = 8.0
MOVING_RMS_ANGSTROMS = 2.0
CORE_RMS_ANGSTROMS = 0.5
LATENT_NEIGHBOURS = 15
FOLDS = 5


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
class Deformation:
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


@dataclass(frozen=True)
class Latents:
    """What latents say of the motion.

    Parameters
    ----------
    particles
        Number of particles.
    linear_r2, neighbours_r2
        Cross-validated R2 of each coordinate, from a linear fit and from the 15 nearest neighbours.
    view_leak_r2
        The same of the viewing direction from the neighbours; should be about 0.
    """

    particles: int
    linear_r2: tuple[float, ...]
    neighbours_r2: tuple[float, ...]
    view_leak_r2: float


@dataclass(frozen=True)
class Agreement:
    """FSC of two maps inside a mask: its mean to Nyquist, and where it falls below 0.143 and 0.5 (A)."""

    auc: float
    resolution_143: float
    resolution_50: float


@dataclass(frozen=True)
class Maps:
    """Agreement of a pair of half maps with each other and with the truth; moving parts are None where nothing moves.

    Parameters
    ----------
    halves_whole, halves_moving, halves_core
        Between the half maps.
    truth_whole, truth_moving, truth_core
        Mean of the halves against the true map halfway.
    best_moving
        Against the true map of the conformation that fits best, around its mobile atoms.
    best_coordinates
        That conformation.
    """

    halves_whole: Agreement
    halves_moving: Agreement | None
    halves_core: Agreement
    truth_whole: Agreement
    truth_moving: Agreement | None
    truth_core: Agreement
    best_moving: Agreement | None
    best_coordinates: tuple[float, ...]


def reference_conformation(truth: Truth, points: Array) -> NDArray[np.float64]:
    """Coordinates (motions,) of the conformation that consensus points (m, 3) A resemble most.

    One coordinate after the other, 21 steps each: the mean distance of the coordinate's mobile atoms to the points and of the points to
    the atoms, neither counted beyond 10 A.
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
    """True displacements of points in particles.

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


def score_deformation(truth: Truth, points: Array, displacements: Array, particles: Rows, weights: Array | None = None) -> Deformation:
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
    return Deformation(
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


def score_latents(truth: Truth, latents: Array, particles: Rows) -> Latents:
    """What latents (n, d) of particles (n,) say of the motion and, wrongly, of the view."""
    centred = np.asarray(latents, float) - np.mean(latents, axis=0, dtype=float)
    # principal axes: neighbours and fits do not depend on them, but rounding then matches the reference scores
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    components = centred @ axes.T
    known = np.asarray(truth.coordinates, float)[particles]
    view = matrices_of(np.asarray(truth.poses, float)[particles, :3])[:, 2]
    with_constant = np.column_stack([components, np.ones(len(components))])

    def linear(train: Rows, test: Rows, target: Array) -> Array:
        return with_constant[test] @ np.linalg.lstsq(with_constant[train], target[train], rcond=None)[0]

    def neighbours(train: Rows, test: Rows, target: Array) -> Array:
        nearest = cKDTree(components[train]).query(components[test], k=min(LATENT_NEIGHBOURS, len(train)))[1]
        return target[train][nearest].mean(1)

    return Latents(
        particles=len(components),
        linear_r2=tuple(cross_validated_r2(known, linear).tolist()),
        neighbours_r2=tuple(cross_validated_r2(known, neighbours).tolist()),
        view_leak_r2=float(cross_validated_r2(view, neighbours).mean()),
    )


def cross_validated_r2(target: Array, predict: Callable[[Rows, Rows, Array], Array]) -> NDArray[np.float64]:
    """R2 per column of `target` (n, k) of 5-fold predictions; predict(train rows, test rows, target) -> (n test, k)."""
    if target.shape[1] == 0:
        return np.zeros(0)
    order = np.random.default_rng(0).permutation(len(target))
    predicted = np.empty(target.shape)
    for fold in range(FOLDS):
        test = order[fold::FOLDS]
        train = np.setdiff1d(order, test)
        predicted[test] = predict(train, test, target)
    return np.asarray(1 - ((target - predicted) ** 2).sum(0) / ((target - target.mean(0)) ** 2).sum(0))


def agreement(map_a: Tensor, map_b: Tensor, mask: Tensor, pixel_size_angstroms: float) -> Agreement:
    """FSC of two maps inside a mask (all (N, N, N)) in numbers."""
    box = map_a.shape[0]
    curve = fsc(map_a, map_b, mask)
    return Agreement(
        auc=float(curve[1 : box // 2].mean()),
        resolution_143=resolution_at(curve, box, pixel_size_angstroms, 0.143),
        resolution_50=resolution_at(curve, box, pixel_size_angstroms, 0.5),
    )


def score_maps(truth: Truth, half1: Tensor, half2: Tensor) -> Maps:
    """Compare a pair of half maps (N, N, N) with each other and their mean with the truth."""
    mean = (half1 + half2) / 2
    apix = truth.renderer.pixel_size_angstroms
    halfway = truth.map("consensus")
    masks = {part: truth.map(f"mask_{part}") for part in ("union", "moving", "core")}
    moves = bool(masks["moving"].max() > 0)
    best, place = best_conformation(truth, mean) if moves else (None, tuple(truth.consensus_coordinates.tolist()))
    return Maps(
        halves_whole=agreement(half1, half2, masks["union"], apix),
        halves_moving=agreement(half1, half2, masks["moving"], apix) if moves else None,
        halves_core=agreement(half1, half2, masks["core"], apix),
        truth_whole=agreement(mean, halfway, masks["union"], apix),
        truth_moving=agreement(mean, halfway, masks["moving"], apix) if moves else None,
        truth_core=agreement(mean, halfway, masks["core"], apix),
        best_moving=best,
        best_coordinates=place,
    )


def best_conformation(truth: Truth, volume: Tensor) -> tuple[Agreement, tuple[float, ...]]:
    """The conformation whose true map agrees best with a map around its own mobile atoms: the maps of the folder, then finer steps."""
    apix = truth.renderer.pixel_size_angstroms

    def rate(place: NDArray[np.float64], known: Tensor) -> tuple[Agreement, NDArray[np.float64]]:
        return agreement(volume, known, truth.mobile_mask(place), apix), place

    stored = [rate(place, truth.map(f"vol_{number:03d}")) for number, place in enumerate(truth.grid())]
    stored.append(rate(np.asarray(truth.consensus_coordinates, float), truth.map("consensus")))
    best = max(stored, key=lambda rated: rated[0].auc)
    for step in (0.05, 0.025):
        for motion in range(truth.motions):
            for sign in (1, -1):
                place = best[1].copy()
                place[motion] = np.clip(place[motion] + sign * step, 0, 1)
                best = max(best, rate(place, truth.render(place)), key=lambda rated: rated[0].auc)
    return best[0], tuple(np.round(best[1], 4).tolist())
