"""Saved states against the true volumes of a simulated molecule: place, hand, pixel size, conformation."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from torch import Tensor

from jobtypes.dynamight.model.result import ForwardResult, HalfResult
from jobtypes.dynamight.visualization.saving import save_map
from jobtypes.dynamight.visualization.session import Session
from jobtypes.simulate.job import JOB_TYPE
from jobtypes.simulate.task import run
from jobtypes.simulate.truth import Truth, read_truth
from relion_jobs.contract.options import parse_values
from tests.true_model import true_model

TINY = {
    "nr_particles": "80",
    "box_size": "32",
    "angpix": "5",
    "core_mass": "20",
    "arm_share": "0.3",
    "amplitude": "25",
    "snr": "1",
    "nr_threads": "1",
}


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory, recording_job) -> Truth:
    job = recording_job(tmp_path_factory.mktemp("simulated"), "External/job001")
    run(parse_values(JOB_TYPE.options, TINY), job)
    return read_truth(job.project / job.directory)


@pytest.fixture
def session(truth: Truth, tmp_path: Path) -> Session:
    model, n = true_model(truth), len(truth.coordinates)
    latents = torch.from_numpy(truth.coordinates - truth.consensus_coordinates).float()
    rms = model.displacement(latents).square().sum(2).mean(1).sqrt()
    part = HalfResult(
        1, model, np.arange(n), np.zeros(n, bool), latents, torch.zeros_like(latents), torch.eye(3).expand(n, 3, 3),
        torch.zeros(n, 2), rms, torch.ones(n), torch.ones(n), torch.ones(n, 0),
    )  # fmt: skip
    renderer = truth.renderer
    forward = ForwardResult(
        {1: part}, "x", renderer.box, renderer.pixel_size_angstroms, "p.star", 100.0, 5.0, 1, tmp_path / "c.pth"
    )
    return Session(tmp_path, forward, 1)


def correlation(first: Tensor, second: Tensor, mask: Tensor) -> float:
    a, b = (volume[mask > 0.5] - volume[mask > 0.5].mean() for volume in (first, second))
    return float((a * b).sum() / (a.norm() * b.norm()))


@pytest.mark.parametrize("coordinate", [0.05, 0.95])
def test_a_saved_state_is_the_true_volume_of_that_state(truth: Truth, session: Session, coordinate: float) -> None:
    latent = torch.tensor([[coordinate - truth.consensus_coordinates[0]]]).float()
    path, portrait = save_map(session, session.latent_states(latent)[0])
    assert not portrait.outside
    with mrcfile.open(path) as file:
        saved = torch.from_numpy(file.data.copy())
        assert float(file.voxel_size.x) == truth.renderer.pixel_size_angstroms
        assert (file.header.origin.x, file.header.nxstart, file.header.nzstart) == (0, 0, 0)
    arm = torch.maximum(truth.mobile_mask(np.array([0.05])), truth.mobile_mask(np.array([0.95])))
    right, wrong = truth.render(np.array([coordinate])), truth.render(np.array([1 - coordinate]))
    assert correlation(saved, right, arm) > 0.85
    assert correlation(saved, right, arm) > correlation(saved, wrong, arm) + 0.3
    everywhere = torch.ones_like(saved)
    assert correlation(saved, right, everywhere) > 0.9
    for axis in range(3):  # of another hand, or a voxel away
        assert correlation(saved.flip(axis).roll(1, axis), right, everywhere) < correlation(saved, right, everywhere) - 0.05
        assert correlation(saved.roll(1, axis), right, everywhere) < correlation(saved, right, everywhere)


def test_a_traversal_goes_from_one_end_of_the_true_motion_to_the_other(truth: Truth, session: Session) -> None:
    first, last = (session.state_map(state) for state in session.traversal(0, 2))
    arm = torch.maximum(truth.mobile_mask(np.array([0.05])), truth.mobile_mask(np.array([0.95])))
    ends = [truth.render(np.array([t])) for t in (0.05, 0.95)]
    table = np.array([[correlation(state, end, arm) for end in ends] for state in (first, last)])
    assert min(table.max(1)) > 0.75
    assert set(table.argmax(1)) == {0, 1}
