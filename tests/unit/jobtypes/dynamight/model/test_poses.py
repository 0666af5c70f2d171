from __future__ import annotations

import pytest
import torch

from jobtypes.dynamight.model.poses import RefinedPoses

MATRICES, SHIFTS = torch.eye(3).expand(2, 3, 3), torch.tensor([[1.0, -2.0], [0.5, 4.0]])


def test_poses_start_as_they_were_given_at_no_cost():
    matrices, shifts, penalty = RefinedPoses(5, 0.01, 0.9)(torch.tensor([4, 1]), MATRICES, SHIFTS)
    assert torch.equal(matrices, MATRICES)
    assert torch.equal(shifts, SHIFTS)
    assert penalty.tolist() == [0.0, 0.0]


def test_a_correction_of_one_sigma_costs_half_and_moves_its_particle_by_sigma():
    poses = RefinedPoses(5, 0.01, 0.9)
    with torch.no_grad():
        poses.corrections.weight[4] = torch.tensor([1.0, 0, 0, 0, -1.0])
        matrices, shifts, penalty = poses(torch.tensor([4, 1]), MATRICES, SHIFTS)
    assert penalty.tolist() == pytest.approx([1.0, 0.0])
    angle = torch.arccos((matrices[0].double().trace() - 1) / 2)
    assert float(angle) == pytest.approx(0.01, rel=1e-2)
    assert (shifts - SHIFTS)[0].tolist() == pytest.approx([0.0, -0.9])
    assert torch.equal(matrices[1], MATRICES[1])


def test_a_step_touches_the_particles_of_the_batch_alone():
    poses = RefinedPoses(5, 0.01, 0.9)
    _, shifts, _ = poses(torch.tensor([4, 1]), MATRICES, SHIFTS)
    shifts.sum().backward()
    assert sorted(poses.corrections.weight.grad.coalesce().indices()[0].tolist()) == [1, 4]
