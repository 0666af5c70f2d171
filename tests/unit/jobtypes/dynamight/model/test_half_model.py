"""A half model's prediction against exact float64 sums, and what its encoder sees of a turned image."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.model.backend import COMPILED_LOOPS
from jobtypes.dynamight.model.control_points import ControlPoints
from jobtypes.dynamight.model.displacement import DisplacementField
from jobtypes.dynamight.model.encoder import Encoder
from jobtypes.dynamight.model.gaussians import GaussianModel
from jobtypes.dynamight.model.half_model import HalfModel, Posterior, real_space
from jobtypes.dynamight.model.observations import Band, ObservedBatch
from jobtypes.dynamight.model.parts import Parts
from jobtypes.dynamight.model.poses import RefinedPoses
from jobtypes.dynamight.model.projection import Projector

PIXEL = 4.0
MATRICES = euler_matrices(torch.tensor([[20.0, 50.0, -70.0], [130.0, 110.0, 15.0], [-40.0, 75.0, 160.0]]))
SHIFTS = torch.tensor([[3.0, -5.0], [0.0, 0.0], [-6.5, 2.0]])


@pytest.fixture
def model() -> HalfModel:
    torch.manual_seed(0)
    positions = 9 * torch.randn(40, 3)
    gaussians = GaussianModel(positions, amplitude=2.0, width_angstroms=4.0, n_widths=3)
    with torch.no_grad():
        gaussians.raw_amplitudes.normal_()
        gaussians.width_logits.normal_()
    field = DisplacementField(n_latent=2, n_fields=3, control_points=ControlPoints.around(positions, 9))
    field.set_anchors(positions, torch.ones(40))
    return HalfModel(gaussians, field, Encoder(positions[::4].clone(), 2), RefinedPoses(3, 0.01, 1.0), torch.ones(1, 13)).eval()


def exact_terms(model: HalfModel, band: Band, matrices: Tensor, shifts: Tensor) -> Tensor:
    """(b, q) Fourier terms in float64, a sum over every Gaussian and width."""
    g = model.gaussians
    frequencies = band.harmonics.double() / band.box_length_angstroms
    xy = torch.einsum("bij,nj->bni", matrices.double(), g.positions.double())[..., :2] + shifts.double()[:, None]
    waves = torch.exp(-2j * math.pi * torch.einsum("qi,bni->bqn", frequencies, xy))
    squared = frequencies.square().sum(1)
    terms = torch.zeros(len(matrices), len(band), dtype=torch.complex128)
    for width, amplitudes in zip(g.widths_angstroms.double(), g.class_amplitudes().double(), strict=True):
        terms = terms + torch.exp(-2 * math.pi**2 * width**2 * squared) * (waves * amplitudes).sum(2)
    return terms.detach()


def test_a_model_that_is_made_anew_at_a_state_has_the_same_states_under_latents_less_that_one(model):
    with torch.no_grad():
        model.field.trunk.levels[0].values.normal_()
    latents, chosen = torch.randn(5, 2), torch.tensor([0.6, -0.4])
    images = torch.randn(3, 14, 14)
    readings = (images, 1 / PIXEL, MATRICES[:3], SHIFTS[:3], Projector(Band(24, PIXEL, 20.0)).backend)
    before = model.deformed(latents).displacements() + model.gaussians.positions
    guessed, _ = model.encoder(*readings)
    model.make_anew(chosen)
    model.field.set_anchors(model.gaussians.positions, torch.ones(40))
    assert torch.allclose(model.encoder(*readings)[0], guessed - chosen, atol=1e-5)
    assert float(model.displacement(torch.zeros(1, 2)).detach().norm()) < 1e-5
    after = model.deformed(latents - chosen).displacements() + model.gaussians.positions
    moved = (before - before.mean(0)).norm()
    assert float((after - before).detach().norm()) < 0.1 * float(moved.detach())


@pytest.mark.parametrize("box", [24, 25])
@pytest.mark.parametrize(("oversampling", "largest_error"), [(2.0, 0.02), (6.0, 0.002)])
def test_a_projection_is_the_sum_over_all_gaussians_and_widths(model, box, oversampling, largest_error):
    band = Band(box, PIXEL, 20.0)
    projector = Projector(band, oversampling=oversampling)
    found = model.project(model.at_rest(len(MATRICES)), MATRICES, SHIFTS, projector, len(band)).detach()
    exact = exact_terms(model, band, MATRICES, SHIFTS)
    assert float((found - exact).norm() / exact.norm()) < largest_error


def test_the_divergence_is_the_integral_of_the_log_ratio():
    posterior = Posterior(torch.tensor([[0.7, -0.2]]), torch.tensor([[-1.3, 0.4]]))
    z = torch.linspace(-14, 14, 200_001, dtype=torch.float64)
    expected = 0.0
    for mean, log_variance in zip(posterior.mean[0].double(), posterior.log_variance[0].double(), strict=True):
        log_q = -0.5 * (z - mean).square() / log_variance.exp() - 0.5 * log_variance
        expected += float(torch.trapezoid(log_q.exp() * (log_q + 0.5 * z.square()), z)) / math.sqrt(2 * math.pi)
    assert float(posterior.divergence()) == pytest.approx(expected, rel=1e-5)


def test_draws_have_the_mean_and_variance_of_the_posterior():
    posterior = Posterior(torch.full((40_000, 1), 0.5), torch.full((40_000, 1), math.log(0.09)))
    draws = posterior.sample(torch.randn(40_000, 1, generator=torch.Generator().manual_seed(0)))
    assert float(draws.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(draws.std()) == pytest.approx(0.3, abs=0.005)


@pytest.mark.parametrize("box", [24, 25])
def test_terms_of_unit_power_give_images_of_unit_variance(box):
    band = Band(box, PIXEL, 10.0)
    noise = torch.randn(300, len(band), 2, generator=torch.Generator().manual_seed(0)) / 2**0.5
    terms = torch.view_as_complex(noise)
    # both terms of a pair on the axis kx = 0 belong to one real image
    place = {tuple(pair): index for index, pair in enumerate(band.harmonics.tolist())}
    for (kx, ky), index in place.items():
        if kx == 0 and ky > 0:
            terms[:, place[0, -ky]] = terms[:, index].conj()
    images, _ = real_space(terms, band, len(band))
    full = 2 * float(band.weights.sum())  # terms of the whole plane; those on the axis are two in the band for two in the plane
    assert float(images.var()) == pytest.approx(full / (2 * len(band)), rel=0.01)
    assert float(images.var()) == pytest.approx(1.0, abs=0.12)


def test_a_wave_is_drawn_where_it_crests(model):
    band = Band(24, PIXEL, 10.0)
    x, y = 10.0, -14.0
    terms = torch.exp(-2j * math.pi * (band.frequencies @ torch.tensor([x, y])))[None]
    images, pixels_per_angstrom = real_space(terms, band, len(band))
    size = images.shape[-1]
    row, column = divmod(int(images[0].argmax()), size)
    assert column == round(x * pixels_per_angstrom) + size // 2
    assert row == round(y * pixels_per_angstrom) + size // 2


def moved_terms(model: HalfModel, band: Band, matrices: Tensor, shifts: Tensor) -> Tensor:
    """(b, q) terms of a state that is not the consensus, from the exact sum."""
    with torch.no_grad():
        consensus = model.gaussians.positions.clone()
        model.gaussians.positions[::3] += torch.tensor([4.0, -2.0, 3.0])
        terms = exact_terms(model, band, matrices, shifts).to(torch.complex64)
        model.gaussians.positions.copy_(consensus)
    return terms


def turned_in_the_plane(degrees: float) -> tuple[Tensor, Tensor]:
    """The poses after the images have been turned."""
    turn = euler_matrices(torch.tensor([0.0, 0.0, degrees]))
    return turn @ MATRICES, SHIFTS @ turn[:2, :2].T


def batch_of(model: HalfModel, band: Band, matrices: Tensor, shifts: Tensor) -> ObservedBatch:
    return ObservedBatch(
        index=torch.arange(3),
        spectra=moved_terms(model, band, matrices, shifts),
        ctf=torch.ones(3, len(band)),
        matrices=matrices,
        shifts=shifts,
        group=torch.zeros(3, dtype=torch.long),
        seen=torch.ones(3),
    )


@pytest.mark.parametrize("degrees", [90.0, 180.0, 270.0])
def test_the_latent_does_not_depend_on_how_the_image_lies_in_its_plane(model, degrees):
    band = Band(24, PIXEL, 14.0)
    projector = Projector(band)
    lying = model.encode(batch_of(model, band, MATRICES, SHIFTS), projector, len(band)).mean
    standing = model.encode(batch_of(model, band, *turned_in_the_plane(degrees)), projector, len(band)).mean
    assert torch.allclose(lying, standing, atol=0.02)
    assert float(lying.detach().std(0).mean()) > 0.2  # between particles of other views


def test_probes_read_the_same_after_any_turn_up_to_interpolation_between_pixels(model):
    band = Band(24, PIXEL, 14.0)
    readings = []
    for matrices, shifts in ((MATRICES, SHIFTS), turned_in_the_plane(35.0)):
        terms = moved_terms(model, band, matrices, shifts) - exact_terms(model, band, matrices, shifts).to(torch.complex64)
        image = real_space(terms, band, len(band))
        readings.append(model.encoder.read(*image, matrices, shifts, COMPILED_LOOPS).flatten())
    assert float(torch.corrcoef(torch.stack(readings))[0, 1]) > 0.93


@pytest.mark.parametrize("step", ["encode", "displacement", "project", "n_terms", "points"])
def test_no_step_takes_the_default_device_for_that_of_its_data(model, step):
    band = Band(24, PIXEL, 14.0)
    projector, batch = Projector(band), batch_of(model, band, MATRICES, SHIFTS)
    latent, points = torch.ones(3, 2), torch.randn(20, 3)
    points_at_rest = model.at_rest(len(MATRICES))
    steps = {
        "encode": lambda: model.encode(batch, projector, len(band)).mean,
        "displacement": lambda: model.displacement(latent),
        "project": lambda: model.project(points_at_rest, MATRICES, SHIFTS, projector, len(band)).abs(),
        "n_terms": lambda: band.n_terms(16.0),
        "points": lambda: model.displacement(latent, points),
    }
    expected = steps[step]()
    # as on a GPU, what is made here without naming a device cannot be mixed with the data
    with torch.device("meta"):
        found = steps[step]()
    assert torch.equal(torch.as_tensor(found), torch.as_tensor(expected))


@torch.no_grad()
def test_a_reference_counts_from_the_one_before(model):
    model.field.trunk.levels[0].values.normal_()
    latents = torch.randn(4, 2)
    places = model.displacement(latents) + model.gaussians.positions
    for first in latents[:3, None]:
        model.set_reference(model.field.coefficients(first)[0])
        torch.testing.assert_close(model.displacement(latents) + model.gaussians.positions, places, atol=1e-4, rtol=0)
        assert float(model.field.coefficients(first).abs().max()) < 1e-6


@torch.no_grad()
def test_particles_without_what_they_lack_are_their_parts_added_up(model):
    band = Band(24, PIXEL, 20.0)
    projector, index = Projector(band), torch.tensor([2, 0, 2])
    matrices, shifts, points = MATRICES[index], SHIFTS[index], model.deformed(torch.randn(3, 2))
    seen = (points, matrices, shifts, projector, len(band))
    whole = model.project_present(*seen, index)
    torch.testing.assert_close(whole, model.project(*seen))
    model.parts = Parts(3, 40)
    for number in (0, 1):
        model.parts.add(torch.arange(40) % 4 == number, 0.7)
    model.parts.presence.copy_(torch.tensor([[1.0, 0.2], [0.5, 0.5], [0.0, 0.9]]))
    expected = model.parts.assembled(model.project_parts(*seen), index)
    torch.testing.assert_close(model.project_present(*seen, index), expected, rtol=1e-4, atol=1e-4)
    assert float((whole - expected).abs().max()) > 1
