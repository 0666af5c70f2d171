"""The search for parts of the molecule that some particles lack.

The molecule is cut into cells of about the size of a small domain. For each of a sample of particles the log likelihood is, to
second order, a function of the amplitudes of all cells, in which latents, pose and scale of the particle have made the best of
it (a part that lies elsewhere, or a weak image, is no missing part). A set of cells that hang together is then a candidate for
a part, and all that remains are sums of a few numbers per particle. Three descriptions compete for each candidate:

- it is there in every particle;
- its amplitude scatters about what it is, from particle to particle, normally: so does that of a part which moves in a way that
  the model does not know yet;
- it is missing in a share of the particles, and there in the others.

Candidates grow cell by cell, from each cell, as long as the third description gains. The best is a part of the model if the third
description is surer than both others; then the next one is looked for beside it.

Source: MacKay 2003, chapter 28, for the comparison of descriptions by their evidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from jobtypes.common.copies import first_copies
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.model.control_points import thinned
from jobtypes.dynamight.model.inference import responses_of_amplitudes
from jobtypes.dynamight.model.parts import LEAST_SHARE, MOST_PARTS, PRESENCE_RESOLUTION_ANGSTROMS

if TYPE_CHECKING:
    from jobtypes.dynamight.forward_deformations.training import HalfTraining

SAMPLE, BATCH = 2000, 16  # particles
# Cells are as small as the resolution can tell apart, but no more than so many; neighbours are nearer than so many spacings.
SMALLEST_CELL_ANGSTROMS, MOST_CELLS, LARGER, NEIGHBOURS = 13.0, 100, 1.15, 1.9
MISSING = np.array([0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])  # shares to try
SCATTERS = np.array([0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0])  # of the amplitude, to try
# What makes sure: so many standard errors, and so many units of log likelihood for each way to choose a part.
SURE_DEVIATIONS = 3.0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """Small regions of the molecule.

    Attributes
    ----------
    of_gaussian : (n,)
        Cell of each Gaussian.
    neighbours
        For each of C cells those that touch it.
    """

    of_gaussian: Tensor
    neighbours: list[set[int]]

    def __len__(self) -> int:
        """Cells C."""
        return len(self.neighbours)

    @classmethod
    def around(cls, positions: Tensor) -> Cells:
        """Cells of Gaussians at positions (n, 3) A."""
        spacing = SMALLEST_CELL_ANGSTROMS
        while len(centres := thinned(positions, spacing)) > MOST_CELLS:
            spacing *= LARGER
        tree = cKDTree(centres.cpu().numpy())
        nearest = torch.from_numpy(tree.query(positions.detach().cpu().numpy())[1])
        neighbours: list[set[int]] = [set() for _ in centres]
        for first, second in tree.query_pairs(NEIGHBOURS * spacing):
            neighbours[first].add(second)
            neighbours[second].add(first)
        return cls(nearest.to(positions.device), neighbours)


@dataclass(frozen=True)
class Candidate:
    """Cells that might be a part, missing in a share of the particles.

    Attributes
    ----------
    cells
        Of the candidate.
    gradient, curvature : (p,)
        Of each particle's log likelihood by the candidate's amplitude, 1 where it is there.
    missing
        Share of the particles in which it is missing, that explains them best.
    gain
        Of log likelihood in all particles, over its being there in all.
    """

    cells: frozenset[int]
    gradient: Array
    curvature: Array
    missing: float
    gain: float

    @classmethod
    def of(cls, cells: frozenset[int], gradient: Array, curvature: Array) -> Candidate:
        """With the share that explains the particles best."""
        gains = [float(gain) for gain in _missing_in(MISSING[:, None], gradient, curvature).sum(1)]
        best = int(np.argmax(gains))
        return cls(cells, gradient, curvature, float(MISSING[best]), gains[best])

    def is_sure(self, n_cells: int) -> bool:
        """Whether it is missing in some particles rather than there in all, and rather than scattered."""
        missing = _missing_in(self.missing, self.gradient, self.curvature)
        scattered = [_scattered(scatter, self.gradient, self.curvature) for scatter in SCATTERS]
        others = [np.zeros_like(missing), max(scattered, key=lambda gains: float(gains.sum()))]
        ways = len(self.cells) * math.log(n_cells)
        return all(_surely_more(missing - other, ways) for other in others)

    def missing_in(self) -> Array:
        """(p,) probability for each particle that it is missing there."""
        present, absent = _two_states(self.missing, self.gradient, self.curvature)
        probability: Array = 1 / (1 + np.exp(np.clip(present - absent, -500, 500)))
        return probability


def _surely_more(differences: Array, least: float) -> bool:
    total, error = float(differences.sum()), float(differences.std() * len(differences) ** 0.5)
    return total > max(least, SURE_DEVIATIONS * error)


def _two_states(missing: float | Array, gradient: Array, curvature: Array) -> tuple[Array, Array]:
    """Log probability (p,) of each particle with and without the part, over that of its mean amplitude; (s, p) of shares (s, 1).

    The amplitude of the model is the mean over all particles: where the part is there it is the larger, the more lack it.
    """
    more = 1 / (1 - missing) - 1
    present = np.log(1 - missing) + more * gradient - 0.5 * more**2 * curvature
    return present, np.log(missing) - gradient - 0.5 * curvature


def _missing_in(missing: float | Array, gradient: Array, curvature: Array) -> Array:
    gains: Array = np.logaddexp(*_two_states(missing, gradient, curvature))
    return gains


def _scattered(scatter: float, gradient: Array, curvature: Array) -> Array:
    """(p,) gain where the amplitude is normal about 1 with this standard deviation."""
    gains: Array = 0.5 * gradient**2 / (curvature + scatter**-2) - 0.5 * np.log1p(curvature * scatter**2)
    return gains


class PartSearch:
    """Candidates of some cells, from the log likelihoods of p particles by the amplitudes of C cells.

    Parameters
    ----------
    cells
        Of the molecule.
    gradient, curvature : (p, C), (p, C, C)
        Log likelihood of each particle, to second order: `gradient` x - x `curvature` x / 2 for a change x of the amplitudes.
    """

    def __init__(self, cells: Cells, gradient: Array, curvature: Array) -> None:
        self._cells, self._gradient, self._curvature = cells, gradient, curvature
        self._free = {cell for cell in range(len(cells)) if curvature[:, cell, cell].any()}
        self._known: dict[frozenset[int], Candidate] = {}  # different seeds grow into the same sets

    def best(self) -> Candidate | None:
        """The candidate that explains most, grown from each cell that is in no part yet; None where none is left."""
        grown = [self._grown(cell) for cell in sorted(self._free)]
        return max(grown, key=lambda candidate: candidate.gain, default=None)

    def take(self, part: Candidate) -> None:
        """Count a candidate as a part from now on, missing in each particle as far as its probability says."""
        members = sorted(part.cells)
        self._gradient = self._gradient + self._curvature[:, :, members].sum(2) * part.missing_in()[:, None]
        self._free -= part.cells
        self._known = {}

    def _grown(self, seed: int) -> Candidate:
        candidate = self._with(None, seed)
        while True:
            around = set().union(*(self._cells.neighbours[cell] for cell in candidate.cells)) & self._free - candidate.cells
            larger = max((self._with(candidate, cell) for cell in around), key=lambda found: found.gain, default=candidate)
            if larger.gain <= candidate.gain + math.log(len(self._cells)):
                return candidate
            candidate = larger

    def _with(self, candidate: Candidate | None, cell: int) -> Candidate:
        cells = frozenset({cell}) if candidate is None else candidate.cells | {cell}
        if cells not in self._known:
            gradient, curvature = self._gradient[:, cell], self._curvature[:, cell, cell]
            if candidate is not None:
                across = self._curvature[:, cell, sorted(candidate.cells)].sum(1)
                gradient, curvature = candidate.gradient + gradient, candidate.curvature + 2 * across + curvature
            self._known[cells] = Candidate.of(cells, gradient, curvature)
        return self._known[cells]


@torch.no_grad()
def find_parts(training: HalfTraining, plan: EpochPlan) -> None:
    """Look for parts that some of a half set's training particles lack, beside those that are known; the model takes them.

    Parts that hardly a particle lacks any more are given up.
    """
    model = training.model
    model.parts.keep(model.parts.share < 1 - LEAST_SHARE)
    cells = Cells.around(model.gaussians.positions)
    search = PartSearch(cells, *_likelihoods(training, plan, cells))
    while len(model.parts) < MOST_PARTS:
        part = search.best()
        if part is None or not part.is_sure(len(cells)):
            return
        search.take(part)
        members = torch.isin(cells.of_gaussian, torch.tensor(sorted(part.cells), device=cells.of_gaussian.device))
        members &= model.parts.membership.sum(0) == 0
        share = 1 - max(LEAST_SHARE, part.missing)
        model.parts.add(members, share)
        model.gaussians.multiply(members, 1 / share)


def _likelihoods(training: HalfTraining, plan: EpochPlan, cells: Cells) -> tuple[Array, Array]:
    """(p, C) gradients and (p, C, C) curvatures of a sample's log likelihoods by the amplitudes of the cells."""
    model, band = training.model, training.observations.band
    n_terms = min(band.n_terms(plan.resolution_angstroms), band.n_terms(PRESENCE_RESOLUTION_ANGSTROMS))
    outside = (model.parts.membership.sum(0) == 0).to(model.gaussians.positions)
    members = torch.nn.functional.one_hot(cells.of_gaussian, len(cells)).T * outside
    gradients, curvatures = [], []  # of one copy of each image: copies are one witness
    sample = first_copies(training.good_sample(SAMPLE), training.observations.image_of)
    for index in training.share.batches(sample, BATCH):
        gradient, curvature = responses_of_amplitudes(
            model,
            training.observations.batch(index, n_terms),
            training.kept(index).mean,
            training.projector,
            members,
            n_terms=n_terms,
            independent_fraction=training.settings.independent_fraction,
            prior_weight=plan.kl_weight,
        )
        gradients.append(gradient)
        curvatures.append(curvature)
    of_all = [training.share.gathered(sample, parts).double().numpy() for parts in (gradients, curvatures)]
    return of_all[0], of_all[1]
