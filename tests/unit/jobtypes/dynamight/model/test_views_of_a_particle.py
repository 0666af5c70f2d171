"""Particles of tilt series in the model: the terms of all images of a particle side by side, against slow sums image by image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import ParticleTable, read_particles
from jobtypes.common.share import Share
from jobtypes.common.team import ALONE
from jobtypes.dynamight.model.backend import COMPILED_LOOPS, WHOLE_TENSORS
from jobtypes.dynamight.model.control_points import ControlPoints
from jobtypes.dynamight.model.deformed import Deformed, undeformed
from jobtypes.dynamight.model.displacement import DisplacementField
from jobtypes.dynamight.model.encoder import Encoder
from jobtypes.dynamight.model.gaussians import GaussianModel
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.likelihood import Likelihood
from jobtypes.dynamight.model.observations import Band, Observations
from jobtypes.dynamight.model.poses import RefinedPoses, corrected
from jobtypes.dynamight.model.projection import Projector
from tests.tilt_project import SET, TiltSet, projection, transfer, write_tilt_project

ATOMS = np.array([[0.0, 0, 0], [9, 2, -4], [-5, 11, 6], [3, -8, 9]])
RESOLUTION = 10.0


def observed(project: Path, made: TiltSet) -> tuple[ParticleTable, Observations]:
    table = read_particles(project / SET, project=project)
    band = Band(made.box, made.pixel, RESOLUTION, table.most_images)
    rows = np.arange(len(table))
    observations = Observations(table, rows, band, torch.ones(made.box, made.box), device=torch.device("cpu"))
    counted: list[int] = []
    observations.read(ParticleImages(table, project), counted.append, batch_size=5)
    assert sum(counted) == table.n_images
    return table, observations


def each_view(terms: torch.Tensor, band: Band) -> torch.Tensor:
    """(b, F, q) of (b, q F)."""
    return terms.unflatten(1, (-1, band.n_views)).transpose(1, 2)


@pytest.mark.parametrize("premultiplied", [True, False])
def test_a_particle_shows_the_terms_of_its_images_and_nothing_in_place_of_others(tmp_path: Path, premultiplied: bool) -> None:
    made = write_tilt_project(tmp_path, TiltSet(ATOMS, premultiplied=premultiplied))
    table, observations = observed(tmp_path, made)
    band = observations.band
    order = torch.tensor([4, 0, 5, 1, 2, 3])
    batch = observations.batch(order)
    spectra, ctf = each_view(batch.spectra, band), each_view(batch.ctf, band)
    assert batch.seen.tolist() == pytest.approx((np.bincount(table.tilts.particle) / band.n_views)[order.numpy()].tolist())
    kx, ky = band.of_view.harmonics.T.numpy()
    for place, particle in enumerate(order.tolist()):
        images = [image for image in made.truth if image["particle"] == particle]
        for view, image in enumerate(images):
            c = transfer(made.box, made.pixel, image, table.optics.amplitude_contrast[table.optics_group[particle]])[ky, kx]
            seen = projection(ATOMS, image["matrix"], image["shift"], box=made.box, pixel=made.pixel, width=made.width)[ky, kx]
            assert spectra[place, view].numpy() == pytest.approx(ctf[place, view].numpy() * seen, abs=4e-3)
            if premultiplied:  # the noise is white again, but where the CTF is small
                large = abs(c) > 0.12 * image["scale"]
                assert ctf[place, view].numpy()[large] == pytest.approx(abs(c)[large], abs=1e-5)
            else:
                assert ctf[place, view].numpy() == pytest.approx(c, abs=1e-5)
        assert not spectra[place, len(images) :].any()
        assert not ctf[place, len(images) :].any()


def test_a_coarser_resolution_is_a_prefix_in_all_views(tmp_path: Path) -> None:
    made = write_tilt_project(tmp_path, TiltSet(ATOMS))
    _, observations = observed(tmp_path, made)
    band, index = observations.band, torch.arange(3)
    n_terms = band.n_terms(16.0)
    assert n_terms == band.n_views * band.of_view.n_terms(16.0) < len(band)
    few, whole = observations.batch(index, n_terms), observations.batch(index)
    assert torch.equal(few.spectra, whole.spectra[:, :n_terms])
    torch.testing.assert_close(few.ctf, whole.ctf[:, :n_terms])


@pytest.mark.parametrize("backend", [COMPILED_LOOPS, WHOLE_TENSORS])
def test_projections_of_views_are_those_of_single_images_with_their_slopes(backend) -> None:
    generator = torch.Generator().manual_seed(1)
    band, single = Band(20, 4.0, 12.0, 3), Band(20, 4.0, 12.0)
    positions, basis = 8 * torch.randn(7, 3, generator=generator), torch.randn(2, 7, 3, generator=generator)
    coefficients = torch.randn(4, 2, generator=generator).requires_grad_()
    matrices = torch.linalg.qr(torch.randn(4, 3, 3, 3, generator=generator)).Q.requires_grad_()
    shifts = torch.randn(4, 3, 2, generator=generator).requires_grad_()
    amplitudes, weights = torch.rand(2, 7, generator=generator), torch.randn(4, 2, len(band), 2, generator=generator)
    inputs = coefficients, matrices, shifts

    def together() -> torch.Tensor:
        return Projector(band, backend=backend)(Deformed(positions, coefficients, basis), matrices, shifts, amplitudes, len(band))

    def one_by_one() -> torch.Tensor:
        each = [
            Projector(single, backend=backend)(
                Deformed(positions, coefficients, basis), matrices[:, view], shifts[:, view], amplitudes, len(single)
            )
            for view in range(3)
        ]
        return torch.stack(each, dim=3).flatten(2)

    found, expected = together(), one_by_one()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    slopes = [torch.autograd.grad((torch.view_as_real(terms) * weights).sum(), inputs) for terms in (found, expected)]
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-2, rtol=1e-3)


def test_points_at_rest_are_seen_in_all_views() -> None:
    band = Band(20, 4.0, 12.0, 2)
    points = undeformed(torch.tensor([[6.0, 0, 0], [0, 3, 9]]), 3)
    matrices = torch.eye(3).expand(3, 2, 3, 3).clone()
    matrices[:, 1] = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    terms = each_view(Projector(band)(points, matrices, torch.zeros(3, 2, 2), torch.ones(1, 2), len(band))[:, 0], band)
    assert terms.shape == (3, 2, len(band.of_view))
    assert not torch.allclose(terms[:, 0], terms[:, 1], atol=0.1)
    assert torch.allclose(terms[0], terms[2])


def small_model(n_particles: int) -> HalfModel:
    generator = torch.Generator().manual_seed(2)
    positions = torch.from_numpy(ATOMS).float()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        field = DisplacementField(n_latent=2, n_fields=3, control_points=ControlPoints.around(positions, 9), width=16)
        encoder = Encoder(6 * torch.randn(11, 3, generator=generator), 2)
    field.set_anchors(positions, torch.ones(len(positions)))
    poses = RefinedPoses(n_particles, 0.02, 1.0, n_shifts=3)
    return HalfModel(GaussianModel(positions, amplitude=1.0, width_angstroms=4.0), field, encoder, poses, torch.ones(2, 9)).eval()


def test_one_pose_moves_all_images_and_its_derivatives_are_right(tmp_path: Path) -> None:
    made = write_tilt_project(tmp_path, TiltSet(ATOMS))
    _, observations = observed(tmp_path, made)
    model, projector = small_model(len(observations)).requires_grad_(False), Projector(observations.band)
    for level in model.field.trunk.levels:
        level.values.copy_(torch.randn(level.values.shape, generator=torch.Generator().manual_seed(6)))
    batch = observations.batch(torch.arange(4))
    target = Likelihood(model, batch, projector, n_terms=len(observations.band), independent_fraction=0.5, move_poses=True)
    unknown = 0.1 * torch.randn(4, 2 + 6, generator=torch.Generator().manual_seed(4))
    columns = target.columns(unknown, target.predict(unknown))
    for place in range(8):
        step = torch.zeros(8)
        step[place] = 0.05 if place < 5 else 1.0  # a shift is worked out exactly, splats move in steps of pixels
        slope = (target.predict(unknown + step) - target.predict(unknown - step)) / (2 * step[place])
        assert float((columns[:, place] - slope).norm() / slope.norm()) < 0.15, place


def test_a_pose_of_space_is_seen_through_each_view() -> None:
    generator = torch.Generator().manual_seed(5)
    views = torch.linalg.qr(torch.randn(2, 3, 3, 3, generator=generator)).Q
    matrices, shifts = torch.linalg.qr(torch.randn(2, 3, 3, generator=generator)).Q, torch.randn(2, 3, generator=generator)
    corrections = torch.cat((0.1 * torch.randn(2, 3, generator=generator), torch.randn(2, 3, generator=generator)), dim=1)
    turned, moved = corrected(corrections, matrices, shifts)
    seen, at = corrected(corrections, matrices, shifts, views)
    point = torch.tensor([1.0, 2, 3])
    for view in range(3):
        expected = (views[:, view] @ (turned @ point + moved)[:, :, None])[:, :2, 0]
        torch.testing.assert_close((seen[:, view] @ point)[:, :2] + at[:, view], expected)


def test_the_encoder_reads_all_images_each_where_its_probes_are_seen(tmp_path: Path) -> None:
    made = write_tilt_project(tmp_path, TiltSet(ATOMS))
    _, observations = observed(tmp_path, made)
    model, projector, band = small_model(len(observations)), Projector(observations.band), observations.band
    batch = observations.batch(torch.arange(6))
    with torch.no_grad():
        model.noise_power.fill_(0.5)
        known = model.encode(batch, projector, len(band))
        # images that are none change nothing, whatever stands in their place
        no_view = ~batch.views.flatten(2).any(2)
        assert no_view.any()
        spectra = batch.spectra.unflatten(1, (-1, band.n_views)).transpose(1, 2).clone()
        spectra[no_view] = 9.0
        other = model.encode(type(batch)(**{**vars(batch), "spectra": spectra.transpose(1, 2).flatten(1)}), projector, len(band))
    assert torch.allclose(known.mean, other.mean)
    assert known.mean.std(0).min() > 1e-3


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_process_reads_the_images_of_its_own_particles(tmp_path: Path, on_disk: bool) -> None:
    made = write_tilt_project(tmp_path, TiltSet(ATOMS))
    table, whole = observed(tmp_path, made)
    owned = torch.tensor([True, False, True, True, False, True])
    mask, rows = torch.ones(made.box, made.box), np.arange(len(table))
    scratch = tmp_path / "spectra" if on_disk else None
    share = Share(owned, ALONE)
    part = Observations(table, rows, whole.band, mask, device=torch.device("cpu"), scratch=scratch, share=share)
    part.read(ParticleImages(table, tmp_path), lambda count: None)
    assert len(part.spectra) == int(owned.sum()) * whole.band.n_views
    own = torch.tensor([5, 0, 3])
    torch.testing.assert_close(part.batch(own).spectra, whole.batch(own).spectra, atol=1e-4, rtol=1e-3)
    assert torch.equal(part.batch(own).ctf, whole.batch(own).ctf)
