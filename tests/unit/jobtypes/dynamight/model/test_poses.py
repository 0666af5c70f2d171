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


def test_the_cost_of_a_correction_is_minus_its_log_prior():
    poses = RefinedPoses(3, 0.02, 1.5)
    correction = torch.tensor([0.3, -1.2, 0.8, 2.0, -0.5])
    with torch.no_grad():
        poses.corrections.weight[1] = correction
        poses.corrections.weight[2] = 0.0
        matrices, shifts, cost = poses(torch.tensor([1, 2]), torch.eye(3).expand(2, 3, 3), torch.zeros(2, 2))
    rotation = matrices[0].double()
    # the rotation vector out of the skew part: angle times axis
    skew = torch.stack((rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1])) / 2
    vector = skew * (torch.arcsin(skew.norm()) / skew.norm())
    prior = torch.distributions.Normal(torch.zeros(5), torch.tensor([0.02] * 3 + [1.5] * 2))
    drawn = torch.cat((vector.float(), shifts[0]))
    difference = prior.log_prob(torch.zeros(5)).sum() - prior.log_prob(drawn).sum()
    assert float(cost[0] - cost[1]) == pytest.approx(float(difference), rel=1e-3)
