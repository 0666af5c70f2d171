"""Particles of like deformation share a bin: k-means in the space of deformations, where distance is rms displacement in A.

The metric says of which part of the molecule; a half set's bins take that of what moves.

Where some lack parts of the molecule, particles of a bin have the same parts as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_SAMPLE = 20_000  # particles that decide where the bins lie
_LLOYD_STEPS = 25
HALF = 0.5  # a particle rather has a part than not


@dataclass(frozen=True)
class Binning:
    """How bins are chosen.

    Attributes
    ----------
    tolerance_pixels
        Largest rms displacement within a bin.
    most
        Largest number of bins, whatever the tolerance.
    seed
        Of the sample and the first centres.
    """

    tolerance_pixels: float
    most: int
    seed: int


@dataclass(frozen=True)
class Bins:
    """M bins of P particles, of R parts that some lack.

    Attributes
    ----------
    labels : (P,) int64
        Bin of each particle.
    centres : (M, K)
        Coefficients of each bin: the mean of its training particles, so that to first order their differences cancel.
    rms_residual_angstroms
        Root mean square over particles, and over the molecule as the metric counts it, of the displacement that bins leave out.
    rms_motion_angstroms
        The same with one bin: all the motion there is.
    presence : (M, R)
        Of each part in each bin: the mean of its training particles.
    tolerance_angstroms
        What they should leave out at most.
    """

    labels: Tensor
    centres: Tensor
    rms_residual_angstroms: float
    rms_motion_angstroms: float
    presence: Tensor
    tolerance_angstroms: float

    def __len__(self) -> int:
        """Return M."""
        return len(self.centres)


def choose_bins(
    coefficients: Tensor,
    gram: Tensor,
    *,
    train: Tensor,
    tolerance_angstroms: float,
    most: int,
    presence: Tensor | None = None,
    seed: int = 0,
) -> Bins:
    """Choose the fewest bins that leave out no more than the tolerance, up to `most`.

    Parameters
    ----------
    coefficients : (P, K)
    gram : (K, K)
        From `principal_motions.gram_matrix`.
    train : (P,) bool
        Particles that place the bins; the others are only assigned.
    tolerance_angstroms
        Largest rms displacement within a bin.
    most
        Largest number of bins, whatever the tolerance; but each set of parts that some particles have needs a bin.
    presence : (P, R)
        Probability that each particle has each part; None: there are no parts that some lack.
    seed
        Of the sample and the first centres.
    """
    values, vectors = torch.linalg.eigh(gram.double().cpu())
    coefficients = coefficients.double().cpu()
    points = coefficients @ vectors * values.clamp_min(0).sqrt()  # (P, K), A
    learners = torch.nonzero(train.cpu()).flatten()
    generator = torch.Generator().manual_seed(seed)
    sample = points[learners[torch.randperm(len(learners), generator=generator)[:_SAMPLE]]]
    presence = (torch.ones(len(points), 0) if presence is None else presence).double().cpu()
    has = presence > HALF
    each = most // len(_number(has)[learners].unique())
    means, residual, motion = _means(sample, tolerance_angstroms, each, generator)
    labels = _cells(points, means, has, learners)
    counts = torch.bincount(labels[learners])[:, None]
    centres, shares = (
        of_particles.new_zeros(len(counts), of_particles.shape[1]).index_add_(0, labels[learners], of_particles[learners])
        / counts
        for of_particles in (coefficients, presence)
    )
    return Bins(labels, centres, residual, motion, shares, tolerance_angstroms)


def _means(sample: Tensor, tolerance: float, most: int, generator: torch.Generator) -> tuple[Tensor, float, float]:
    """The fewest means (m, D) that leave no more than the tolerance of a sample (n, D), up to `most`; what they and one leave."""
    count, most = 1, max(1, min(most, len(sample)))
    while True:
        means = k_means(sample, count, generator)
        residual = float(((sample - means[_nearest(sample, means)]) ** 2).sum(1).mean().sqrt())
        if count == 1:
            motion = residual
        if residual <= tolerance or count >= most:
            return means, residual, motion
        # in one dimension the residual falls with the number of bins, in more it falls more slowly: never skip far
        count = min(most, max(count + 1, round(count * min(2.0, residual / tolerance))))


def _number(has: Tensor) -> Tensor:
    """A number (P,) for each set of parts, `has` (P, R) bool: a bit for each part."""
    return (has.long() << torch.arange(has.shape[1])).sum(1)


def _set(number: Tensor, n_parts: int) -> Tensor:
    """The set (m, R) of its parts by its number (m,), and whatever higher bits there are."""
    return (number[:, None] >> torch.arange(n_parts)) & 1


def _cells(points: Tensor, means: Tensor, has: Tensor, learners: Tensor) -> Tensor:
    """Numbers (P,) of the cell of each point (P, D): those of the same mean (m, D) that have the same parts, `has` (P, R) bool.

    Cells without learners are no cells: their points go to the nearest other one, with the same parts if there is any.
    """
    far = 1 + 4 * float(points.abs().max())  # beyond all distances, so that parts come first
    cells = (_nearest(points, means) << has.shape[1]) + _number(has)
    used, of_learners = cells[learners].unique(return_inverse=True)
    places = torch.cat((means[used >> has.shape[1]], far * _set(used, has.shape[1])), dim=1)
    labels = _nearest(torch.cat((points, far * has), dim=1), places)
    labels[learners] = of_learners
    return labels


def k_means(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Centres (count, D) of points (P, D); seeded.

    Source: Lloyd 1982, first centres of Arthur and Vassilvitskii 2007 (k-means++).
    """
    centres = points[torch.randint(len(points), (1,), generator=generator)]
    if count == 1:
        return points.mean(0, keepdim=True)
    squared = ((points - centres) ** 2).sum(1)
    while len(centres) < count:
        chance = squared if float(squared.sum()) > 0 else torch.ones_like(squared)
        chosen = points[torch.multinomial(chance, 1, generator=generator)]
        centres = torch.cat((centres, chosen))
        squared = torch.minimum(squared, ((points - chosen) ** 2).sum(1))
    for _ in range(_LLOYD_STEPS):
        labels = _nearest(points, centres)
        counts = torch.bincount(labels, minlength=count)
        means = torch.zeros_like(centres).index_add_(0, labels, points) / counts.clamp_min(1)[:, None]
        moved = torch.where(counts[:, None] > 0, means, centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    return torch.cat([torch.cdist(part, centres).argmin(1) for part in points.split(65536)])
