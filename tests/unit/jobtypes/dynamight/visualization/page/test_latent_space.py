from __future__ import annotations

import numpy as np
import pytest
import torch

from jobtypes.dynamight.visualization.page import latent_space
from jobtypes.dynamight.visualization.page.halves import map_to_other
from jobtypes.dynamight.visualization.session import Session
from tests.packed import unpacked


@pytest.fixture
def session(flexible_job, forward) -> Session:
    return Session(flexible_job.directory, forward, 1)


def test_the_network_of_the_page_gives_the_coordinates_of_the_session(session: Session) -> None:
    values = session.part.latent_mean.double().numpy()
    layers = latent_space.network_of(session)["layers"]
    for number, layer in enumerate(layers):
        values = values @ unpacked(layer["weight"]).T.astype(float) + unpacked(layer["bias"])
        if number < len(layers) - 1:
            values = np.where(values < 0, np.expm1(values), values)
    assert np.allclose(values, session.coordinates.numpy(), atol=1e-3)


def test_of_many_particles_a_sample_is_shown_with_held_out_ones_and_all_are_counted(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latent_space, "MOST_SHOWN", 12)
    monkeypatch.setattr(latent_space, "MOST_HELD_OUT", 3)
    shown = latent_space.shown_particles(session)
    assert len(shown) <= 12
    assert 1 <= session.part.held_out[shown].sum() <= 3
    content = latent_space.latent_space_of(session, [], n_clusters=2, seed=1)
    assert content["count"] == 30
    assert unpacked(content["rows"]).tolist() == session.part.rows[shown].tolist()
    assert unpacked(content["densities"]["motion 0 1"]["counts"]).sum() == 30
    places = unpacked(content["all"]["places"])
    assert np.allclose(places, session.coordinates[:, :2].numpy(), atol=np.ptp(session.coordinates[:, :2].numpy()) / 4000)
    assert unpacked(content["all"]["rows"]).tolist() == session.part.rows.tolist()


def test_latents_by_the_other_half_belong_to_their_particles(session: Session) -> None:
    content = latent_space.latent_space_of(session, [], n_clusters=2, seed=1)
    held_out = unpacked(content["held_out"]).astype(int)
    assert session.part.held_out[held_out].all()
    assert np.allclose(unpacked(content["latents_by_other"]), session.part.latent_by_other.numpy(), atol=2e-3)


def test_a_half_set_is_its_own_other(session: Session) -> None:
    mapped = map_to_other(session, session).numpy()
    leading = session.motions.rms_angstroms.numpy() > 0.3
    assert np.allclose(mapped[leading][:, leading], np.eye(leading.sum()), atol=0.02)
    assert torch.isfinite(torch.from_numpy(mapped)).all()
