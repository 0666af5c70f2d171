"""Presence of parts against every combination written out, and what a missing part does to a projection."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from jobtypes.dynamight.model.parts import LARGEST_SHARE, LEAST_SHARE, Parts

PARTICLES, TERMS = 5, 40


def made_up(n_parts: int = 2) -> Parts:
    parts = Parts(PARTICLES, 6)
    for number in range(n_parts):
        parts.add(torch.arange(6) == number, 0.7)
    return parts


def complex_normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.view_as_complex(torch.randn(*shape, 2, generator=torch.Generator().manual_seed(seed)))


def test_presence_is_that_of_all_combinations_written_out() -> None:
    parts = made_up()
    parts.presence.copy_(torch.rand(PARTICLES, 2, generator=torch.Generator().manual_seed(3)))
    terms, weights = complex_normal(PARTICLES, 2, TERMS), 0.05 + torch.rand(PARTICLES, TERMS)
    image = complex_normal(PARTICLES, TERMS, seed=1) + terms[:, 0]
    index = torch.arange(PARTICLES)
    likelihoods = {}
    for state in product((0, 1), repeat=2):
        left = image - (torch.tensor(state)[:, None] * terms).sum(1)
        prior = sum(torch.log(torch.tensor(0.7 if there else 0.3)) for there in state)
        likelihoods[state] = -(weights * left.abs().square()).sum(1).double() + prior
    total = torch.logsumexp(torch.stack(list(likelihoods.values())), 0)
    residual = image - (parts.presence[:, :, None] * terms).sum(1)
    parts.judge(index, residual, terms, weights)
    for part in range(2):
        expected = torch.logsumexp(torch.stack([value for state, value in likelihoods.items() if state[part]]), 0) - total
        assert parts.presence[:, part].double() == pytest.approx(expected.exp(), abs=1e-4)


def test_an_image_that_says_nothing_leaves_the_share_of_all() -> None:
    parts = made_up()
    nothing = torch.zeros(PARTICLES, TERMS, dtype=torch.complex64)
    parts.judge(torch.arange(PARTICLES), nothing, nothing[:, None].expand(-1, 2, -1), torch.ones(PARTICLES, TERMS))
    assert parts.presence == pytest.approx(torch.full((PARTICLES, 2), 0.7), abs=1e-6)


def test_channels_share_out_every_gaussian() -> None:
    channels = made_up().channels()
    assert torch.equal(channels.sum(0), torch.ones(6))
    assert torch.equal(channels[0], torch.tensor([0.0, 0, 1, 1, 1, 1]))


def test_assembled_is_the_sum_by_presence() -> None:
    parts, terms = made_up(), complex_normal(2, 3, TERMS)
    parts.presence[1] = torch.tensor([0.0, 0.25])
    parts.presence[4] = torch.tensor([1.0, 0.5])
    assembled = parts.assembled(terms, torch.tensor([1, 4]))
    assert torch.allclose(assembled[0], terms[0, 0] + 0.25 * terms[0, 2])
    assert torch.allclose(assembled[1], terms[1, 0] + terms[1, 1] + 0.5 * terms[1, 2])


def test_shares_follow_the_presences_but_stay_possible() -> None:
    parts = made_up()
    parts.presence.copy_(torch.tensor([[1.0, 0.0]] * PARTICLES))
    parts.presence[0] = torch.tensor([0.5, 0.0])
    parts.learn(torch.arange(2))
    assert parts.share.tolist() == pytest.approx([0.75, LEAST_SHARE])
    parts.presence.fill_(1.0)
    parts.learn(torch.arange(2))
    assert parts.share.tolist() == pytest.approx([LARGEST_SHARE] * 2)


def test_other_particles_have_the_parts_as_often_as_these() -> None:
    others = made_up().of_others(9)
    assert torch.equal(others.membership, made_up().membership)
    assert others.presence.shape == (9, 2)
    assert len(others.presence.unique()) == 1
    assert float(others.presence[0, 0]) == pytest.approx(0.7)
