"""What latents say of the known motion. Pure: arrays in, numbers out.

The measure and its constants are those of the adk64 reference set, so that its scores and ours can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from jobtypes.simulate.geometry import matrices_of
from jobtypes.simulate.truth import Truth

Array = NDArray[np.floating]
Rows = NDArray[np.integer]

LATENT_NEIGHBOURS = 15
FOLDS = 5


@dataclass(frozen=True)
class Latents:
    """What latents say of the motion.

    Parameters
    ----------
    particles
        Number of particles.
    linear_r2, neighbours_r2
        Cross-validated R2 of each coordinate, from a linear fit and from the 15 nearest neighbours; of a coordinate on a full
        circle, whose ends are one state, the mean R2 of its cosine and sine.
    view_leak_r2
        The same of the viewing direction from the neighbours; should be about 0.
    """

    particles: int
    linear_r2: tuple[float, ...]
    neighbours_r2: tuple[float, ...]
    view_leak_r2: float


def score_latents(truth: Truth, latents: Array, particles: Rows) -> Latents:
    """Measure what latents (n, d) of particles (n,) say of the motion and, wrongly, of the view."""
    centred = np.asarray(latents, float) - np.mean(latents, axis=0, dtype=float)
    # principal axes: neighbours and fits do not depend on them, but rounding then matches the reference scores
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    components = centred @ axes.T
    known, motion_of = _on_circles(np.asarray(truth.coordinates, float)[particles], truth.model.is_circle)
    view = matrices_of(np.asarray(truth.poses, float)[particles, :3])[:, 2]
    with_constant = np.column_stack([components, np.ones(len(components))])

    def linear(train: Rows, test: Rows, target: Array) -> Array:
        predicted: Array = with_constant[test] @ np.linalg.lstsq(with_constant[train], target[train], rcond=None)[0]
        return predicted

    return Latents(
        particles=len(components),
        linear_r2=_per_motion(cross_validated_r2(known, linear), motion_of),
        neighbours_r2=_per_motion(neighbours_r2(components, known), motion_of),
        view_leak_r2=float(neighbours_r2(components, view).mean()),
    )


def neighbours_r2(latents: Array, target: Array) -> NDArray[np.float64]:
    """Cross-validated R2 per column of `target` (n, k) of the mean over the 15 particles with the nearest latents (n, d)."""

    def neighbours(train: Rows, test: Rows, target: Array) -> Array:
        nearest = cKDTree(latents[train]).query(latents[test], k=min(LATENT_NEIGHBOURS, len(train)))[1]
        predicted: Array = target[train][nearest].mean(1)
        return predicted

    return cross_validated_r2(target, neighbours)


def _on_circles(coordinates: Array, is_circle: NDArray[np.bool_]) -> tuple[Array, list[int]]:
    """Coordinates (n, motions) as columns, and the motion of each column; those on a full circle give cosine and sine."""
    columns, motion_of = [], []
    for motion, closed in enumerate(is_circle):
        angle = 2 * np.pi * coordinates[:, motion]
        mine = [np.cos(angle), np.sin(angle)] if closed else [coordinates[:, motion]]
        columns += mine
        motion_of += [motion] * len(mine)
    return np.array(columns).reshape(-1, len(coordinates)).T, motion_of


def _per_motion(r2: Array, motion_of: list[int]) -> tuple[float, ...]:
    """Mean of the columns of each motion."""
    return tuple(
        float(np.mean([value for value, m in zip(r2, motion_of, strict=True) if m == motion]))
        for motion in sorted(set(motion_of))
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
