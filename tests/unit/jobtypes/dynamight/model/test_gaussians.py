"""Seeding of Gaussians from a map."""

import math

import pytest
import torch

from jobtypes.dynamight.model.gaussians import GaussianModel, automatic_threshold, seed_positions


@pytest.fixture
def density():
    """Two balls, the second three times as dense, in a noisy box of 24 voxels."""
    axis = torch.arange(24.0) - 12
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    first = ((x + 5) ** 2 + y**2 + z**2) < 9
    second = ((x - 5) ** 2 + y**2 + (z - 3) ** 2) < 9
    noise = 0.02 * torch.randn(24, 24, 24, generator=torch.Generator().manual_seed(0))
    return first.float() + 3 * second.float() + noise


def test_positions_follow_the_density(density):
    positions = seed_positions(density, 0.5, 4000, 2.0, torch.Generator().manual_seed(1))
    near_second = (positions - torch.tensor([10.0, 0.0, 6.0])).norm(dim=1) < 8
    assert abs(float(near_second.float().mean()) - 3.0 / 4.0) < 0.02


def test_mean_position_is_the_centre_of_mass_within_a_tenth_of_a_voxel(density):
    positions = seed_positions(density, 0.5, 4000, 2.0, torch.Generator().manual_seed(1))
    expected = (1.0 * torch.tensor([-10.0, 0.0, 0.0]) + 3.0 * torch.tensor([10.0, 0.0, 6.0])) / 4
    assert torch.allclose(positions.mean(0), expected, atol=0.2)


def test_the_same_seed_gives_the_same_positions(density):
    draws = [seed_positions(density, 0.5, 50, 1.0, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*draws)


def test_automatic_threshold_lies_between_noise_and_molecule(density):
    assert 0.1 < automatic_threshold(density) < 2.9


def test_transfer_of_a_gaussian_is_its_fourier_transform():
    model = GaussianModel(torch.zeros(1, 3), amplitude=2.0, width_angstroms=3.0)
    k = 0.05
    found = model.transfer(torch.tensor([k * k])).item()
    assert math.isclose(found, math.exp(-2 * math.pi**2 * 9 * k * k), rel_tol=1e-5)


def test_amplitudes_start_at_the_value_asked_for_and_split_among_widths():
    model = GaussianModel(torch.zeros(4, 3), amplitude=2.5, width_angstroms=3.0, n_widths=3)
    assert torch.allclose(model.amplitudes, torch.full((4,), 2.5))
    assert torch.allclose(model.class_amplitudes().sum(0), model.amplitudes)
