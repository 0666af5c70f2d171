"""The density of states that makes all images most likely together: a mixture whose weights are found by EM.

Each particle says by its likelihood, a kernel of a width of its own, where it may be. The density of the crowd on a grid of cells is the one
under which all of them are most likely. EM finds it from an even start, and each step makes the density sharper: first it takes the
widths of the kernels out, then it follows the noise of the sample. It ends where particles that were left out are most likely.

Source: Dempster, Laird and Rubin 1977 for EM; Richardson 1972 and Lucy 1974 for this form of it; Laird 1978 for the density of a
crowd from single likelihoods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.dynamight.visualization.landscape.likelihoods import Likelihoods

MOST_STEPS = 400
FOLDS = 5
_PATIENCE = 40  # steps without better left-out particles
_BEYOND = 0.15  # of the range of the particles, on either side


@dataclass(frozen=True)
class Grid:
    """Cells of equal size along c coordinates.

    Attributes
    ----------
    edges
        Of each coordinate, in A.
    """

    edges: tuple[NDArray[np.float64], ...]

    @classmethod
    def around(cls, means: Sequence[Tensor], cells: int) -> Grid:
        """Around the likely places (n, c) A of particles, but for the outermost ones, with so many cells along each coordinate."""
        places = torch.cat(list(means))
        edges = []
        for axis in range(places.shape[1]):
            low, high = np.percentile(places[:, axis].numpy(), (0.5, 99.5))
            beyond = max(_BEYOND * (high - low), 1e-3)
            edges.append(np.linspace(low - beyond, high + beyond, cells + 1))
        return cls(tuple(edges))

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells along each coordinate."""
        return tuple(len(edges) - 1 for edges in self.edges)

    @property
    def middles(self) -> tuple[NDArray[np.float64], ...]:
        """Middles of the cells along each coordinate."""
        return tuple((edges[1:] + edges[:-1]) / 2 for edges in self.edges)

    @property
    def cell(self) -> float:
        """Size of a cell, A to the power of the coordinates."""
        return float(np.prod([edges[1] - edges[0] for edges in self.edges]))

    def points(self) -> Tensor:
        """(cells, c) A middles of all cells, the last coordinate fastest."""
        return torch.from_numpy(np.stack(np.meshgrid(*self.middles, indexing="ij"), axis=-1).reshape(-1, len(self.edges)))


def kernels(likelihoods: Likelihoods, grid: Grid) -> Tensor:
    """How likely each image is in the state of each cell, (n, cells) float32, the highest 1 for each; cells blur by their own size."""
    steps = torch.tensor([edges[1] - edges[0] for edges in grid.edges], dtype=torch.float64)
    points = grid.points()
    sizes, axes = torch.linalg.eigh(likelihoods.precisions)
    sizes = sizes.clamp(min=0)
    blurred = sizes / (1 + sizes * (steps.square().mean() / 12))  # what a cell is wide adds to the variance
    rows = []
    for means, size, axis in zip(*(part.split(4096) for part in (likelihoods.means, blurred, axes)), strict=True):
        away = torch.einsum("nmc,ncd->nmd", points[None] - means[:, None], axis)
        log = -0.5 * (away.square() * size[:, None]).sum(2)
        rows.append((log - log.amax(1, keepdim=True)).exp().float())
    return torch.cat(rows)


def maximised(likely: Tensor, weights: Tensor, steps: int) -> Tensor:
    """Density (cells,), its sum 1, after so many steps of EM from an even one.

    Parameters
    ----------
    likely : (n, cells)
        As of `kernels`.
    weights : (n,)
        What each particle counts.
    steps
        Of EM.
    """
    density = torch.full((likely.shape[1],), 1 / likely.shape[1], dtype=likely.dtype)
    for _ in range(steps):
        density = _step(density, likely, weights)
    return density


def steps_by_left_out(likely: Tensor, weights: Tensor, seed: int) -> int:
    """After how many steps particles that were left out, each fifth of them once, are as likely as they become.

    The fewest steps after which they are less likely than after the best number by no more than one standard error: what the
    sample cannot tell apart is the smoother density (Breiman et al. 1984, for trees).
    """
    fold = torch.from_numpy(np.random.default_rng(seed).permutation(len(likely)) % FOLDS)
    densities = [torch.full((likely.shape[1],), 1 / likely.shape[1], dtype=likely.dtype) for _ in range(FOLDS)]
    left_out = [(fold == number).nonzero().flatten() for number in range(FOLDS)]
    trained = [(fold != number).nonzero().flatten() for number in range(FOLDS)]
    parts = [(likely[train], weights[train]) for train in trained]
    said: list[Tensor] = []  # (n,) log likelihood of each particle after each step
    means: list[float] = []
    for _ in range(MOST_STEPS):
        logs = torch.empty(len(likely))
        for number, (train, train_weights) in enumerate(parts):
            densities[number] = _step(densities[number], train, train_weights)
            logs[left_out[number]] = (likely[left_out[number]] @ densities[number]).clamp(min=1e-30).log()
        said.append(logs)
        means.append(float((weights * logs).sum() / weights.sum()))
        if len(means) - int(np.argmax(means)) > _PATIENCE:
            break
    best = said[int(np.argmax(means))]
    return next(step for step, logs in enumerate(said, start=1) if _is_as_good(best - logs, weights))


def _is_as_good(lost: Tensor, weights: Tensor) -> bool:
    """Whether particles lose (n,) no more log likelihood than one standard error of the mean."""
    total = float(weights.sum())
    mean = float((weights * lost).sum()) / total
    error = float((weights.square() * (lost - mean).square()).sum().sqrt()) / total
    return mean <= error


def _step(density: Tensor, likely: Tensor, weights: Tensor) -> Tensor:
    expected = (likely @ density).clamp(min=1e-30)
    updated = density * ((weights / expected) @ likely)
    return updated / updated.sum()


def shares(density: Tensor, likely: Tensor) -> Tensor:
    """(n, cells) probability of each particle to be in each cell, its likelihood and the density of the crowd taken together."""
    joint = likely * density
    return joint / joint.sum(1, keepdim=True).clamp(min=1e-30)


def plain(likelihoods: Likelihoods, grid: Grid) -> NDArray[np.float64]:
    """Density of the posterior means as they are, counted in cells, its sum 1."""
    counts, _ = np.histogramdd(likelihoods.posterior_means.numpy(), bins=grid.edges, weights=likelihoods.weights.numpy())
    return np.asarray(counts / max(counts.sum(), 1e-30))
