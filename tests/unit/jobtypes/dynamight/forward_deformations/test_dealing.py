"""The order of an epoch: every batch splits evenly, and whose a particle is depends on no epoch."""

from __future__ import annotations

import pytest
import torch

from jobtypes.common.team import Crew
from jobtypes.dynamight.forward_deformations.dealing import dealt_order, dealt_share

BATCH, PARTICLES = 12, 100
INDEX = 1000 + 3 * torch.arange(PARTICLES)  # any numbers


def orders(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [dealt_order(INDEX, BATCH, generator) for _ in range(count)]


def test_an_epoch_visits_every_particle_once_and_each_in_an_order_of_its_own():
    first, second = orders(2)
    assert sorted(first.tolist()) == sorted(second.tolist()) == INDEX.tolist()
    assert not torch.equal(first, second)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_every_whole_batch_splits_evenly(count):
    index = torch.arange(PARTICLES)
    for place in range(count):
        owned = dealt_share(Crew(place, count), BATCH, index).owned
        for batch in dealt_order(index, BATCH, torch.Generator().manual_seed(2)).split(BATCH)[:-1]:
            assert int(owned[batch].sum()) in (BATCH // count, -(-BATCH // count))


def test_each_particle_of_each_group_is_owned_by_one_process():
    training, held_out = torch.arange(0, 90), torch.arange(90, 100)
    owners = sum(dealt_share(Crew(place, 4), BATCH, training, held_out).owned.int() for place in range(4))
    assert torch.equal(owners, torch.ones(100, dtype=torch.int32))


def test_particles_meet_in_a_batch_by_chance():
    """Those of different hands meet as often as any, so that a batch is a random sample."""
    generator = torch.Generator().manual_seed(3)
    index, meetings = torch.arange(PARTICLES), torch.zeros(PARTICLES)
    for _ in range(2000):
        order = dealt_order(index, BATCH, generator)
        (batch,) = [batch for batch in order.split(BATCH) if bool((batch == 7).any())]
        meetings[batch] += 1
    others = torch.arange(PARTICLES) % BATCH != 7 % BATCH
    assert meetings[~others].sum() == meetings[7] == 2000
    # of 100 particles a hand has 8 or 9, of which one is in the batch
    assert float(meetings[others].mean()) / 2000 == pytest.approx(11 / 92, rel=0.1)
    assert float(meetings[others].std()) < 3 * (2000 * 11 / 92) ** 0.5
