"""The operations of a `GridBackend` written with whole tensors, for a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from jobtypes.common.fourier import convolve_padded
from jobtypes.dynamight.backprojection.ball import Ball

Order = Literal["linear", "cubic"]
_Taps = list[tuple[Tensor, Tensor]]

_CHUNK = 1 << 20  # voxels at once


def read_voxels(support: Tensor, displacements: Tensor, volume: Tensor, *, order: Order) -> Tensor:
    """See `GridBackend`."""
    n, flat, values = volume.shape[0], volume.reshape(-1), []
    for voxels, along_x, along_y, along_z in _neighbours(support, displacements, n, order):
        total = torch.zeros(len(voxels), dtype=flat.dtype, device=flat.device)
        for index_z, weight_z in along_z:
            for index_y, weight_y in along_y:
                row = index_z * (n * n) + index_y * n
                line = torch.zeros_like(total)
                for index_x, weight_x in along_x:
                    line.addcmul_(flat.index_select(0, row + index_x), weight_x)
                total.addcmul_(line, weight_z * weight_y)
        values.append(total)
    return torch.cat(values) if values else flat[:0]


def spread_voxels(result: Tensor, support: Tensor, displacements: Tensor, volume: Tensor, *, order: Order) -> None:
    """See `GridBackend`."""
    n, flat = volume.shape[0], result.view(-1)
    for voxels, along_x, along_y, along_z in _neighbours(support, displacements, n, order):
        values = volume.reshape(-1)[voxels]
        for index_z, weight_z in along_z:
            for index_y, weight_y in along_y:
                row = index_z * (n * n) + index_y * n
                share = values * (weight_z * weight_y)
                for index_x, weight_x in along_x:
                    flat.index_add_(0, row + index_x, share * weight_x)


def insert_terms(
    grid: Tensor, ball: Ball, data: Tensor, weights: Tensor, factors: Tensor, rotations: Tensor, cycles: Tensor
) -> None:
    """See `GridBackend`."""
    places = (cycles @ rotations).reshape(-1, 3)  # row vectors: (A^T k)^T = k^T A
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


def _neighbours(support: Tensor, displacements: Tensor, n: int, order: Order) -> Iterator[tuple[Tensor, _Taps, _Taps, _Taps]]:
    """Parts of the support with the (index, weight) pairs of their neighbours along x, y and z."""
    for voxels, moved in zip(support.split(_CHUNK), displacements.split(_CHUNK), strict=True):
        at = (voxels % n, voxels // n % n, voxels // (n * n))
        along_x, along_y, along_z = (axis_taps(at[a] + moved[:, a], n, order) for a in range(3))
        yield voxels, along_x, along_y, along_z


def axis_taps(positions: Tensor, box: int, order: Order) -> list[tuple[Tensor, Tensor]]:
    """Neighbours of positions along one axis.

    Parameters
    ----------
    positions : (m,) in voxels
    box
        N; a neighbour outside 0 .. N - 1 gets weight 0.
    order
        ``linear`` or ``cubic``.

    Returns
    -------
    list
        Two or four pairs: (m,) index, (m,) weight. Weights sum to 1 inside the box.
    """
    low = positions.floor()
    t = positions - low
    if order == "linear":
        first, weights = 0, [1 - t, t]
    else:
        first = -1
        weights = [
            ((-0.5 * t + 1.0) * t - 0.5) * t,
            (1.5 * t - 2.5) * t * t + 1.0,
            ((-1.5 * t + 2.0) * t + 0.5) * t,
            (0.5 * t - 0.5) * t * t,
        ]
    base = low.long() + first
    taps = []
    for step, weight in enumerate(weights):
        index = base + step
        inside = (index >= 0) & (index < box)
        taps.append((index.clamp(0, box - 1), torch.where(inside, weight, torch.zeros_like(weight))))
    return taps
