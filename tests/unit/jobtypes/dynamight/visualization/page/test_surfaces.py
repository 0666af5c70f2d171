from __future__ import annotations

import numpy as np
import pytest
import torch

from jobtypes.common.volumes import write_volume
from jobtypes.dynamight.visualization.page import surfaces
from jobtypes.dynamight.visualization.page.surfaces import ConsensusMap, consensus_map, contoured, surfaces_of
from jobtypes.dynamight.visualization.session import Session
from tests.packed import unpacked


@pytest.fixture
def session(flexible_job, forward) -> Session:
    return Session(flexible_job.directory, forward, 1)


def ball(box: int = 40, radius: float = 12.0) -> torch.Tensor:
    axis = torch.arange(box) - box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return (radius - (x**2 + y**2 + z**2).float().sqrt()).clamp(min=0)


def test_fewer_triangles_leave_a_ball_a_ball() -> None:
    whole = contoured(ConsensusMap(ball(), 2.0, ""), 4.0, 10**6)
    fewer = contoured(ConsensusMap(ball(), 2.0, ""), 4.0, 300)
    assert len(fewer.vertices) <= 320 < len(whole.vertices)
    radii = np.linalg.norm(fewer.vertices, axis=1)
    assert radii == pytest.approx(16.0, abs=0.8)


def test_vertices_move_as_the_model_says_after_packing(session: Session) -> None:
    for surface in surfaces_of(session, None):
        vertices = torch.from_numpy(unpacked(surface["vertices"])).float()
        motions = np.stack([unpacked(motion) for motion in surface["motions"]])
        for particle in (0, 7):
            moved = unpacked(surface["mean"]) + np.einsum("d,dmc->mc", session.coordinates[particle].numpy(), motions)
            expected = session.model.displacement(session.part.latent_mean[particle][None], vertices)[0].numpy()
            assert np.abs(moved - expected).max() < 0.05
    assert surface["name"] == "tight"


def test_the_deformed_map_is_shown_where_there_is_one(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Gaussians" in consensus_map(session).words
    for half in (1, 2):
        write_volume(session.job_directory / f"backprojection/map_half{half}.mrc", ball(24, 8.0), 4.0)
    whole = consensus_map(session)
    assert "half map" in whole.words
    monkeypatch.setattr(surfaces, "_LARGEST_GRID", 16)
    binned = consensus_map(session)
    assert (binned.volume.shape[0], binned.pixel_size_angstroms) == (16, 6.0)
    assert float(binned.volume.mean()) == pytest.approx(float(whole.volume.mean()), rel=1e-4)


def test_parts_and_what_is_known_of_the_half_sets_are_at_the_vertices(job_with_parts) -> None:
    from jobtypes.dynamight.model.result import load_centred_result
    from jobtypes.dynamight.visualization.held_out import held_out_particles

    forward = load_centred_result(job_with_parts.directory)
    surface = next(surfaces_of(Session(job_with_parts.directory, forward, 1), held_out_particles(forward)))
    (share,) = (unpacked(part) for part in surface["parts"])
    vertices = unpacked(surface["vertices"])
    assert set(np.unique(share.round(3))) == {0.0, 1.0}
    assert vertices[share > 0.5, 0].mean() > 20
    assert set(surface["colours"]) == {"mobility", "disagreement"}
