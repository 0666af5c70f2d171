"""Copies of one image, as symmetry expansion makes them: they see the same noise, so they are one witness and count once."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_of_copies(values: Tensor, image: Tensor) -> Tensor:
    """Mean over the copies of each image.

    Parameters
    ----------
    values : (n,)
        Of particles.
    image : (n,) int64
        The image that each is of, as in `ParticleTable.copy_of`.

    Returns
    -------
    (m,)
        For the m images, in the order of their numbers.
    """
    _, place, copies = torch.unique(image, return_inverse=True, return_counts=True)
    means: Tensor = values.new_zeros(len(copies)).index_add(0, place, values) / copies
    return means


def share_of_image(image: Tensor) -> Tensor:
    """What each particle counts where all copies of an image (n,) together count as one: (n,) float64."""
    _, place, copies = torch.unique(image, return_inverse=True, return_counts=True)
    shares: Tensor = 1 / copies[place].double()
    return shares


def first_copies(index: Tensor, image_of: Tensor) -> Tensor:
    """Of particles at `index` (n,) those that are the first of their image, which is `image_of` (P,): (m,) in the same order."""
    _, place = torch.unique(image_of[index], return_inverse=True)
    places = torch.arange(len(index))
    first = torch.full_like(index, len(index)).scatter_reduce(0, place, places, "amin")[place]
    return index[first == places]
