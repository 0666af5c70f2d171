from __future__ import annotations

import numpy as np
import pytest
import torch

from jobtypes.dynamight.visualization.colourings import PARTICLE_COLOURINGS, location_of_motion
from jobtypes.dynamight.visualization.reductions import reduce
from jobtypes.dynamight.visualization.session import Session
from jobtypes.dynamight.visualization.trajectories import smooth_path
from relion_jobs.contract.errors import UserError


@pytest.fixture
def session(flexible_job, forward) -> Session:
    return Session(flexible_job.directory, forward, 1)


def test_distances_along_the_main_motions_are_rms_distances_of_gaussians(session: Session) -> None:
    weights = session.model.gaussians.amplitudes
    moved = session.model.displacement(session.part.latent_mean[:2])
    squared = (moved[0] - moved[1]).square().sum(1)
    rms = ((weights * squared).sum() / weights.sum()).sqrt()
    assert float((session.coordinates[0] - session.coordinates[1]).norm()) == pytest.approx(float(rms), rel=1e-3)


def test_coordinates_lead_back_to_the_state(session: Session) -> None:
    for particle in (0, 7):
        positions = session.state_positions(session.coordinates[particle])
        expected = (
            session.model.gaussians.positions + session.model.displacement(session.part.latent_mean[particle : particle + 1])[0]
        )
        assert (positions - expected).norm(dim=1).max() < 0.02


def test_a_latent_is_shown_as_its_particle(session: Session) -> None:
    assert torch.allclose(session.latent_states(session.part.latent_mean[4:5]), session.coordinates[4:5], atol=1e-4)


def test_main_motions_are_uncorrelated_and_sorted(session: Session) -> None:
    centred = session.coordinates - session.coordinates.mean(0)
    covariance = centred.T @ centred / len(centred)
    assert torch.allclose(covariance, torch.diag(session.motions.rms_angstroms.square()), atol=1e-3)
    assert bool((session.motions.rms_angstroms.diff() <= 0).all())


def test_a_traversal_runs_evenly_through_the_data(session: Session) -> None:
    path = session.traversal(0, 9)
    along = session.coordinates[:, 0].numpy()
    assert torch.allclose(path[:, 0].diff(), path[:, 0].diff()[0].expand(8), atol=1e-4)
    assert float(path[0, 0]) == pytest.approx(np.percentile(along, 2), abs=1e-4)
    assert float(path[-1, 0]) == pytest.approx(np.percentile(along, 98), abs=1e-4)
    nearest = torch.cdist(path, session.coordinates).min(1).values
    assert nearest.max() < session.motions.rms_angstroms[0]  # every state is like some particle


def test_a_motion_that_is_not_there_is_refused(session: Session) -> None:
    with pytest.raises(UserError, match="Motion 9 was asked for, but half 1 has"):
        session.traversal(8, 3)


def test_clusters_are_numbered_along_the_first_motion(session: Session) -> None:
    clusters = session.clusters(4, seed=0)
    assert bool((clusters.centres[:, 0].diff() > 0).all())
    assert [int(clusters.labels[particle]) for particle in clusters.particles] == [0, 1, 2, 3]


def test_more_clusters_than_particles_are_as_many_as_particles(session: Session) -> None:
    assert len(session.clusters(500, seed=0)) == 30


def test_latents_that_are_the_same_for_all_particles_are_no_part_of_a_drawing():
    generator = np.random.default_rng(0)
    told, coordinates = generator.random((50, 2)), generator.random((50, 2))
    latents = np.zeros((50, 4))
    latents[:, [1, 3]] = told
    drawn, alone = (reduce(coordinates, values, "ica").points for values in (latents, told))
    assert np.allclose(drawn, alone)
    latents[:, 1] = 0
    single = reduce(coordinates[:, :1], latents, "ica")
    assert single.labels == ("main motion 1 (Å)", "latent 4")
    assert np.array_equal(single.points, np.column_stack((coordinates[:, 0], latents[:, 3])))


