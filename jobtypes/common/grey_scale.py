"""What brings the images of a data set to one grey scale: rlnNormCorrection, and where images differ still, their own noise.

RELION's extraction makes the noise of every image equal. Where that was not done, as where sets of different origin are joined,
images differ in signal and noise by one factor. It is read off the corners of the image, where there is no molecule. Noise alone
may differ too, as that of exposures of different length on one scale: then the variance that the molecule adds in the middle of
the box is the same in loud images as in quiet ones, and nothing is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common.conventions import HALVES
from jobtypes.common.particles import ParticleTable

SAMPLE, FEWEST_OF_GROUP = 1000, 20  # images of a half set that are looked at; of each of its optics groups
BATCH = 64
FEWEST_IMAGES = 20  # of a half set, of which it can be said that they are on different scales
# Noise levels are of one scale where all but so many are within so large a factor of the median, and within so many standard
# errors of it.
ODD_SHARE, ODD_FACTOR, STANDARD_ERRORS = 0.01, 1.25, 5
SURE = 2.0  # logarithm of how much likelier noise alone must be
LEAST_NOISE = 0.5  # of an image's standard deviation in its corners; images with less hold hardly any noise


@dataclass(frozen=True)
class HalfScale:
    """Noise levels of a half set, each the standard deviation times the pixel size, which is the root of a spectral density.

    Attributes
    ----------
    median
        Of a sample of images.
    lowest, highest
        5 % and 95 % of them.
    is_odd
        Whether images are on different scales, so that each is divided by its own.
    """

    median: float
    lowest: float
    highest: float
    is_odd: bool

    def sentence(self, half: int) -> str:
        """What is done to the half set's images, in words."""
        return (
            f"Half {half}: images are on different grey scales, the noise of most from {self.lowest / self.median:.2g} to "
            f"{self.highest / self.median:.2g} times its median (RELION's extraction makes it equal); each is divided by its own."
        )


def norm_factors(table: ParticleTable) -> NDArray[np.float64] | None:
    """What images are multiplied by for their rlnNormCorrection: the mean of their half set over it, as in RELION.

    Returns
    -------
    (n,) or None where the column says nothing
    """
    norms = table.norm_correction
    if np.ptp(norms) == 0:
        return None
    factors = np.ones(len(table))
    for half in HALVES:
        rows = np.flatnonzero(table.half == half)
        if len(rows):
            factors[rows] = norms[rows].mean() / norms[rows]
    return factors


def noise_levels(images: Tensor) -> Tensor:
    """Standard deviation in the corners of images.

    Each corner outside of the circle that fits the box has its own; what counts is the mean of the middle two, which a speck or a
    neighbour in one corner does not move.

    Parameters
    ----------
    images : (b, N, N)

    Returns
    -------
    (b,)
    """
    return _corner_levels(images).sort(0).values[1:3].mean(0)


def half_scale(table: ParticleTable, half: int, read: Callable[[NDArray[np.int64]], Tensor]) -> HalfScale:
    """Look at a sample of a half set's images.

    Parameters
    ----------
    table
        All particles.
    half
        1 or 2.
    read
        Images of rows (b,) of the table that are all of one optics group.
    """
    rows = table.rows_of_half(half)
    if len(rows) < FEWEST_IMAGES:
        return HalfScale(1.0, 1.0, 1.0, is_odd=False)
    groups = np.unique(table.optics_group[rows])
    count = max(SAMPLE // len(groups), FEWEST_OF_GROUP)
    looked_at = []
    for group in groups:
        of_group = rows[table.optics_group[rows] == group]
        some = of_group[:: math.ceil(len(of_group) / count)]
        for batch in np.split(some, range(BATCH, len(some), BATCH)):
            looked_at.append(_figures(read(batch), float(table.optics.pixel_sizes_angstroms[group])))
    return _judged(*torch.cat(looked_at, dim=1))


def _corner_levels(images: Tensor) -> Tensor:
    """(4, b) standard deviation in each corner of images (b, N, N), outside of the circle that fits the box."""
    parts = [part for rows in images.tensor_split(2, dim=1) for part in rows.tensor_split(2, dim=2)]
    outside = [part for rows in _outside(images.shape[-1]).tensor_split(2) for part in rows.tensor_split(2, dim=1)]
    return torch.stack([part[:, chosen].std(1) for part, chosen in zip(parts, outside, strict=True)])


def _figures(images: Tensor, pixel_size_angstroms: float) -> Tensor:
    """(5, b) of images (b, N, N).

    Noise level; noise level of two corners; variance that the molecule adds, over that of the noise in the other two; share of
    noise in the deviation; largest factor between noise levels of one scale.
    """
    box, noise, corners = images.shape[-1], noise_levels(images), _corner_levels(images)
    some, others = (corners[chosen].square().mean(0) for chosen in ([0, 3], [1, 2]))
    added = images[:, _radius(box) < box / 3].var(1) / others - 1
    allowed = torch.full_like(noise, _allowed_factor(box))
    levels = noise * pixel_size_angstroms, some.sqrt() * pixel_size_angstroms
    return torch.stack((*levels, added / pixel_size_angstroms**2, noise / images.std((1, 2)), allowed))


def _judged(levels: Tensor, of_some: Tensor, added: Tensor, shares: Tensor, allowed: Tensor) -> HalfScale:
    """The scale of images of whom this is known, (n,) each; see `_figures`."""
    median = float(levels.median())
    if float(shares.median()) < LEAST_NOISE or median <= 0:
        return HalfScale(median, median, median, is_odd=False)
    levels = levels.clamp(min=1e-6 * median)
    different = float(((levels / median).log().abs() > allowed.log()).double().mean()) > ODD_SHARE
    lowest, highest = levels.quantile(0.05), levels.quantile(0.95)
    is_odd = different and not _is_noise_alone(of_some, added)
    return HalfScale(median, float(lowest), float(highest), is_odd=is_odd)


def _is_noise_alone(levels: Tensor, added: Tensor) -> bool:
    """Whether the molecule adds a variance that is the same at all levels of the noise (n,), rather than the same share of it.

    The shares (n,) must come from other pixels than the levels, whose errors would look like noise alone.
    """
    of_noise_alone = levels.square().reciprocal()
    of_noise_alone = of_noise_alone / of_noise_alone.square().mean().sqrt()
    left = [
        (added - (added * shape).mean().clamp(min=0) * shape).square().mean()
        for shape in (torch.ones_like(added), of_noise_alone)
    ]
    return len(added) / 2 * float((left[0] / left[1]).log()) > SURE


def _radius(box: int) -> Tensor:
    """(N, N) distance from the middle of the box, pixels."""
    axis = torch.arange(box, dtype=torch.float64) - (box - 1) / 2
    return (axis[:, None].square() + axis.square()).sqrt()


def _outside(box: int) -> Tensor:
    """(N, N) bool: outside of the circle that fits the box."""
    return _radius(box) > box / 2


def _allowed_factor(box: int) -> float:
    """How far noise levels of one scale are apart."""
    standard_error = 1 / math.sqrt(int(_outside(box).sum()))  # of the middle two of four
    return max(ODD_FACTOR, math.exp(STANDARD_ERRORS * standard_error))
