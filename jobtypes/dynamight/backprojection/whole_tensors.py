"""The operations of a `GridBackend` written with whole tensors, for a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from jobtypes.common.fourier import convolve_padded, ifft_lines, irfft_lines
from jobtypes.common.products import product_in_full
from jobtypes.dynamight.backprojection.ball import Ball
from jobtypes.dynamight.backprojection.ball_planes import Keep

Order = Literal["linear", "cubic"]

CHUNK = 1 << 22  # voxels at once: so many that a GPU is busy with each call
BYTES_PER_VOXEL = 350  # of a chunk: neighbours along three axes, their lines, values of a line


def read_voxels(support: Tensor, displacements: Tensor, volume: Tensor, *, order: Order) -> Tensor:
    """See `GridBackend`."""
    n, flat, values = volume.shape[0], volume.reshape(-1), [volume.new_empty(0)]
    for voxels, along_x, lines in _neighbours(support, displacements, n, order):
        total = flat.new_zeros(len(voxels))
        for index, weight in lines:
            line = flat.index_select(0, index.flatten()).view(index.shape)
            total.addcmul_(line.mul_(along_x).sum(0), weight)
        values.append(total)
    return torch.cat(values)


def spread_voxels(result: Tensor, support: Tensor, displacements: Tensor, volume: Tensor, *, order: Order) -> None:
    """See `GridBackend`."""
    flat = result.view(-1)
    for voxels, along_x, lines in _neighbours(support, displacements, volume.shape[0], order):
        values = volume.reshape(-1)[voxels] * along_x  # (t, m)
        for index, weight in lines:
            flat.index_add_(0, index.flatten(), (values * weight).flatten())


def insert_terms(
    grid: Tensor, ball: Ball, data: Tensor, weights: Tensor, factors: Tensor, rotations: Tensor, cycles: Tensor
) -> None:
    """See `GridBackend`."""
    places = product_in_full(cycles, rotations).reshape(-1, 3)  # row vectors: (A^T k)^T = k^T A
    mate = places[:, 0] < 0
    places = torch.where(mate[:, None], -places, places)
    data = (data * factors).flatten()
    data = torch.where(mate, data.conj(), data)
    rows = torch.stack((data.real, data.imag, (weights * factors).flatten()), dim=1)  # (b q, 3)
    low = places.floor()
    high_share, low = places - low, low.long()
    for corner in torch.cartesian_prod(*[torch.arange(2, device=low.device)] * 3):
        share = torch.where(corner == 1, high_share, 1 - high_share).prod(dim=1)
        grid.index_add_(0, ball.index(*(low + corner).T), rows * share[:, None])


def convolve(volume: Tensor, weights: Tensor, ball: Ball) -> Tensor:
    """See `GridBackend`; a few large transforms."""
    return convolve_padded(volume, ball.dense(weights))


def inverse_transform(values: Tensor, ball: Ball, keep: Keep) -> Tensor:
    """See `GridBackend`; a few large transforms."""
    spectrum = ball.dense(values)  # along kz, ky, kx
    for _ in range(2):
        spectrum = keep(ifft_lines(spectrum.movedim(0, -1)))
    return keep(irfft_lines(spectrum.movedim(0, -1), ball.size))


def _neighbours(
    support: Tensor, displacements: Tensor, n: int, order: Order
) -> Iterator[tuple[Tensor, Tensor, Iterator[tuple[Tensor, Tensor]]]]:
    """Parts of the support and of what is around them.

    Yields m voxels, the weights (t, m) of their neighbours along x, and lines of these: flat indices (t, m), weight (m,).
    """
    for voxels, moved in zip(support.split(CHUNK), displacements.split(CHUNK), strict=True):
        places = torch.stack((voxels % n, voxels // n % n, voxels // (n * n))) + moved.T  # (3, m)
        (x, y, z), (along_x, along_y, along_z) = (of_axes.unbind(1) for of_axes in axis_taps(places, n, order))
        lines = zip((z[:, None] * (n * n) + y * n).flatten(0, 1), (along_z[:, None] * along_y).flatten(0, 1), strict=True)
        yield voxels, along_x, ((row + x, weight) for row, weight in lines)


def axis_taps(positions: Tensor, box: int, order: Order) -> tuple[Tensor, Tensor]:
    """Neighbours of positions along their axis.

    Parameters
    ----------
    positions : (*S) in voxels
    box
        N; a neighbour outside 0 .. N - 1 gets weight 0.
    order
        ``linear`` or ``cubic``.

    Returns
    -------
    (t, *S) of integers that hold any flat index of the box, (t, *S)
        Index and weight of the two or four neighbours; weights sum to 1 inside the box.
    """
    low = positions.floor()
    t = positions - low
    if order == "linear":
        first, weights = 0, torch.stack((1 - t, t))
    else:
        first = -1
        weights = torch.stack(
            (
                ((-0.5 * t + 1.0) * t - 0.5) * t,
                (1.5 * t - 2.5) * t * t + 1.0,
                ((-1.5 * t + 2.0) * t + 0.5) * t,
                (0.5 * t - 0.5) * t * t,
            )
        )
    integer = torch.int32 if box**3 <= torch.iinfo(torch.int32).max else torch.int64  # of half the bytes where it can be
    steps = torch.arange(first, first + len(weights), dtype=integer, device=low.device)
    index = low.to(integer) + steps.view(-1, *[1] * low.ndim)
    inside = (index >= 0) & (index < box)
    return index.clamp_(0, box - 1), weights.mul_(inside)
