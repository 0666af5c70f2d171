"""Crowds of particles with known states, as images of different noise would show them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from jobtypes.dynamight.visualization.landscape.deconvolution import Grid, best_fit, kernels
from jobtypes.dynamight.visualization.landscape.likelihoods import Likelihoods
from jobtypes.dynamight.visualization.landscape.populations import Landscape, population
from jobtypes.simulate.states import places

LENGTH, CELLS = 12.0, 60  # A of the whole motion


@dataclass(frozen=True)
class Crowd:
    """What is known of a crowd, and the truth.

    Attributes
    ----------
    landscape
        Of both half sets.
    states : half -> (n,) A
        The truth.
    """

    landscape: Landscape
    states: dict[int, np.ndarray]

    def true_density(self, half: int) -> np.ndarray:
        """(cells,) per A, of the particles of a half set."""
        counts, _ = np.histogram(self.states[half], bins=self.landscape.grid.edges[0])
        return counts / counts.sum() / self.landscape.grid.cell


def likelihoods(states: np.ndarray, widths: np.ndarray, seed: int) -> Likelihoods:
    """Of particles in states (n, c), each seen with an error of its own width (n,), A."""
    seen = states + widths[:, None] * np.random.default_rng(seed).standard_normal(states.shape)
    n, c = states.shape
    precisions = np.eye(c) / widths[:, None, None] ** 2
    crowd = np.eye(c) * (1 / LENGTH) ** 2  # what the posteriors were worked out with: a wide normal one
    covariances = np.linalg.inv(precisions + crowd)
    posterior_means = np.einsum("ncd,nd->nc", covariances @ precisions, seen)
    return Likelihoods(*map(torch.from_numpy, (seen, precisions, posterior_means, covariances, np.ones(n))))


@pytest.fixture(scope="session")
def crowd() -> Callable[..., Crowd]:
    """crowd("two_states", n=1500): both half sets with states of a distribution of the simulation."""

    def made(kind: str, n: int = 1500, widths: tuple[float, float] = (0.6, 2.0)) -> Crowd:
        states, found = {}, {}
        for half in (1, 2):
            generator = np.random.default_rng(10 + half)
            states[half] = LENGTH * (places(generator.uniform(0, 1, n), kind) - 0.5)
            found[half] = likelihoods(states[half][:, None], generator.uniform(*widths, n), half)
        grid = Grid.around([one.means for one in found.values()], CELLS)
        likely = {half: kernels(one, grid) for half, one in found.items()}
        fit = best_fit([(likely[half], one.weights.float()) for half, one in found.items()], grid)
        populations = {half: population(one, likely[half], grid, fit, seed=(1, half)) for half, one in found.items()}
        return Crowd(Landscape((0,), grid, fit, populations), states)

    return made
