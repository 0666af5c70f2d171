from __future__ import annotations

import pytest
import torch

from jobtypes.common.fourier import irfft2, rfft2
from jobtypes.common.rotations import rotation_vector_matrices
from jobtypes.dynamight.forward_deformations.losses import data_misfit, strain
from jobtypes.dynamight.model.deformed import Deformed, undeformed
from jobtypes.dynamight.model.observations import Band


def test_the_misfit_is_half_the_squared_residual_of_the_pixels_over_their_variance(backend):
    """Parseval: for white noise of variance v an independent pixel costs r^2 / 2v, and so must the Fourier terms."""
    box, variance = 33, 2.5
    band = Band(box, 1.0, 1.0)  # all whole shells
    residual = torch.randn(2, box, box, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spectrum = rfft2(residual).flatten(1)
    kept = torch.zeros_like(spectrum)
    kept[:, band.index] = spectrum[:, band.index]
    banded = irfft2(kept.view(2, box, -1), box)
    weights = band.weights.double()[None] / (variance * box**2)
    terms = spectrum[:, band.index]
    nothing, transfer, group = torch.zeros_like(terms), torch.ones(2, len(band)).double(), torch.zeros(2, dtype=torch.long)
    misfit, _ = data_misfit(terms, nothing, transfer, weights, group, torch.ones(2).double(), backend)
    assert misfit.numpy() == pytest.approx((banded.square().sum((1, 2)) / (2 * variance)).numpy())


def test_each_group_has_its_own_weights_and_power_and_the_misfit_the_slope_of_finite_differences(backend):
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    observed, projected = torch.complex(draw(5, 7), draw(5, 7)), torch.complex(draw(5, 7), draw(5, 7)).requires_grad_()
    transfer, weights, group = draw(5, 7), draw(3, 7).square(), torch.tensor([0, 2, 2, 0, 2])
    shares = draw(5).square()
    misfit, power = data_misfit(observed, projected, transfer, weights, group, shares, backend)
    squared = (observed - transfer * projected).detach().abs().square()
    torch.testing.assert_close(misfit.detach(), (weights[group] * squared).sum(1))
    torch.testing.assert_close(power, torch.stack([(shares[:, None] * squared)[group == g].sum(0) for g in range(3)]))
    misfit_of = lambda p: data_misfit(observed, p, transfer, weights, group, shares, backend)[0]  # noqa: E731
    assert torch.autograd.gradcheck(misfit_of, (projected,))


def test_the_strain_of_a_stretch_is_the_squared_change_of_length(backend):
    positions = torch.tensor([[0.0, 0, 0], [5.0, 0, 0]])
    fields = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0]]])  # (1, 2, 3)
    found = strain(Deformed(positions, torch.tensor([[2.0], [-0.5]]), fields), torch.tensor([[0, 1]]), backend)
    assert found.tolist() == pytest.approx([4.0, 0.25], rel=1e-3)


def test_a_rigid_turn_of_any_size_costs_nothing(backend):
    positions = 10 * torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    turned = positions @ rotation_vector_matrices(torch.tensor([[0.3, -1.0, 0.7]]))[0].T + torch.tensor([3.0, 0, -8.0])
    edges = torch.combinations(torch.arange(30))
    moved = Deformed(positions, torch.ones(1, 1), (turned - positions)[None])
    assert float(strain(moved, edges, backend)) == pytest.approx(0.0, abs=1e-8)


def test_particles_in_which_nothing_moves_cost_nothing_each(backend):
    positions = 10 * torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    cost = strain(undeformed(positions, 4), torch.combinations(torch.arange(30)), backend)
    assert cost.tolist() == pytest.approx([0.0] * 4, abs=1e-8)


def test_the_strain_has_the_slope_of_finite_differences(backend):
    generator = torch.Generator().manual_seed(0)
    coefficients = torch.randn(5, 2, generator=generator, dtype=torch.float64).requires_grad_()
    basis = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64).requires_grad_()
    positions = 5 * torch.randn(6, 3, generator=generator, dtype=torch.float64)
    edges = torch.tensor([[0, 1], [1, 2], [0, 5], [3, 4]])
    assert torch.autograd.gradcheck(lambda c, u: strain(Deformed(positions, c, u), edges, backend), (coefficients, basis))
