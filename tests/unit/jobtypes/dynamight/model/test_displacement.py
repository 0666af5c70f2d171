"""Laws of the displacement field."""

import math

import pytest
import torch

from jobtypes.common.rotations import rotation_vector_matrices
from jobtypes.dynamight.forward_deformations.losses import strain
from jobtypes.dynamight.model.control_points import ControlPoints
from jobtypes.dynamight.model.deformed import Deformed, combine
from jobtypes.dynamight.model.displacement import (
    TAPER_END_ANGSTROMS,
    TAPER_START_ANGSTROMS,
    DisplacementField,
    before_displacement,
    fit_of_motions,
    rigid_motions,
)
from jobtypes.dynamight.model.gaussians import GaussianModel
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.poses import RefinedPoses


@pytest.fixture
def positions():
    return torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * 20


@pytest.fixture
def field(positions):
    torch.manual_seed(1)
    field = DisplacementField(n_latent=3, n_fields=4, control_points=ControlPoints.around(positions, 12))
    field.set_anchors(positions, torch.rand(200, generator=torch.Generator().manual_seed(2)) + 0.5)
    return field


def test_latent_zero_is_the_consensus(field, positions):
    # the product of a batch and that of one row differ by rounding
    moved = combine(field.coefficients(torch.zeros(2, 3)), field.basis(positions))
    assert float(moved.detach().abs().max()) < 1e-5


def test_no_field_holds_a_rigid_motion_of_the_anchors(field, positions):
    basis = field.basis_at_gaussians(positions).detach()
    weights = field.anchor_weights
    motions = rigid_motions(positions, positions, weights)
    share = basis.transpose(1, 2).flatten(1) @ fit_of_motions(motions, weights)  # (K, 6)
    size_of_motions = motions.norm(dim=2).amax(1)
    assert float((share * size_of_motions).abs().max()) < 1e-3 * float(basis.abs().max())


def test_fields_at_gaussians_and_at_points_agree(field, positions):
    assert torch.allclose(field.basis(positions), field.basis_at_gaussians(positions).detach(), atol=1e-5)


def test_fields_vanish_far_from_the_gaussians(field):
    far = torch.tensor([[100.0 + TAPER_END_ANGSTROMS, 0.0, 0.0], [0.0, -200.0, 10.0]])
    assert float(field.basis(far).abs().max()) == 0


def test_a_rotation_of_the_whole_by_any_angle_costs_no_strain(positions, backend):
    rotation = rotation_vector_matrices(torch.tensor([[0.3, -1.0, 0.5]]))[0]
    motion = positions @ rotation.T - positions
    edges = torch.stack((torch.arange(199), torch.arange(1, 200)), dim=1)
    cost = strain(Deformed(positions, torch.ones(1, 1), motion[None]), edges, backend)
    assert float(cost) < 1e-6


def test_stretching_every_edge_by_a_tenth_costs_a_hundredth_of_its_squared_length(positions, backend):
    edges = torch.stack((torch.arange(199), torch.arange(1, 200)), dim=1)
    lengths = (positions[edges[:, 0]] - positions[edges[:, 1]]).norm(dim=1)
    cost = strain(Deformed(positions, torch.tensor([[0.1]]), positions[None]), edges, backend)
    assert torch.allclose(cost, 0.01 * lengths.square().mean(), rtol=1e-3)


def test_another_reference_state_changes_the_names_of_states_but_not_the_states(field, positions):
    gaussians = GaussianModel(positions, amplitude=1.0, width_angstroms=3.0)
    model = HalfModel(gaussians, field, None, RefinedPoses(1), torch.ones(1, 4)).eval().requires_grad_(False)
    field.set_anchors(positions, field.anchor_weights)
    for level in field.trunk.levels:
        level.values.mul_(4)
    latents = torch.randn(5, 3, generator=torch.Generator().manual_seed(4)) * 2
    near = positions[:50] + 2.0
    before = gaussians.positions + model.displacement(latents)
    point_states = near + model.displacement(latents, near)
    model.set_reference(field.coefficients(latents)[0])
    assert float(model.displacement(latents[:1]).abs().max()) < 1e-5
    assert torch.allclose(gaussians.positions + model.displacement(latents), before, atol=1e-4)
    # points of the old consensus, carried to the new one, reach the same places
    carried = point_states[0]
    assert torch.allclose(carried + model.displacement(latents, carried), point_states, atol=0.02)


