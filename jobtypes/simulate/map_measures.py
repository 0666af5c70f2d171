"""How well half maps agree with each other and with the true maps.

The measure and its constants are those of the adk64 reference set, so that its scores and ours can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common.fourier import fsc, resolution_at
from jobtypes.simulate.truth import Truth


@dataclass(frozen=True)
class Agreement:
    """FSC of two maps inside a mask: its mean to Nyquist, and where it falls below 0.143 and 0.5 (A)."""

    auc: float
    resolution_143: float
    resolution_50: float


@dataclass(frozen=True)
class MapAgreement:
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


def agreement(map_a: Tensor, map_b: Tensor, mask: Tensor, pixel_size_angstroms: float) -> Agreement:
    """FSC of two maps inside a mask (all (N, N, N)) in numbers."""
    box = map_a.shape[0]
    curve = fsc(map_a, map_b, mask)
    return Agreement(
        auc=float(curve[1 : box // 2].mean()),
        resolution_143=resolution_at(curve, box, pixel_size_angstroms, 0.143),
        resolution_50=resolution_at(curve, box, pixel_size_angstroms, 0.5),
    )


def score_maps(truth: Truth, half1: Tensor, half2: Tensor) -> MapAgreement:
    """Compare a pair of half maps (N, N, N) with each other and their mean with the truth."""
    mean = (half1 + half2) / 2
    apix = truth.renderer.pixel_size_angstroms
    halfway = truth.map("consensus")
    masks = {part: truth.map(f"mask_{part}") for part in ("union", "moving", "core")}
    moves = bool(masks["moving"].max() > 0)
    best, place = best_conformation(truth, mean) if moves else (None, tuple(truth.consensus_coordinates.tolist()))
    return MapAgreement(
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
    """Find the conformation whose true map agrees best with a map around its own mobile atoms.

    The maps of the folder are tried first, then steps of 0.05 and 0.025 from the best of them.
    """
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
