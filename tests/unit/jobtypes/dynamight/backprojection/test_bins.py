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
