"""The consensus of both half sets is one conformation, whichever their trainings have chosen."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from jobtypes.dynamight.model.common_state import choose_consensus
from jobtypes.dynamight.model.control_points import ControlPoints
from jobtypes.dynamight.model.displacement import DisplacementField
from jobtypes.dynamight.model.encoder import Encoder
from jobtypes.dynamight.model.gaussians import GaussianModel
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.poses import RefinedPoses

RADIUS, PARTICLES, PER_LATENT = 40.0, 60, 20.0


def going_round(half: int, angle_of_consensus: float) -> tuple[HalfModel, torch.Tensor]:
    """A ball that goes round a core, at an angle in the state of latent zero, and the latents of particles at all angles."""
    torch.manual_seed(half)
    on_circle = torch.tensor([math.cos(angle_of_consensus), math.sin(angle_of_consensus), 0.0])
    core, ball = 8 * torch.randn(100, 3), RADIUS * on_circle + 4 * torch.randn(40, 3)
    positions = torch.cat((core, ball))
    field = DisplacementField(n_latent=2, n_fields=2, control_points=ControlPoints.around(positions, 6))
    field.branch = nn.Linear(2, 2, bias=False)  # each latent moves by one field
    field.branch.weight.data.copy_(torch.eye(2))
    field.set_anchors(positions, torch.cat((torch.ones(100), torch.full((40,), 1e-6))))
    moves = torch.zeros(2, 140, 3)
    moves[0, 100:, 0] = moves[1, 100:, 1] = PER_LATENT
    field.hold(moves, positions)
    angles = torch.rand(PARTICLES) * 2 * math.pi
    latents = (torch.stack((angles.cos(), angles.sin()), dim=1) - on_circle[:2]) * (RADIUS / PER_LATENT)
    gaussians = GaussianModel(positions, amplitude=1.0, width_angstroms=3.0)
    model = HalfModel(gaussians, field, Encoder(positions[::10].clone(), 2), RefinedPoses(PARTICLES, 0.01, 1.0), torch.ones(1, 9))
    return model.eval().requires_grad_(False), latents


@pytest.mark.parametrize("angles", [(0.0, 2.0), (1.0, -2.5), (0.5, 0.6)])
def test_the_ball_is_at_one_place_in_both_half_sets(angles):
    models, latents = map(
        lambda pair: dict(enumerate(pair, start=1)),
        zip(*(going_round(half, angle) for half, angle in enumerate(angles, start=1)), strict=True),
    )
    before = {half: model.gaussians.positions + model.displacement(latents[half]) for half, model in models.items()}
    chosen = choose_consensus(models, latents, 160.0)
    first, second = (model.gaussians.positions[100:].mean(0) for model in models.values())
    # no particle is farther from the next one on the circle than this, but by chance
    assert float((first - second).norm()) < 3 * 2 * math.pi * RADIUS / PARTICLES
    for half, model in models.items():
        # it is the state of a particle, and nobody's state has changed
        assert float(model.displacement(latents[half][chosen[half], None]).square().sum(2).mean()) < 1e-3
        after = model.gaussians.positions + model.displacement(latents[half])
        assert float((after - before[half]).abs().max()) < 0.5