@pytest.mark.parametrize("box", [20, 21, 70])
def test_what_is_outside_a_mask_stands_still_and_the_edge_moves_in_proportion(field, box):
    pixel = 160.0 / box
    x = (torch.arange(box) - box // 2) * pixel
    # falls from 1 to 0 between x = -30 A and x = 50 A
    field.set_mask(((50.0 - x) / 80).clamp(0, 1).expand(box, box, box), pixel)
    points = torch.tensor([[-60.0, 10.0, 0.0], [10.0, -20.0, 30.0], [30.0, 5.0, -5.0], [65.0, 0.0, 0.0], [0.0, 300.0, 0.0]])
    assert field.mobility(points).tolist() == pytest.approx([1.0, 0.5, 0.25, 0.0, 0.0], abs=0.02)
    near = torch.tensor([[10.0, 0.0, 0.0]])
    assert torch.allclose(field.basis(near), 0.5 * field.raw_basis(near) * field.taper(near)[:, None], atol=0.02)


def test_a_mask_has_the_axes_of_a_map(field):
    mask = torch.zeros(16, 16, 16)
    mask[12, 5, 3] = 1.0  # z y x
    field.set_mask(mask, 2.0)
    inside = torch.tensor([[3 - 8, 5 - 8, 12 - 8]]) * 2.0
    assert float(field.mobility(inside)) == pytest.approx(1.0)
    assert float(field.mobility(inside.flip(1))) == 0.0


def test_without_a_mask_everything_moves(field, positions):
    assert torch.equal(field.mobility(positions * 9), torch.ones(len(positions)))


def test_fields_fade_out_with_a_raised_cosine_of_the_distance_to_the_nearest_gaussian(field, positions):
    top = positions[positions[:, 2].argmax()]
    distances = torch.tensor([0.0, TAPER_START_ANGSTROMS, 14.0, TAPER_END_ANGSTROMS, 90.0])
    points = top + distances[:, None] * torch.tensor([0.0, 0.0, 1.0])
    nearest = torch.cdist(points, positions).min(1).values
    share = ((nearest - TAPER_START_ANGSTROMS) / (TAPER_END_ANGSTROMS - TAPER_START_ANGSTROMS)).clamp(0, 1)
    assert torch.allclose(field.taper(points), 0.5 + 0.5 * torch.cos(torch.pi * share), atol=1e-5)
    assert float(field.taper(points)[0]) == 1.0
    assert float(field.taper(points)[-1]) == 0.0


@pytest.mark.parametrize("degrees", [10.0, 90.0, 150.0, 180.0])
def test_points_of_a_domain_that_turned_are_brought_back(degrees):
    generator = torch.Generator().manual_seed(0)
    middle, angle = torch.tensor([60.0, 0.0, 0.0]), math.radians(degrees)
    turn = torch.tensor([[1.0, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])

    def turning(points: torch.Tensor) -> torch.Tensor:
        """(1, m, 3): all within 25 A of the middle turns, and nothing beyond 35 A."""
        apart = points - middle
        share = ((35 - apart.norm(dim=1)) / 10).clamp(0, 1)
        return ((apart @ turn.T - apart) * share[:, None])[None]

    domain = middle + 9 * torch.randn(300, 3, generator=generator).clamp(-1.4, 1.4)
    core = 9 * torch.randn(300, 3, generator=generator)
    places = torch.cat((middle + 7 * torch.randn(200, 3, generator=generator).clamp(-1.5, 1.5), core[:50] + 1))
    turned = places + turning(places)[0]
    found = before_displacement(turned, torch.ones(1), turning, torch.cat((domain, core)))
    assert float((found - places).norm(dim=1).max()) < 0.02
