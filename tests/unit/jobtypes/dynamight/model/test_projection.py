"""Projections of points against the plain sum that defines them."""

import math

import pytest
import torch

from jobtypes.dynamight.model import compiled_loops
from jobtypes.dynamight.model.backend import COMPILED_LOOPS
from jobtypes.dynamight.model.deformed import Deformed
from jobtypes.dynamight.model.observations import Band
from jobtypes.dynamight.model.projection import Projector


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def terms_of(band, xy, amplitudes, backend, oversampling=2.0):
    """Fourier terms (b, c, q) of points at xy (b, n, 2) A in the image plane."""
    b, n, _ = xy.shape
    points = torch.cat((xy, torch.full_like(xy[..., :1], 7.0)), dim=2)  # any height
    seen = Deformed(torch.zeros(n, 3).to(xy), torch.eye(b).to(xy), points)
    matrices, shifts = torch.eye(3).to(xy).expand(b, 3, 3), torch.zeros(b, 2).to(xy)
    return Projector(band, oversampling, backend)(seen, matrices, shifts, amplitudes, len(band))


def exact_terms(xy, amplitudes, frequencies):
    """sum_j a_j exp(-2 pi i k x_j) in float64: xy (b, n, 2), amplitudes (n,), frequencies (q, 2) -> (b, q)."""
    phase = -2 * math.pi * xy.double() @ frequencies.double().T  # (b, n, q)
    return (amplitudes.double()[:, None] * torch.complex(phase.cos(), phase.sin())).sum(1)


@pytest.mark.parametrize("box", [32, 33])
def test_terms_agree_with_the_exact_sum(box, generator, backend):
    band = Band(box, 2.0, 5.0)
    xy = torch.rand(3, 40, 2, generator=generator) * 30 - 15
    amplitudes = torch.rand(40, generator=generator)
    found = terms_of(band, xy, amplitudes[None], backend)[:, 0]
    exact = exact_terms(xy, amplitudes, band.frequencies)
    error = (found - exact).abs().square().sum() / exact.abs().square().sum()
    assert error < 0.05**2


def test_a_finer_grid_brings_the_terms_closer_to_the_exact_sum(generator, backend):
    band = Band(32, 2.0, 5.0)
    xy = torch.rand(2, 40, 2, generator=generator) * 30 - 15
    amplitudes = torch.ones(40)
    exact = exact_terms(xy, amplitudes, band.frequencies)
    found = [terms_of(band, xy, amplitudes[None], backend, oversampling)[:, 0] for oversampling in (2.0, 4.0)]
    errors = [(terms - exact).abs().max() for terms in found]
    assert errors[1] < errors[0] / 3


def test_coarse_terms_are_a_prefix_of_the_fine_ones(generator):
    band = Band(32, 2.0, 4.5)
    n_terms = band.n_terms(10.0)
    assert band.resolution(n_terms) >= 10.0 > band.resolution(n_terms + 1)
    assert (band.radius.diff() >= 0).all()


def test_band_weights_count_every_independent_term_once():
    band = Band(16, 1.0, 2.4)
    full = torch.cartesian_prod(torch.arange(-8, 8), torch.arange(-8, 8)).double().norm(dim=1)
    inside = int(((full > 0) & (full <= 16 / 2.4)).sum())
    assert float(band.weights.sum()) == inside / 2


def test_the_tables_of_a_band_are_copied_to_a_device_and_stay_where_they_were():
    band = Band(16, 2.0, 5.0)
    elsewhere = band.to(torch.device("meta"))  # as the other half set does, on another GPU
    assert (band.index.device.type, band.weights.device.type) == ("cpu", "cpu")
    assert (elsewhere.index.device.type, elsewhere.weights.device.type) == ("meta", "meta")
    assert len(elsewhere) == len(band)


def test_points_outside_the_image_leave_no_trace_and_get_no_gradient(backend):
    band = Band(16, 2.0, 5.0)
    xy = torch.tensor([[[-300.0, 4.0], [20.0, 400.0], [4.0, 33.0]]], requires_grad=True)
    terms = terms_of(band, xy, torch.ones(1, 3), backend)
    terms.abs().square().sum().backward()
    assert float(terms.detach().abs().sum()) == 0
    assert float(xy.grad.abs().sum()) == 0


def test_a_coordinate_that_is_not_a_number_is_not_hidden(backend):
    band = Band(16, 2.0, 5.0)
    terms = terms_of(band, torch.tensor([[[math.nan, 1.0], [1.0, 2.0]]]), torch.ones(1, 2), backend)
    assert bool(terms.isnan().any())


def test_terms_have_the_gradient_of_finite_differences(generator, backend):
    band = Band(8, 2.0, 6.0)
    band.frequencies = band.frequencies.double()
    xy = (torch.rand(2, 5, 2, generator=generator, dtype=torch.float64) * 6 - 3).requires_grad_()
    amplitudes = torch.rand(2, 5, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda p, a: terms_of(band, p, a, backend), (xy, amplitudes))


@pytest.mark.parametrize("amplitudes", [torch.ones(1, 40), torch.rand(2, 40)])
def test_terms_and_gradients_do_not_depend_on_how_many_images_are_rendered_at_a_time(amplitudes, generator, monkeypatch):
    band = Band(32, 2.0, 5.0)
    xy = (torch.rand(5, 40, 2, generator=generator) * 30 - 15).requires_grad_()

    def both():
        terms = terms_of(band, xy, amplitudes.requires_grad_(), COMPILED_LOOPS)
        return terms.detach(), *torch.autograd.grad(terms.abs().square().sum(), (xy, amplitudes))

    together = both()
    monkeypatch.setattr(compiled_loops, "NUMBERS_IN_CACHE", 1)
    for one_by_one, found in zip(both(), together, strict=True):
        torch.testing.assert_close(one_by_one, found, rtol=1e-4, atol=1e-5 * float(found.abs().max()))


def test_terms_have_the_gradient_of_finite_differences_by_everything_that_moves_a_point(generator, backend):
    band = Band(8, 2.0, 6.0)
    band.frequencies = band.frequencies.double()
    make = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()  # noqa: E731
    positions, coefficients, basis, turns, shifts = make(4, 3), make(2, 3), make(3, 4, 3), make(2, 3, 3), make(2, 2)
    amplitudes = torch.rand(2, 4, generator=generator, dtype=torch.float64)

    def terms(positions, coefficients, basis, turns, shifts):
        seen = Deformed(positions, coefficients, basis)
        return Projector(band, backend=backend)(seen, 0.5 * turns, shifts, amplitudes, len(band))

    assert torch.autograd.gradcheck(terms, (positions, coefficients, basis, turns, shifts))
