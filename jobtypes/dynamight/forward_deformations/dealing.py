"""Which particles a process owns, and the order of an epoch, in which every batch splits evenly over any number of processes.

Particles are dealt like cards: particle number p belongs to hand p modulo the size of a batch, and a batch takes one card of each
hand. An epoch shuffles each hand by itself. Process m of k owns the hands m, m + k, m + 2 k and so on, whatever the epoch: so it
needs the images of its own particles only, and the order depends on k in nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jobtypes.common.share import Share
from jobtypes.common.team import Crew

EMPTY = 2.0  # key of a place without a card: beyond all others


def dealt_share(crew: Crew, batch_size: int, *groups: Tensor) -> Share:
    """The share of a process of a crew in the particles of some groups, each of which is dealt by itself.

    Parameters
    ----------
    crew
        The processes.
    batch_size
        Hands.
    groups : (p,)
        Particles by their index in the half set; all groups together are all its particles.
    """
    owned = torch.zeros(sum(map(len, groups)), dtype=torch.bool)
    for index in groups:
        owned[index] = torch.arange(len(index)) % batch_size % crew.count == crew.place
    return Share(owned, crew)


def dealt_order(index: Tensor, batch_size: int, generator: torch.Generator) -> Tensor:
    """The particles of an index (p,) in a new order: batch by batch, in each one of every hand."""
    rounds = -(-len(index) // batch_size)
    numbers = torch.arange(rounds * batch_size).view(rounds, batch_size)
    keys = torch.rand(rounds, batch_size, generator=generator)
    keys[numbers >= len(index)] = EMPTY
    shuffled = numbers.gather(0, keys.argsort(0)).flatten()
    return index[shuffled[shuffled < len(index)]]
