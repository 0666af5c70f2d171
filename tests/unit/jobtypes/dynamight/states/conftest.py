"""A simulated molecule with one swinging arm, and a training that knows its motion, half 2 with latents of the other sign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobtypes.common.particles import read_particles
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.model.result import ForwardResult, HalfResult
from jobtypes.dynamight.states import task
from jobtypes.dynamight.visualization.session import Session
from jobtypes.simulate.job import JOB_TYPE
from jobtypes.simulate.task import run
from jobtypes.simulate.truth import Truth, read_truth
from relion_jobs.contract.options import parse_values
from tests.true_model import true_model

SMALL = {
    "nr_particles": "240",
    "box_size": "32",
    "angpix": "5",
    "core_mass": "20",
    "arm_share": "0.3",
    "amplitude": "25",
    "snr": "0.5",
    "nr_threads": "1",
}
SPREAD = 0.05  # of the posterior of a coordinate


@dataclass
class Swinging:
    """A project in which the motion is known.

    Attributes
    ----------
    truth, forward
        What is so, and a training that knows it.
    job_class
        Of the jobs in it.
    """

    truth: Truth
    forward: ForwardResult
    job_class: Any
    project: Path

    def job(self, name: str = "DynaMight/job002", **options: int) -> Any:
        return self.job_class(self.project, self.project / name, is_continue=True, **options)

    def run(self, job: Any, **values: object) -> None:
        given = {"fn_star": self.forward.star_file, "n_states": 2, "max_bins": 4, "backproject_batchsize": 50, "nr_threads": 1}
        task.run({**given, **values}, job)  # type: ignore[arg-type]

    def session(self, half: int) -> Session:
        return Session(self.project, self.forward, half)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory, recording_job: Any) -> Truth:
    job = recording_job(tmp_path_factory.mktemp("swinging"), "External/job001")
    run(parse_values(JOB_TYPE.options, SMALL), job)
    return read_truth(job.project / job.directory)


@pytest.fixture
def make_swinging(
    simulated: Truth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording_job: Any
) -> Callable[..., Swinging]:
    """Build a project: make_swinging(believed=coordinates that the training gives to the particles; None: the true ones)."""

    def make(believed: np.ndarray | None = None) -> Swinging:
        (tmp_path / "External").symlink_to(simulated.directory.parents[1])  # type: ignore[union-attr]
        star_file = "External/job001/particles.star"
        table = read_particles(tmp_path / star_file, project=tmp_path)
        latents = torch.from_numpy((simulated.coordinates if believed is None else believed) - simulated.consensus_coordinates)
        halves = {half: half_result(simulated, table, latents.float(), half) for half in (1, 2)}
        pixel = simulated.renderer.pixel_size_angstroms
        forward = ForwardResult(halves, "truth", simulated.renderer.box, pixel, star_file, 100.0, 1, Path("truth.pth"))
        monkeypatch.setattr(task, "load_centred_result", lambda *_: forward)
        return Swinging(simulated, forward, recording_job, tmp_path)

    return make


def half_result(truth: Truth, table: Any, latents: torch.Tensor, half: int) -> HalfResult:
    """One half set; the model of the second has the latents of the first with the other sign."""
    sign = 3.0 - 2.0 * half
    rows = np.flatnonzero(table.half == half)
    n, model = len(rows), true_model(truth, sign)
    return HalfResult(
        half,
        model,
        rows,
        np.zeros(n, bool),
        sign * latents[rows],
        torch.full((n, 1), 2 * float(np.log(SPREAD))),
        euler_matrices(torch.tensor(table.angles_degrees[rows])).float(),
        -torch.tensor(table.origins_angstroms[rows]).float(),
        model.displacement(sign * latents[rows]).square().sum(2).mean(1).sqrt(),
        quality=torch.ones(n),
        scale=torch.ones(n),
        presence=torch.ones(n, 0),
    )


@pytest.fixture
def swinging(make_swinging: Callable[..., Swinging]) -> Swinging:
    """The project whose training is right."""
    return make_swinging()


@pytest.fixture
def centred_elsewhere(swinging: Swinging) -> Swinging:
    """The same where the second half has another conformation as consensus."""
    other = swinging.forward.halves[2]
    other.model.set_reference(other.model.field.coefficients(torch.tensor([[-0.2]]))[0])
    return replace(swinging)
