"""The central state of many particles."""

import math

import torch

from jobtypes.dynamight.model.principal_motions import central


def test_the_central_particle_of_one_cloud_is_that_nearest_to_the_mean():
    coefficients = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    from_mean = (coefficients - coefficients.mean(0)).norm(dim=1)
    assert central(coefficients, torch.eye(3).double()) == int(from_mean.argmin())


def test_what_is_far_is_told_by_the_metric():
    coefficients = torch.tensor([[0.0, 3.0], [1.0, 0.1], [-1.0, -0.1], [0.0, -3.0], [1.2, 0.0], [-1.2, 0.0]])
    assert central(coefficients, torch.diag(torch.tensor([100.0, 0.01])).double()) in (0, 3)
    assert central(coefficients, torch.diag(torch.tensor([1.0, 1.0])).double()) in (1, 2)


def test_the_middle_of_a_circle_is_no_state_of_particles_on_the_circle():
    angles = torch.linspace(0, 2 * math.pi, 401)[:-1]
    doubtful = 0.2 * torch.randn(20, 2, generator=torch.Generator().manual_seed(0))  # particles that say nothing of the turn
    coefficients = torch.cat((torch.stack((angles.cos(), angles.sin()), dim=1), doubtful))
    chosen = coefficients[central(coefficients, torch.eye(2).double())]
    assert float((coefficients - coefficients.mean(0)).norm(dim=1).min()) < 0.1
    assert abs(float(chosen.norm()) - 1) < 1e-5


def test_few_particles_have_a_central_one_too():
    assert central(torch.ones(1, 2), torch.eye(2).double()) == 0
    assert central(torch.tensor([[0.0], [1.0]]), torch.eye(1).double()) in (0, 1)
