from __future__ import annotations

import pytest
import torch

from jobtypes.dynamight.model.poses import RefinedPoses, corrected, most_likely_width

MATRICES, SHIFTS = torch.eye(3).expand(2, 3, 3), torch.tensor([[1.0, -2.0], [0.5, 4.0]])


def test_poses_start_as_they_were_given_at_no_cost():
    poses = RefinedPoses(5, 0.01, 0.9)
    matrices, shifts = poses(torch.tensor([4, 1]), MATRICES, SHIFTS)
    assert torch.equal(matrices, MATRICES)
    assert torch.equal(shifts, SHIFTS)
    assert poses.penalty(poses.corrections).tolist() == [0.0] * 5


def test_a_correction_of_one_sigma_costs_half_and_moves_its_particle_by_sigma():
    poses = RefinedPoses(5, 0.01, 0.9)
    poses.corrections[4] = torch.tensor([0.01, 0, 0, 0, -0.9])
    matrices, shifts = poses(torch.tensor([4, 1]), MATRICES, SHIFTS)
    assert poses.penalty(poses.corrections[[4, 1]]).tolist() == pytest.approx([1.0, 0.0])
    angle = torch.arccos((matrices[0].double().trace() - 1) / 2)
    assert float(angle) == pytest.approx(0.01, rel=1e-2)
    assert (shifts - SHIFTS)[0].tolist() == pytest.approx([0.0, -0.9])
    assert torch.equal(matrices[1], MATRICES[1])


def test_the_cost_of_a_correction_is_minus_its_log_prior():
    poses = RefinedPoses(3, 0.02, 1.5)
    correction = torch.tensor([[0.3, -1.2, 0.8, 2.0, -0.5]]) * poses.scale
    matrices, shifts = corrected(correction, torch.eye(3)[None], torch.zeros(1, 2))
    rotation = matrices[0].double()
    # the rotation vector out of the skew part: angle times axis
    skew = torch.stack((rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1])) / 2
    vector = skew * (torch.arcsin(skew.norm()) / skew.norm())
    prior = torch.distributions.Normal(torch.zeros(5), torch.tensor([0.02] * 3 + [1.5] * 2))
    drawn = torch.cat((vector.float(), shifts[0]))
    difference = prior.log_prob(torch.zeros(5)).sum() - prior.log_prob(drawn).sum()
    assert float(poses.penalty(correction)) == pytest.approx(float(difference), rel=1e-3)


def test_steps_lead_to_the_most_probable_corrections_of_the_batch_and_touch_no_others():
    poses = RefinedPoses(4, 0.02, 1.5)
    index = torch.tensor([3, 1])
    seen = torch.tensor([[1.0, -0.5, 0.2, 0.7, 0.0], [0.0, 0.3, -1.0, 0.0, 0.4]])  # in units of the scale
    curvature = torch.diag(torch.tensor([4.0, 1.0, 9.0, 2.0, 2.0])) + 0.3
    poses.curvature.copy_(curvature)
    for _ in range(60):
        corrections = poses.corrections[index].requires_grad_()
        away = corrections / poses.scale - seen
        objective = 0.5 * ((away @ curvature) * away).sum() + poses.penalty(corrections).sum()
        objective.backward()
        poses.step(index, corrections, corrections.grad, rate=0.3)
    expected = torch.linalg.solve(curvature + torch.eye(5), curvature @ seen.T).T * poses.scale
    assert torch.allclose(poses.corrections[index], expected, rtol=1e-3, atol=1e-6)
    assert not poses.corrections[[0, 2]].any()


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.5])
def test_the_width_of_a_distribution_is_found_from_noisy_draws(sigma):
    generator = torch.Generator().manual_seed(1)
    variances = 0.05 + torch.rand(4000, generator=generator)
    draws = sigma * torch.randn(4000, generator=generator) + variances.sqrt() * torch.randn(4000, generator=generator)
    assert float(most_likely_width(draws, variances)) == pytest.approx(sigma, abs=0.12)


def test_a_prior_narrows_where_poses_are_right_and_leaves_them_where_they_are():
    poses = RefinedPoses(400, 0.02, 1.5)
    generator = torch.Generator().manual_seed(2)
    variances = torch.full((400, 5), 0.04)
    noise = 0.2 * torch.randn(400, 5, generator=generator)
    poses.corrections[7] = 0.01
    for _ in range(20):
        poses.learn_prior(noise, variances, torch.eye(5) * 25, share=0.3)
    assert float((poses.sigmas / poses.scale).max()) < 0.1
    assert poses.corrections[7].tolist() == pytest.approx([0.01] * 5)
