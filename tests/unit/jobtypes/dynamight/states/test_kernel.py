"""What particles count for a state, against an average over draws of their posterior."""

from __future__ import annotations

import math

import pytest
import torch

from jobtypes.dynamight.states.kernel import ParticleStates, candidate_widths, effective_number, most_widths

POSES = 3


def particle_states(n: int = 200, spread: float = 0.7) -> ParticleStates:
    generator = torch.Generator().manual_seed(0)
    means = 3 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    roots = spread * torch.randn(n, 2, 2, generator=generator, dtype=torch.float64)
    variances, axes = torch.linalg.eigh(roots @ roots.transpose(1, 2))
    return ParticleStates(means, axes, variances.clamp(min=0), 3 * 2**0.5)


def test_a_weight_is_the_mean_of_the_kernel_over_the_posterior():
    states, at, width = particle_states(5), torch.tensor([0.5, -1.0]), 2.0
    noise = torch.randn(200_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    drawn = [m + (noise * v.sqrt()) @ a.T for m, a, v in zip(states.means, states.axes, states.variances, strict=True)]
    kernel = torch.stack([(-0.5 * (x - at).square().sum(1) / width**2).exp().mean() for x in drawn])
    torch.testing.assert_close(states.weights(at, width), kernel / kernel.max(), atol=5e-3, rtol=0)


def test_who_may_be_anywhere_counts_less_than_who_is_surely_there():
    states = particle_states(2)
    states.means[:] = 0.0
    states.variances[0], states.variances[1] = 1e-6, 25.0
    sure, unsure = states.weights(torch.zeros(2), 1.0).tolist()
    assert (sure, unsure) == (1.0, pytest.approx(1 / 26, rel=1e-3))


def test_a_kernel_without_end_counts_all_alike_and_a_narrow_one_leaves_far_ones_out():
    states = particle_states()
    assert states.weights(torch.zeros(2), math.inf).tolist() == [1.0] * 200
    narrow = particle_states(spread=0.01).weights(torch.zeros(2), 0.5)
    assert (narrow[states.means.norm(dim=1) > 3] == 0).all()


def test_copies_of_an_image_are_one_particle():
    weights = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.5], dtype=torch.float64)
    assert effective_number(weights, torch.arange(5)) == pytest.approx(4.5**2 / 4.25)
    assert effective_number(weights, torch.tensor([0, 0, 1, 1, 2])) == pytest.approx(4.5**2 / 8.25)


def test_widths_halve_the_particles_down_to_what_a_map_takes():
    states, at, ones, image = particle_states(), torch.tensor([2.0, 1.0]), torch.ones(200), torch.arange(200)
    widths = candidate_widths(states, at, ones, image, box=10)
    numbers = [effective_number(states.weights(at, width), image) for width in widths]
    assert widths[0] == math.inf
    assert widths == sorted(widths, reverse=True)
    assert numbers == pytest.approx([200, 100, 50], rel=1e-3)
    assert len(candidate_widths(states, at, ones, image, box=1000)) == 3  # a quarter in any case, or nothing could be compared
    assert [most_widths(200, box) for box in (10, 1000)] == [3, 3]
    many = candidate_widths(particle_states(3000, 0.1), at, torch.ones(3000), torch.arange(3000), box=10)
    assert most_widths(3000, 10) == len(many) == 7


def test_states_without_any_motion_have_one_width():
    still = particle_states()
    still = ParticleStates(torch.zeros_like(still.means), still.axes, torch.zeros_like(still.variances), 0.0)
    assert candidate_widths(still, torch.zeros(2), torch.ones(200), torch.arange(200), box=4) == [math.inf]
