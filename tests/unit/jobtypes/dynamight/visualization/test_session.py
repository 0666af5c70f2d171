from __future__ import annotations

import numpy as np
import pytest
import torch

from jobtypes.dynamight.visualization.session import Session
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
    assert torch.allclose(session.latent_state(session.part.latent_mean[4]), session.coordinates[4], atol=1e-4)


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


@pytest.mark.parametrize(("method", "label"), [("pca", "main motion 1 (Å)"), ("ica", "independent component 1")])
def test_an_embedding_has_two_named_dimensions(session: Session, method: str, label: str) -> None:
    points, labels = session.embedding(method, seed=0)
    assert points.shape == (30, 2)
    assert labels[0] == label
    assert np.isfinite(points).all()


def test_the_least_moved_particle_is_the_one_nearest_to_the_consensus(session: Session) -> None:
    rms = session.model.displacement(session.part.latent_mean).square().sum(2).mean(1)
    assert session.least_moved == int(rms.argmin())
