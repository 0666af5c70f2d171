"""The density of states that makes all images most likely together: a smooth mixture whose weights are found by EM.

Each particle says by its likelihood, a kernel of a width of its own, where it may be. The density of the crowd on a grid of
cells is the one under which all of them are most likely, of those that are as smooth as a Gaussian of some width, wider where
few particles are. EM finds it from an even start, and each step makes the density sharper: first it takes the widths of the
kernels out, then it follows the noise of the sample. How smooth, and after how many steps it ends, is told by the particles of
the other half set, which share neither the noise nor the mistakes of the model: of all that they cannot tell from the best by
more than a standard error the smoothest is taken. Nothing else goes from one half set to the other.

Source: Dempster, Laird and Rubin 1977 for EM; Richardson 1972 and Lucy 1974 for this form of it; Laird 1978 for the density of
a crowd from single likelihoods; Abramson 1982 for widths that go with the root of the density; Breiman et al. 1984 for the rule
of one standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.dynamight.visualization.landscape.likelihoods import Likelihoods

MOST_STEPS = 300
# Standard deviations of the smoothing that are tried, of the cells along a coordinate, the smoothest first.
SMOOTHNESSES = (0.08, 0.056, 0.04, 0.028, 0.02, 0.014, 0.01, 0.0)
_PILOT_SMOOTHNESS, _PILOT_STEPS = 0.03, 5  # of the density that tells where few particles are
_WIDEST, _NARROWEST = 3.0, 0.2  # of a smoothing, over that at a middling density
_PATIENCE = 25  # steps without a better density
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
        """Around the likely places (n, c) A of particles, but for the outermost ones, with so many cells along each of them."""
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
    """How likely each image is in the state of each cell, (n, cells) float32, the highest 1; cells blur by their own size."""
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


@dataclass(frozen=True)
class DensityFit:
    """How a density is worked out.

    Attributes
    ----------
    smoothness
        Standard deviation of its smoothing, of the cells along a coordinate.
    steps
        Of EM.
    """

    smoothness: float
    steps: int


def densities_of(likely: Tensor, weights: Sequence[Tensor], grid: Grid, fit: DensityFit) -> list[Tensor]:
    """Densities (cells,), the sum of each 1, for several choices of what the particles count; all as smooth as the first.

    Parameters
    ----------
    likely : (n, cells)
        As of `kernels`.
    weights
        What each particle counts (n,), for each density.
    grid
        The cells.
    fit
        How smooth, and after how many steps.
    """
    spread = _spread(grid, fit.smoothness, _pilot(likely, weights[0], grid))
    smoothed, found = likely @ spread.T, []
    for of_density in weights:
        density = _even(likely)
        for _ in range(fit.steps):
            density = _step(density, smoothed, of_density)
        found.append(density @ spread)
    return found


def best_fit(halves: Sequence[tuple[Tensor, Tensor]], grid: Grid) -> DensityFit:
    """The smoothest fit, and of these that of fewest steps, that the other half set cannot tell from the best one.

    Parameters
    ----------
    halves
        Kernels (n, cells) and weights (n,) of each half set.
    grid
        The cells.
    """
    pilots = [_pilot(likely, weights, grid) for likely, weights in halves]
    weights = torch.cat([weights for _, weights in halves[::-1]])
    total = float(weights.sum())
    said = {one: _crossed(halves, [_spread(grid, one, pilot) for pilot in pilots]) for one in SMOOTHNESSES}  # (steps, n) each
    means = {one: (logs @ weights) / total for one, logs in said.items()}
    best = max(said, key=lambda one: float(means[one].max()))
    of_best = said[best][int(means[best].argmax())]
    for smoothness, logs in said.items():
        for step, of_step in enumerate(logs, start=1):
            if _is_as_good(of_best - of_step, weights):
                return DensityFit(smoothness, step)
    raise AssertionError("the best fit is as good as itself")


def _crossed(halves: Sequence[tuple[Tensor, Tensor]], spreads: Sequence[Tensor]) -> Tensor:
    """(steps, n) log likelihood of the particles of the second half set under the first one's density, and the reverse."""
    smoothed = [likely @ spread.T for (likely, _), spread in zip(halves, spreads, strict=True)]
    densities = [_even(likely) for likely, _ in halves]
    said: list[Tensor] = []
    means: list[float] = []
    while len(said) < MOST_STEPS and len(means) - int(np.argmax(means or [0])) <= _PATIENCE:
        of_step = []
        for number, (_, weights) in enumerate(halves):
            densities[number] = _step(densities[number], smoothed[number], weights)
            others, _ = halves[1 - number]
            of_step.append((others @ (densities[number] @ spreads[number])).clamp(min=1e-30).log())
        said.append(torch.cat(of_step))
        means.append(float(sum((logs * halves[1 - number][1]).sum() for number, logs in enumerate(of_step))))
    return torch.stack(said)


def _is_as_good(lost: Tensor, weights: Tensor) -> bool:
    """Whether particles lose (n,) no more log likelihood than one standard error of the mean."""
    total = float(weights.sum())
    mean = float((weights * lost).sum()) / total
    error = float((weights.square() * (lost - mean).square()).sum().sqrt()) / total
    return mean <= error


def _even(likely: Tensor) -> Tensor:
    return torch.full((likely.shape[1],), 1 / likely.shape[1], dtype=likely.dtype)


def _pilot(likely: Tensor, weights: Tensor, grid: Grid) -> Tensor:
    """Smooth density (cells,) that tells how wide smoothing is where."""
    spread = _spread(grid, _PILOT_SMOOTHNESS, None)
    smoothed, density = likely @ spread.T, _even(likely)
    for _ in range(_PILOT_STEPS):
        density = _step(density, smoothed, weights)
    return density @ spread


def _spread(grid: Grid, smoothness: float, pilot: Tensor | None) -> Tensor:
    """(cells, cells) over which cells, columns, what each cell holds, a row, is spread; none of it is lost."""
    cells = int(np.prod(grid.shape))
    if smoothness == 0:
        return torch.eye(cells)
    places = torch.from_numpy(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).reshape(cells, -1))
    away = torch.cdist((places / torch.tensor(grid.shape)).float(), (places / torch.tensor(grid.shape)).float()).square()
    widths = torch.full((cells,), smoothness)
    if pilot is not None:
        middling = torch.xlogy(pilot, pilot).sum().exp()  # geometric mean over the particles
        widths = widths * (middling / pilot.clamp(min=1e-30)).sqrt().clamp(_NARROWEST, _WIDEST)
    spread = torch.exp(-0.5 * away / widths[:, None].square())
    return spread / spread.sum(1, keepdim=True)


def _step(density: Tensor, likely: Tensor, weights: Tensor) -> Tensor:
    expected = (likely @ density).clamp(min=1e-30)
    updated = density * ((weights / expected) @ likely)
    return updated / updated.sum()


def plain(likelihoods: Likelihoods, grid: Grid) -> NDArray[np.float64]:
    """Density of the posterior means as they are, counted in cells, its sum 1."""
    counts, _ = np.histogramdd(likelihoods.posterior_means.numpy(), bins=grid.edges, weights=likelihoods.weights.numpy())
    return np.asarray(counts / max(counts.sum(), 1e-30))
