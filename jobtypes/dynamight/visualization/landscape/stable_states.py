"""Stable states: where the density of states has a maximum that is no accident, and how many particles belong to each.

Maxima are joined from the highest density down: two hills become one where the way between them is as low as the sea has
fallen. A maximum is kept where it stands above that saddle by more than three standard errors, of resampled particles, in both
half sets. The boundary of two hills is the bottom of the valley between them.

Source: Edelsbrunner, Letscher and Zomorodian 2002 for joining maxima by their persistence; Vincent and Soille 1991 for the
watershed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobtypes.dynamight.visualization.landscape.populations import Landscape, Population

SURE_ERRORS = 3.0


@dataclass(frozen=True)
class StableState:
    """A hill of the density.

    Attributes
    ----------
    place
        Of its top along the main motions, A.
    share, share_error
        Of the particles, mean of both half sets; its error is of the samples and of the half sets' disagreement.
    by_half
        Share in each half set.
    prominence_kt
        How far its top stands above the highest way to a higher one, in kT; infinite for the highest.
    """

    place: tuple[float, ...]
    share: float
    share_error: float
    by_half: dict[int, float]
    prominence_kt: float

    def in_words(self) -> str:
        """Its share with the error, at least 1 %, in per cent."""
        return f"{100 * self.share:.0f} ± {max(100 * self.share_error, 1):.0f} %"


@dataclass(frozen=True)
class Hill:
    """A maximum of a density.

    Attributes
    ----------
    top
        Its cell.
    saddle
        The cell at which it joins a higher one, None of the highest.
    joins
        The higher one, as its number; its own number of the highest.
    """

    top: int
    saddle: int | None
    joins: int


def stable_states(landscape: Landscape) -> tuple[list[StableState], NDArray[np.int64]]:
    """The stable states, most populated first, and which of them each cell belongs to: (cells...), from 0."""
    density = landscape.mean
    hills, slopes = hills_of(density)
    kept = [number for number, hill in enumerate(hills) if is_sure(hill, landscape)]
    basins = basins_of(hills, slopes, kept)
    counted = {half: shares_of_basins(one, basins, len(kept)) for half, one in landscape.populations.items()}
    points = landscape.grid.points().numpy()
    states = []
    for number, hill in enumerate(hills[one] for one in kept):
        by_half = {half: float(share[number]) for half, (share, _) in counted.items()}
        sample = np.sqrt(sum(float(error[number]) ** 2 for _, error in counted.values())) / len(counted)
        apart = abs(by_half[1] - by_half[2]) / 2
        place, share = tuple(points[hill.top].tolist()), float(np.mean(list(by_half.values())))
        states.append(StableState(place, share, float(max(sample, apart)), by_half, _rise(density, hill)))
    order = sorted(range(len(states)), key=lambda number: -states[number].share)
    return [states[number] for number in order], np.argsort(order)[basins]


def hills_of(density: NDArray[np.float64]) -> tuple[list[Hill], NDArray[np.int64]]:
    """All maxima of a density (cells...), the highest first, and on whose slope each cell lies: (cells...)."""
    flat, neighbours = density.ravel(), neighbours_of(density.shape)
    slope = np.full(flat.size, -1)
    hills: list[Hill] = []

    def highest(number: int) -> int:
        while hills[number].joins != number:
            number = hills[number].joins
        return number

    for cell in np.argsort(-flat, kind="stable"):  # the sea falls, and bares cell after cell
        bare = [near for near in neighbours[cell] if slope[near] >= 0]
        if not bare:
            slope[cell] = len(hills)
            hills.append(Hill(int(cell), None, len(hills)))
            continue
        slope[cell] = slope[max(bare, key=lambda near: flat[near])]
        first, *lower = sorted({highest(slope[near]) for near in bare})  # numbered from the highest down
        for number in lower:
            hills[number] = Hill(hills[number].top, int(cell), first)
    return hills, slope.reshape(density.shape)


def basins_of(hills: list[Hill], slopes: NDArray[np.int64], kept: list[int]) -> NDArray[np.int64]:
    """Which of the hills that are kept each cell (cells...) belongs to, by its place in `kept`: others are of what they join."""

    def kept_one(number: int) -> int:
        while number not in kept:
            number = hills[number].joins
        return kept.index(number)

    return np.array([kept_one(number) for number in range(len(hills))])[slopes]


def _rise(density: NDArray[np.float64], hill: Hill) -> float:
    """Logarithm of the density at the top of a hill over that at its saddle; infinite of the highest."""
    if hill.saddle is None:
        return np.inf
    top, saddle = np.maximum(density.ravel()[[hill.top, hill.saddle]], 1e-30)
    return float(np.log(top / saddle))


def neighbours_of(shape: tuple[int, ...]) -> list[list[int]]:
    """Cells that touch each cell of a grid, diagonals too."""
    cells = np.arange(int(np.prod(shape))).reshape(shape)
    offsets = [offset for offset in itertools.product((-1, 0, 1), repeat=len(shape)) if any(offset)]
    found = []
    for place in np.ndindex(shape):
        near = [tuple(np.add(place, offset)) for offset in offsets]
        found.append([int(cells[one]) for one in near if all(0 <= at < most for at, most in zip(one, shape, strict=True))])
    return found


def is_sure(hill: Hill, landscape: Landscape) -> bool:
    """Whether a hill stands above its saddle by more than three standard errors, in each half set by itself."""
    if hill.saddle is None:
        return True
    for one in landscape.populations.values():
        error = float(np.std([_rise(density, hill) for density in one.resampled]))
        if not _rise(one.density, hill) > SURE_ERRORS * error:
            return False
    return True


def shares_of_basins(one: Population, basins: NDArray[np.int64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of the particles of a half set in each basin, and its standard error over resampled particles: (count,) each."""

    def shares(density: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(basins.ravel(), weights=density.ravel(), minlength=count) / density.sum())

    return shares(one.density), np.std([shares(density) for density in one.resampled], axis=0)
