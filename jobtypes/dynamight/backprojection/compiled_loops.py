"""The operations of a `GridBackend` in compiled loops, for tensors on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from jobtypes.common.fourier import fft_lines, irfft_lines, rfft_lines
from jobtypes.dynamight.backprojection import loops
from jobtypes.dynamight.backprojection.ball import Ball
from jobtypes.dynamight.backprojection.ball_planes import inverse_plane, planes
from jobtypes.dynamight.backprojection.ball_planes import inverse_transform as inverse_transform
from jobtypes.dynamight.backprojection.whole_tensors import Order
from jobtypes.dynamight.model.loops import over_particles


def read_voxels(support: Tensor, displacements: Tensor, volume: Tensor, *, order: Order) -> Tensor:
    """See `GridBackend`."""
    values = volume.new_empty(len(support))
    if len(support):
        over_particles(loops.read_voxels, (support, displacements, values), volume.contiguous(), order == "cubic")
    return values


def spread_voxels(result: Tensor, support: Tensor, displacements: Tensor, volume: Tensor, *, order: Order) -> None:
    """See `GridBackend`; each thread adds to planes of its own."""
    of_result = torch.arange(len(result))
    over_particles(loops.spread_voxels, (result, of_result), support, displacements, volume.contiguous(), order == "cubic")


def insert_terms(
    grid: Tensor, ball: Ball, data: Tensor, weights: Tensor, factors: Tensor, rotations: Tensor, cycles: Tensor
) -> None:
    """See `GridBackend`; each thread adds to planes of its own."""
    terms = (torch.view_as_real(data.resolve_conj().contiguous()), weights.contiguous(), factors, rotations.contiguous())
    tables = (ball.starts, ball.heads, ball.counts)
    over_particles(loops.insert_terms, (_shares(ball.box),), grid, *terms, cycles, *tables)


def convolve(volume: Tensor, weights: Tensor, ball: Ball) -> Tensor:
    """See `GridBackend`; plane by plane: see `ball_planes`."""

    def keep(lines: Tensor) -> Tensor:
        return lines[..., : ball.box]

    spectrum = rfft_lines(volume, ball.size)  # (N, N, N + 1)
    for kx, plane in planes(spectrum):
        columns = ball.some_columns(fft_lines(plane, ball.size), kx)
        columns = fft_lines(columns.T, ball.size)  # (columns, 2N)
        multiply_plane(columns, weights, ball, kx)
        plane.copy_(inverse_plane(columns, ball, kx, keep))
    return keep(irfft_lines(spectrum, ball.size))


def multiply_plane(plane: Tensor, values: Tensor, ball: Ball, kx: int) -> None:
    """Multiply a complex plane (columns, 2N), in place, by points (p,) of the ball, and by 0 outside."""
    head, count = ball.columns[kx]
    table = (ball.starts[kx].numpy(), ball.heads[kx].numpy(), ball.counts[kx].numpy())
    loops.multiply_plane(torch.view_as_real(plane).numpy(), values.numpy(), *table, head, ball.size - count)


def _shares(box: int) -> Tensor:
    """First plane kx of each thread's share and the one after the last, (t, 2): as many terms fall in each."""
    threads = torch.get_num_threads()
    # of views from all sides a share of a (2 - a) lies below kx = a N
    ends = (1 - (1 - torch.arange(1, threads) / threads).sqrt()) * box
    ends = torch.cat((torch.tensor([0]), ends.round().long(), torch.tensor([box + 1])))
    return torch.stack((ends[:-1], ends[1:]), dim=1)
