"""Particles of like deformation share a bin: k-means in the space of deformations, where distance is rms displacement in A."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_SAMPLE = 20_000  # particles that decide where the bins lie
_LLOYD_STEPS = 25


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
    """M bins of P particles.

    Attributes
    ----------
    labels : (P,) int64
        Bin of each particle.
    centres : (M, K)
        Coefficients of each bin: the mean of its training particles, so that to first order their differences cancel.
    rms_residual_angstroms
        Root mean square over particles and Gaussians of the displacement that the bins leave out.
    rms_motion_angstroms
        The same with one bin: all the motion there is.
    """

    labels: Tensor
    centres: Tensor
    rms_residual_angstroms: float
    rms_motion_angstroms: float

    def __len__(self) -> int:
        """Return M."""
        return len(self.centres)


def choose_bins(
    coefficients: Tensor, gram: Tensor, *, train: Tensor, tolerance_angstroms: float, most: int, seed: int = 0
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
        Largest number of bins, whatever the tolerance.
    seed
        Of the sample and the first centres.
    """
    values, vectors = torch.linalg.eigh(gram.double().cpu())
    coefficients = coefficients.double().cpu()
    points = coefficients @ vectors * values.clamp_min(0).sqrt()  # (P, K), A
    learners = torch.nonzero(train.cpu()).flatten()
    generator = torch.Generator().manual_seed(seed)
    sample = points[learners[torch.randperm(len(learners), generator=generator)[:_SAMPLE]]]
    count = 1
    while True:
        means = k_means(sample, count, generator)
        residual = float(((sample - means[_nearest(sample, means)]) ** 2).sum(1).mean().sqrt())
        if count == 1:
            motion = residual
        if residual <= tolerance_angstroms or count >= min(most, len(sample)):
            break
        # in one dimension the residual falls with the number of bins, in more it falls more slowly: never skip far
        count = min(most, len(sample), max(count + 1, round(count * min(2.0, residual / tolerance_angstroms))))
    labels = _nearest(points, means)
    used, labels = _drop_empty(labels, train.cpu(), len(means))
    if len(used) < len(means):
        labels = _nearest(points, means[used])
    totals = torch.zeros(len(used), coefficients.shape[1], dtype=torch.float64)
    totals.index_add_(0, labels[learners], coefficients[learners])
    counts = torch.bincount(labels[learners], minlength=len(used)).clamp_min(1)
    return Bins(labels, totals / counts[:, None], residual, motion)


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


def _drop_empty(labels: Tensor, train: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Bins with training particles, and the labels."""
    return torch.nonzero(torch.bincount(labels[train], minlength=count) > 0).flatten(), labels
