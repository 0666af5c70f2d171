"""Inversion of deformations against closed forms, and its parts against slow twins in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from jobtypes.dynamight.inverse_deformations.accuracy import measure
from jobtypes.dynamight.inverse_deformations.pairs import Pairs
from jobtypes.dynamight.model import inverse_displacement
from jobtypes.dynamight.model.inverse_displacement import (
    InverseDisplacement,
    InverseHalf,
    basis_gradients,
    fixed_point_inverse,
    newton_step,
    pair_displacements,
    pair_jacobians,
)
from jobtypes.dynamight.model.principal_motions import principal_motions


class Shear:
    """u(x) = a_1 sin(y / 20) e_x + a_2 (x / 30)^2 e_z: each alone, and both in turn, have a closed inverse."""

    def basis(self, points: Tensor) -> Tensor:
        zero = torch.zeros_like(points[:, 0])
        first = torch.stack((torch.sin(points[:, 1] / 20), zero, zero), dim=1)
        second = torch.stack((zero, zero, (points[:, 0] / 30) ** 2), dim=1)
        return torch.stack((first, second))

    @staticmethod
    def inverse(deformed: Tensor, coefficients: Tensor) -> Tensor:
        """Consensus: y does not change, so x follows from it, and z from x."""
        x = deformed[:, 0] - coefficients[:, 0] * torch.sin(deformed[:, 1] / 20)
        return torch.stack((x, deformed[:, 1], deformed[:, 2] - coefficients[:, 1] * (x / 30) ** 2), dim=1)


def states(count: int = 400) -> tuple[Tensor, Tensor, Tensor]:
    """Consensus points, coefficients and deformed points, float64."""
    generator = torch.Generator().manual_seed(0)
    points = 80 * (torch.rand(count, 3, generator=generator, dtype=torch.float64) - 0.5)
    coefficients = 6 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return points, coefficients, points + pair_displacements(Shear(), points, coefficients)


def test_newton_steps_reach_the_closed_inverse_quadratically() -> None:
    points, coefficients, deformed = states()
    errors = []
    found = points + 1.5
    for _ in range(4):
        found = newton_step(Shear(), found, deformed, coefficients)
        errors.append(float((found - Shear.inverse(deformed, coefficients)).norm(dim=1).max()))
    assert errors[1] < 0.1 * errors[0]
    assert errors[3] < 1e-4


def test_points_worked_out_in_parts_are_the_same(monkeypatch):
    points, coefficients = 20 * torch.randn(50, 3), torch.randn(50, 2)
    network = InverseDisplacement(n_coefficients=2, n_coordinates=2, box_length_angstroms=100.0)
    find = [
        lambda: fixed_point_inverse(Shear(), points, coefficients),
        lambda: InverseHalf(network, Shear()).consensus_positions(points, coefficients),
        lambda: InverseHalf(network, Shear()).consensus_positions(points, coefficients[0]),
    ]
    whole = [each() for each in find]
    monkeypatch.setattr(inverse_displacement, "_CHUNK", 7)
    torch.testing.assert_close([each() for each in find], whole)


def test_the_fixed_point_iteration_reaches_the_closed_inverse() -> None:
    points, coefficients, deformed = states()
    found = fixed_point_inverse(Shear(), deformed, coefficients, iterations=60)
    assert (found - points).norm(dim=1).max() < 1e-8


def test_jacobians_are_those_of_automatic_differentiation() -> None:
    points, coefficients, _ = states(20)

    def phi(point: Tensor, state: Tensor) -> Tensor:
        return point + pair_displacements(Shear(), point[None], state[None])[0]

    exact = torch.stack(
        [torch.autograd.functional.jacobian(lambda p, s=s: phi(p, s), x) for x, s in zip(points, coefficients, strict=True)]
    )
    found = pair_jacobians(basis_gradients(Shear(), points), coefficients)
    assert torch.allclose(found, exact, atol=1e-4)


def test_a_fold_is_found_where_space_turns_inside_out() -> None:
    """a_1 does not change volumes; a stretch u = -c x beyond c = 1 does."""

    class Stretch:
        def basis(self, points: Tensor) -> Tensor:
            return -points[None]

    points = torch.randn(6, 3, dtype=torch.float64)
    amounts = torch.tensor([[0.0], [0.5], [0.9], [1.1], [1.5], [2.5]], dtype=torch.float64)
    determinant = torch.linalg.det(pair_jacobians(basis_gradients(Stretch(), points), amounts))
    assert torch.allclose(determinant, (1 - amounts[:, 0]) ** 3, atol=1e-9)


def test_the_accuracy_of_an_untrained_network_is_the_motion_itself() -> None:
    points, coefficients, deformed = (tensor.float() for tensor in states())
    network = InverseDisplacement(n_coefficients=2, n_coordinates=2, box_length_angstroms=80.0)
    ones = torch.ones(len(points))
    probe = Pairs(points, deformed, coefficients, ones, ones.bool(), ones)
    found = measure(InverseHalf(network, Shear()), probe, iterations=60)
    assert found.gaussians["network"] == found.unmoved
    assert found.unmoved.median == pytest.approx(float((deformed - points).norm(dim=1).median()), rel=0.02)
    assert found.gaussians["fixed point"].percentile_95 < 1e-4
    assert found.folded_gaussians == 0


def test_main_motions_are_the_singular_vectors_of_all_displacements() -> None:
    """The slow twin stacks every displacement of every particle, weighted, and takes its singular values."""
    generator = torch.Generator().manual_seed(1)
    basis = torch.randn(4, 30, 3, generator=generator, dtype=torch.float64)
    weights = torch.rand(30, generator=generator, dtype=torch.float64)
    coefficients = torch.randn(50, 4, generator=generator, dtype=torch.float64) @ torch.diag(
        torch.tensor([3.0, 1.0, 0.3, 0.1]).double()
    )
    found = principal_motions(basis, weights, coefficients)
    displacements = torch.einsum("pk,knc->pnc", coefficients - coefficients.mean(0), basis)
    scaled = displacements * (weights / weights.sum()).sqrt()[:, None]
    twin = torch.linalg.svdvals(scaled.flatten(1)) / math.sqrt(50)
    assert torch.allclose(found.rms_angstroms, twin[:4], rtol=1e-6)
    coordinates = found.coordinates(coefficients)
    assert torch.allclose(torch.cdist(coordinates, coordinates), torch.cdist(scaled.flatten(1), scaled.flatten(1)), atol=1e-5)
    assert torch.allclose(found.coefficients(coordinates), coefficients, atol=1e-6)


def test_particles_that_do_not_move_have_one_motion_of_size_zero() -> None:
    found = principal_motions(torch.randn(3, 10, 3), torch.ones(10), torch.zeros(5, 3))
    assert len(found) == 1
    assert float(found.rms_angstroms[0]) == 0
    assert torch.isfinite(found.from_coordinates).all()
