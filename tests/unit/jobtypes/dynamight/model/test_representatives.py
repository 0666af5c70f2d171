"""A few states that stand for those of all particles, and which of them are in doubt for one."""

from __future__ import annotations

import pytest
import torch

from jobtypes.dynamight.model.representatives import LEFT_OUT, representatives


def test_representatives_cover_the_latents_and_share_them_out():
    latents = torch.randn(2000, 2, generator=torch.Generator().manual_seed(1))
    chosen = representatives(latents, 32)
    assert chosen.latents.shape == (32, 2)
    assert float(torch.cdist(latents, chosen.latents).min(1).values.mean()) < 0.4
    assert float(chosen.shares.sum()) == pytest.approx(1)
    assert float(chosen.shares @ chosen.latents[:, 0]) == pytest.approx(float(latents[:, 0].mean()), abs=1e-3)
    assert len(representatives(latents[:5], 32).latents) == 5
    assert len(representatives(latents[[0, 1, 1, 2]], 32).latents) == 3  # particles may be in the same state


def test_the_states_in_doubt_hold_all_but_a_little_of_the_weight():
    generator = torch.Generator().manual_seed(2)
    others = representatives(torch.randn(200, 2, generator=generator), 8)
    squared_distances = 10 * torch.rand(50, 8, generator=generator)
    weights = 0.1 * torch.exp(-squared_distances)
    tried = others.tried_on(squared_distances, weights)
    assert torch.equal(tried.latents, others.latents)

    def lost(doubt: float) -> float:
        return float((weights * (squared_distances > doubt**2)).sum()) / 50

    assert lost(1.0001 * tried.doubt) <= LEFT_OUT < lost(0.98 * tried.doubt)


def test_where_the_farthest_state_is_that_of_a_particle_all_are_in_doubt():
    others = representatives(torch.randn(40, 2, generator=torch.Generator().manual_seed(2)), 4)
    squared_distances = torch.tensor([[1.0, 4.0, 900.0, 25.0], [1.0, 4.0, 9.0, 25.0]])
    weights = torch.zeros(2, 4)
    weights[0, 2] = 0.9
    assert others.tried_on(squared_distances, weights).doubt == pytest.approx(30.0)
