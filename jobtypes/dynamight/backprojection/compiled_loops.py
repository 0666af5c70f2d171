"""The operations of `whole_tensors` in compiled loops, for tensors on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from jobtypes.dynamight.backprojection import loops
from jobtypes.dynamight.backprojection.ball import Ball
from jobtypes.dynamight.backprojection.whole_tensors import Order
from jobtypes.dynamight.model.loops import over_particles


def read_voxels(support: Tensor, displacements: Tensor, volume: Tensor, *, order: Order) -> Tensor:
    """See `whole_tensors`."""
    values = volume.new_empty(len(support))
    if len(support):
        over_particles(loops.read_voxels, (support, displacements, values), volume.contiguous(), order == "cubic")
    return values


def spread_voxels(result: Tensor, support: Tensor, displacements: Tensor, volume: Tensor, *, order: Order) -> None:
    """See `whole_tensors`; each thread adds to planes of its own."""
    planes = torch.arange(len(result))
    over_particles(loops.spread_voxels, (result, planes), support, displacements, volume.contiguous(), order == "cubic")


def insert_terms(
    grid: Tensor, ball: Ball, data: Tensor, weights: Tensor, factors: Tensor, rotations: Tensor, cycles: Tensor
) -> None:
    """Add slices to the ball; each thread adds to planes of its own.

    Parameters
    ----------
    grid : (p, 3)
        Real and imaginary part and weight of each point.
    ball
        Where they are.
    data, weights : (b, q)
        Terms, complex, and their weights.
    factors : (q,)
        Of both.
    rotations : (b, 3, 3)
    cycles : (q, 3)
        Places of the terms in the view frame; the third is 0.
    """
    terms = (torch.view_as_real(data.resolve_conj().contiguous()), weights.contiguous(), factors, rotations.contiguous())
    tables = (ball.starts, ball.heads, ball.counts)
    over_particles(loops.insert_terms, (_shares(ball.box),), grid, *terms, cycles, *tables)


def _shares(box: int) -> Tensor:
    """First plane kx of each thread's share and the one after the last, (t, 2): as many terms fall in each."""
    threads = torch.get_num_threads()
    # of views from all sides a share of a (2 - a) lies below kx = a N
    ends = (1 - (1 - torch.arange(1, threads) / threads).sqrt()) * box
    ends = torch.cat((torch.tensor([0]), ends.round().long(), torch.tensor([box + 1])))
    return torch.stack((ends[:-1], ends[1:]), dim=1)
