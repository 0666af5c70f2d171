from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from jobtypes.common.volumes import write_volume
from jobtypes.dynamight.model.disagreement import held_out_errors
from jobtypes.dynamight.visualization.half_view import SOURCES, HalfView, open_view
from jobtypes.dynamight.visualization.session import Session
from jobtypes.dynamight.visualization.state_surfaces import CarriedSurfaces, GaussianSurfaces, contour
from relion_jobs.contract.errors import UserError

PIXEL = 4.0


@pytest.fixture
def session(flexible_job, forward) -> Session:
    return Session(flexible_job.directory, forward, 1)


def test_the_contour_of_a_ball_is_a_sphere_where_the_ball_is() -> None:
    axis = (torch.arange(32) - 16) * 2.0
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    mesh = contour(20 - torch.stack((x - 6, y + 4, z - 2)).norm(dim=0), 2.0, 8.0)
    distance = np.linalg.norm(mesh.vertices - (6, -4, 2), axis=1)
    assert abs(distance - 12).max() < 0.1


def test_a_level_that_no_density_reaches_has_no_surface() -> None:
    assert len(contour(torch.rand(8, 8, 8), 1.0, 2.0).faces) == 0


@pytest.mark.parametrize("for_clicks", [False, True])
def test_a_gaussian_surface_is_where_the_state_map_has_the_level(session: Session, for_clicks: bool) -> None:
    surfaces = GaussianSurfaces(session.gaussians, for_clicks=for_clicks)
    coefficients = session.coefficients[3]
    mesh = surfaces.surface(coefficients, surfaces.level)
    state = session.gaussians.state(coefficients).numpy()
    places = mesh.vertices[:, ::-1].T / PIXEL + len(state) // 2
    density = map_coordinates(state, places, order=1)
    assert np.median(abs(density / surfaces.level - 1)) < 0.05


def test_a_carried_surface_moves_as_the_field_does(session: Session) -> None:
    volume = session.gaussians.state(torch.zeros_like(session.coefficients[0]))
    surfaces = CarriedSurfaces(volume, PIXEL, session.model)
    rest = surfaces.surface(torch.zeros_like(session.coefficients[0]), surfaces.level)
    moved = surfaces.surface(session.coefficients[3], surfaces.level)
    expected = session.model.displacement(session.part.latent_mean[3:4], torch.from_numpy(rest.vertices))[0]
    assert np.abs(moved.vertices - rest.vertices - expected.numpy()).max() < 1e-3


def test_a_surface_takes_the_value_of_the_nearest_gaussian(session: Session) -> None:
    mesh = GaussianSurfaces(session.gaussians).surface(session.coefficients[0], 0.001)
    positions = session.model.gaussians.positions
    values = mesh.values_of(positions, positions[:, 0].double().numpy())
    assert np.corrcoef(values, mesh.vertices[:, 0])[0, 1] > 0.9


def test_the_state_at_a_particle_is_its_state(session: Session) -> None:
    view = HalfView(session)
    shown = view.state_at(view.reduction.points[7], view.surfaces.level)
    assert shown.particle == 7
    assert shown.inside
    assert (shown.positions - session.state_positions(session.coordinates[7])).norm(dim=1).max() < 0.5


def test_a_point_far_from_all_particles_is_outside(session: Session) -> None:
    view = HalfView(session)
    assert not view.state_at(np.array((400.0, -300.0)), view.surfaces.level).inside


def test_the_reconstruction_is_refused_before_it_is_made_and_taken_afterwards(session: Session, flexible_job) -> None:
    view = HalfView(session)
    with pytest.raises(UserError, match="no deformed reconstruction yet"):
        view.surfaces_of(SOURCES[1])
    consensus = session.gaussians.state(view.consensus)
    for half in (1, 2):
        write_volume(flexible_job.directory / "backprojection" / f"map_half{half}.mrc", consensus, PIXEL)
    assert len(view.surfaces_of(SOURCES[1]).surface(view.consensus, float(consensus.max()) / 3).faces) > 100


def test_half_set_0_has_the_held_out_particles_with_both_models_states(flexible_job, forward) -> None:
    view = open_view("0: held out of half 2", forward, flexible_job.directory)
    part = forward.halves[2]
    assert view.session.part.rows.tolist() == part.rows[part.held_out].tolist()
    shown = view.state_at(view.reduction.points[2], view.surfaces.level)
    assert shown.other is not None
    assert shown.errors is not None
    motions = view.held_out.motions[2]
    assert np.allclose(shown.errors, motions.difference(2).norm(dim=1))
    errors = view.colouring("held-out error", 4, 1).values
    assert np.allclose(errors, held_out_errors(forward, 2)[part.held_out])
    assert np.isclose(np.sqrt(np.mean(shown.errors**2)), errors[2])
    look = view.gaussian_look(shown, "amplitude")
    assert (look.values == shown.errors).all()
    assert np.allclose(look.sizes, 1 + shown.errors)


def test_gaussians_are_as_large_as_they_are_wide(session: Session) -> None:
    view = HalfView(session)
    look = view.gaussian_look(view.state_at(view.reduction.points[7], view.surfaces.level), "position")
    assert look.values.shape == (150, 3)
    assert np.allclose(look.sizes, 8.0)