@pytest.mark.parametrize(
    ("method", "label"), [("pca", "main motion 1 (Å)"), ("ica", "independent component 1"), ("raw", "latent 1")]
)
def test_a_reduction_has_two_named_dimensions(session: Session, method: str, label: str) -> None:
    reduction = session.reduction(method)
    assert reduction.points.shape == (30, 2)
    assert reduction.labels[0] == label
    assert np.isfinite(reduction.points).all()


def test_a_reduction_that_is_not_there_is_refused(session: Session) -> None:
    with pytest.raises(UserError, match="expected one of pca, umap, ica, raw"):
        session.reduction("tsne")
    with pytest.raises(UserError, match="Dimension 3 was asked for, but there are 2 latent dimensions"):
        session.reduction("raw", dimensions=(0, 2))


@pytest.mark.parametrize("method", ["pca", "raw"])
def test_a_particle_pointed_at_shows_nearly_its_own_state(session: Session, method: str) -> None:
    reduction = session.reduction(method)
    states = session.states_at(reduction, reduction.points)
    assert torch.allclose(states[:, :2], session.coordinates[:, :2], atol=1e-3 if method == "pca" else 1.0)
    assert not session.outside(states).all()


def test_states_far_from_all_particles_are_outside(session: Session) -> None:
    far = session.coordinates.mean(0) + 100 * torch.eye(session.coordinates.shape[1])
    assert session.outside(far).all()
    assert not session.outside(session.coordinates).any()


def test_a_smooth_path_goes_through_its_corners_in_equal_steps() -> None:
    corners = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 0.0], [3.0, 4.0]])
    path = smooth_path(corners, 71)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert np.allclose(path[[0, -1]], corners[[0, -1]])
    assert np.linalg.norm(path - corners[1], axis=1).min() < 0.06
    assert steps.max() < 1.02 * steps.min() + 0.01
    with pytest.raises(UserError, match="at least 2 different points"):
        smooth_path(corners[1:3], 5)


@pytest.mark.parametrize("name", PARTICLE_COLOURINGS)
def test_every_colouring_has_a_value_or_a_colour_for_each_particle(session: Session, name: str) -> None:
    found = session.colouring(name, session.reduction(), session.clusters(3, 1))
    assert (found.values is None) != (found.colours is None)
    if found.colours is not None:
        assert found.colours.shape == (30, 3)
        assert found.colours.min() >= 0
        assert found.colours.max() <= 1
    else:
        assert np.isfinite(found.values).all() or name == "held-out error"


def test_the_motion_is_located_where_the_gaussians_move(session: Session) -> None:
    positions, amplitudes = session.model.gaussians.positions, session.model.gaussians.amplitudes
    mean = session.model.displacement(session.part.latent_mean).mean(0)
    squared = (session.model.displacement(session.part.latent_mean[5:6])[0] - mean).square().sum(1) * amplitudes
    expected = (squared[:, None] * positions).sum(0) / squared.sum()
    assert np.allclose(location_of_motion(session.part)[5], expected.numpy(), atol=0.05)


def test_the_least_moved_particle_is_the_one_nearest_to_the_consensus(session: Session) -> None:
    rms = session.model.displacement(session.part.latent_mean).square().sum(2).mean(1)
    assert session.least_moved == int(rms.argmin())


def test_particles_and_gaussians_are_coloured_by_their_parts(job_with_parts) -> None:
    session = Session.open(job_with_parts.directory, 1)
    there = session.colouring("occupancy", session.reduction()).values
    of_parts = session.gaussian_colouring("part", session.coordinates[0]).values
    members = session.model.parts.membership[0].numpy() > 0
    amplitudes = session.model.gaussians.amplitudes.numpy()
    share = amplitudes[members].sum() / amplitudes.sum()
    assert there[:3] == pytest.approx(1 - share * np.array([0.95, 0.05, 0.05]), abs=1e-4)
    assert of_parts.tolist() == np.where(members, 1, 2).tolist()
