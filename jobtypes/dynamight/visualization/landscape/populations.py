"""Density of states of both half sets along one or two main motions, with errors.

Both half sets are seen along the main motions of one of them, so that their densities can be laid over each other; each is worked
out from its own particles alone. Errors are of the sample, by bootstrap over particles, and of the model, by what the half sets
disagree about.

Source: Efron 1979 for the bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.dynamight.visualization.landscape.deconvolution import DensityFit, Grid, best_fit, densities_of, kernels, plain
from jobtypes.dynamight.visualization.landscape.likelihoods import Likelihoods, likelihoods_of
from jobtypes.dynamight.visualization.session import Session

CELLS = {1: 100, 2: 32}  # along each coordinate, of densities along so many
MOST_PARTICLES = {1: 10_000, 2: 3_000}  # of a half set: of more, so many stand for all
RESAMPLED = 20
_FAINT = 1e-3  # of the largest density: no energy is told below it


@dataclass(frozen=True)
class Population:
    """Density of one half set, per A or A^2, its integral 1.

    Attributes
    ----------
    count
        Particles that it is of.
    density : (cells...)
        Deconvolved.
    plain : (cells...)
        Of the posterior means as they are.
    resampled : (RESAMPLED, cells...)
        Deconvolved from particles that were drawn anew.
    """

    count: int
    density: NDArray[np.float64]
    plain: NDArray[np.float64]
    resampled: NDArray[np.float64]

    @property
    def error(self) -> NDArray[np.float64]:
        """(cells...) standard error of the sample."""
        return np.asarray(self.resampled.std(axis=0))


@dataclass(frozen=True)
class Landscape:
    """Both half sets along the main motions of one.

    Attributes
    ----------
    motions
        Which, from 0.
    grid
        Cells, A.
    fit
        How both densities were worked out.
    populations
        By half set.
    """

    motions: tuple[int, ...]
    grid: Grid
    fit: DensityFit
    populations: Mapping[int, Population]

    @property
    def mean(self) -> NDArray[np.float64]:
        """(cells...) of both half sets."""
        return np.asarray(np.mean([one.density for one in self.populations.values()], axis=0))

    @property
    def error(self) -> NDArray[np.float64]:
        """(cells...) of the mean: the larger of what the samples and what the half sets' disagreement say."""
        sample = np.sqrt(sum(one.error**2 for one in self.populations.values())) / len(self.populations)
        first, second = (one.density for one in self.populations.values())
        return np.maximum(sample, np.abs(first - second) / 2)

    @property
    def energy_kt(self) -> NDArray[np.float64]:
        """(cells...) -ln of the density over its largest, nan where hardly any particles are."""
        share = self.mean / self.mean.max()
        return np.where(share > _FAINT, -np.log(np.maximum(share, _FAINT)), np.nan)


def landscape_of(sessions: Mapping[int, Session], shown: int, motions: tuple[int, ...], *, seed: int) -> Landscape:
    """Densities of both half sets along main motions.

    Parameters
    ----------
    sessions
        Both half sets.
    shown
        The half set whose main motions are the coordinates.
    motions
        One or two of them, from 0.
    seed
        Of draws of particles.
    """
    likelihoods = {
        half: _some(likelihoods_of(session, motions, sessions[shown]), motions, seed) for half, session in sessions.items()
    }
    grid = Grid.around([one.posterior_means for one in likelihoods.values()], CELLS[len(motions)])
    likely = {half: kernels(one, grid) for half, one in likelihoods.items()}
    fit = best_fit([(likely[half], one.weights.float()) for half, one in likelihoods.items()], grid)
    populations = {half: population(one, likely[half], grid, fit, seed=(seed, half)) for half, one in likelihoods.items()}
    return Landscape(motions, grid, fit, populations)


def _some(likelihoods: Likelihoods, motions: tuple[int, ...], seed: int) -> Likelihoods:
    most = MOST_PARTICLES[len(motions)]
    if len(likelihoods) <= most:
        return likelihoods
    drawn = np.random.default_rng(seed).choice(len(likelihoods), most, replace=False)
    return likelihoods.some(torch.from_numpy(np.sort(drawn)))


def population(likelihoods: Likelihoods, likely: Tensor, grid: Grid, fit: DensityFit, *, seed: tuple[int, ...]) -> Population:
    """Density of one half set on a grid, from its likelihoods as kernels (n, cells)."""
    weights, generator = likelihoods.weights.float(), np.random.default_rng(seed)
    draws = [generator.multinomial(len(likely), np.full(len(likely), 1 / len(likely))) for _ in range(RESAMPLED)]
    of_draws = [weights * torch.from_numpy(draw).float() for draw in draws]
    density, *resampled = densities_of(likely, [weights, *of_draws], grid, fit)

    def per_angstrom(shares: NDArray[np.float64] | Tensor) -> NDArray[np.float64]:
        return np.asarray(shares, dtype=np.float64).reshape(grid.shape) / grid.cell

    return Population(
        len(likely),
        per_angstrom(density),
        per_angstrom(plain(likelihoods, grid)),
        np.stack([per_angstrom(one) for one in resampled]),
    )
