from __future__ import annotations

import pytest
import torch

from jobtypes.dynamight.backprojection.bins import choose_bins
from jobtypes.dynamight.model.principal_motions import gram_matrix


def line(n: int) -> torch.Tensor:
    return torch.linspace(0, 10, n, dtype=torch.float64)[:, None]


def everyone(n: int) -> torch.Tensor:
    return torch.ones(n, dtype=torch.bool)


def test_distance_is_the_rms_displacement_in_angstroms():
    fields = torch.zeros(1, 4, 3)
    fields[0, :2, 1] = 2.0  # half of the weight moves by 2 A
    assert float(gram_matrix(fields, torch.ones(4))[0, 0]) == pytest.approx(2.0)


def test_no_more_bins_than_the_tolerance_needs():
    bins = choose_bins(line(400), torch.eye(1), train=everyone(400), tolerance_angstroms=0.3, most=100)
    assert bins.rms_residual_angstroms <= 0.3
    assert 9 <= len(bins) <= 16  # 10 A in steps of 0.3 * sqrt(12) A is 9.6


def test_the_cap_wins_over_the_tolerance():
    bins = choose_bins(line(400), torch.eye(1), train=everyone(400), tolerance_angstroms=0.01, most=5)
    assert len(bins) == 5
    assert bins.rms_residual_angstroms > 0.01


def test_particles_without_motion_need_one_bin():
    bins = choose_bins(torch.zeros(50, 3), torch.eye(3), train=everyone(50), tolerance_angstroms=0.1, most=40)
    assert len(bins) == 1
    assert bins.rms_motion_angstroms == 0


def test_one_particle_is_one_bin():
    bins = choose_bins(torch.ones(1, 2), torch.eye(2), train=everyone(1), tolerance_angstroms=0.1, most=40)
    assert bins.labels.tolist() == [0]
    torch.testing.assert_close(bins.centres, torch.ones(1, 2, dtype=torch.float64))


def test_motion_that_moves_nothing_makes_no_bins():
    bins = choose_bins(line(100), torch.zeros(1, 1), train=everyone(100), tolerance_angstroms=0.1, most=40)
    assert len(bins) == 1


def test_the_same_seed_gives_the_same_bins():
    first, second = (
        choose_bins(line(300), torch.eye(1), train=everyone(300), tolerance_angstroms=0.5, most=40, seed=7) for _ in range(2)
    )
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.centres, second.centres)


def test_centres_are_the_means_of_training_particles_and_every_bin_has_some():
    train = torch.arange(200) % 3 > 0
    coefficients = line(200)
    bins = choose_bins(coefficients, torch.eye(1), train=train, tolerance_angstroms=0.5, most=40)
    for m in range(len(bins)):
        mean = coefficients[(bins.labels == m) & train].mean(0)
        torch.testing.assert_close(bins.centres[m], mean)


def test_particles_of_a_bin_have_the_same_parts_and_the_bin_their_mean_presence():
    presence = torch.stack((0.9 * (torch.arange(400) % 2), torch.full((400,), 0.8)), dim=1)
    bins = choose_bins(line(400), torch.eye(1), train=everyone(400), tolerance_angstroms=1.0, most=100, presence=presence)
    alone = choose_bins(line(400), torch.eye(1), train=everyone(400), tolerance_angstroms=1.0, most=100)
    assert len(bins) == 2 * len(alone)
    for m in range(len(bins)):
        members = bins.labels == m
        assert len((presence[members, 0] > 0.5).unique()) == 1
        torch.testing.assert_close(bins.presence[m], presence[members].double().mean(0))
        torch.testing.assert_close(bins.centres[m], line(400)[members].mean(0))
        assert float(line(400)[members].std()) < 1.0


def test_a_particle_joins_the_nearest_bin_with_its_parts_however_far():
    coefficients = torch.tensor([[0.0], [0.1], [9.0], [9.1], [8.9]], dtype=torch.float64)
    presence = torch.tensor([[0.0], [0.0], [1.0], [1.0], [0.0]])
    train = torch.tensor([True, True, True, True, False])
    bins = choose_bins(coefficients, torch.eye(1), train=train, tolerance_angstroms=0.5, most=40, presence=presence)
    assert bins.labels[4] == bins.labels[0] != bins.labels[2]
    strange = presence.clone()
    strange[:2] = 1  # none that trains lacks it
    bins = choose_bins(coefficients, torch.eye(1), train=train, tolerance_angstroms=0.5, most=40, presence=strange)
    assert bins.labels[4] == bins.labels[2]


def test_the_cap_counts_bins_with_and_without_parts():
    presence = (torch.arange(400)[:, None] % 2).float()
    bins = choose_bins(line(400), torch.eye(1), train=everyone(400), tolerance_angstroms=0.01, most=10, presence=presence)
    assert len(bins) == 10
