"""Scores against numbers of an independent program.

A tiny simulated set and a made-up result (true motion shrunk, noise added) were scored by the scorer that belongs to the adk64
reference set, which reads the same files; its numbers are recorded here. On adk64 itself the two agree in all four digits.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jobtypes.common.volumes import read_volume
from jobtypes.simulate.job import JOB_TYPE
from jobtypes.simulate.latent_measures import score_latents
from jobtypes.simulate.map_measures import score_maps
from jobtypes.simulate.motion_measures import score_deformation, true_displacements
from jobtypes.simulate.task import run
from jobtypes.simulate.truth import Truth, read_truth
from relion_jobs.contract.options import parse_values

OPTIONS = {
    "nr_particles": "160",
    "box_size": "36",
    "angpix": "5",
    "core_mass": "25",
    "nr_arms": "2",
    "nr_motions": "2",
    "arm_share": "0.35",
    "amplitude": "18",
    "snr": "0.5",
    "seed": "5",
    "nr_threads": "1",
}
RECORDED_MOTION = {
    "reference": [0.4, 0.35],
    "everything": (290, 0.7235, 0.8038, 1.865, 3.546, 3.335),
    "moving": (95, 0.8767, 0.8035, 2.136, 6.084, 5.199),
}
RECORDED_LATENTS = {"linear": (0.7916, 0.7037), "neighbours": (0.4028, 0.3029), "view": -0.0808}
RECORDED_MAPS = {"half": [0.8503, 0.7843, 0.9396, 0.7899, 0.7908], "truth/oracle_half": [0.9502, 0.9581, 0.9559, 0.9581, 0.846]}


def make_set(project: Path) -> Path:
    """Simulate; returns the job directory."""

    def ignore(*_: object, **__: object) -> None:
        return None

    job = SimpleNamespace(project=project, directory=Path("External/job001"), report=ignore, progress=ignore, check_abort=ignore)
    run(parse_values(JOB_TYPE.options, OPTIONS), job)
    return project / job.directory


def make_result(truth: Truth) -> dict[str, np.ndarray]:
    """Files of half 1, by name."""
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(truth.half == 1)
    t = truth.coordinates[rows]
    latent = np.column_stack([np.sin(2 * t) + rng.normal(0, 0.1, t.shape), rng.normal(size=len(t))])
    here = truth.positions(truth.consensus_coordinates - 0.1)
    points = here[rng.choice(len(here), 300, replace=False)] + rng.normal(0, 1, (300, 3))
    points[:10] += 40
    moved = true_displacements(truth, points, rows[::2], truth.consensus_coordinates)[0]
    moved = (0.8 * moved + rng.normal(0, 1, moved.shape)).astype(np.float32)
    weights = rng.uniform(0.5, 2, 300)
    return {"index": rows, "latent": latent, "points": points, "disp": moved, "disp_index": rows[::2], "weights": weights}


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return read_truth(make_set(tmp_path_factory.mktemp("score")))


@pytest.fixture(scope="module")
def result(truth: Truth) -> dict[str, np.ndarray]:
    return make_result(truth)


def test_motion(truth, result):
    found = score_deformation(truth, result["points"], result["disp"], result["disp_index"], result["weights"])
    assert list(found.reference) == pytest.approx(RECORDED_MOTION["reference"])
    for part in ("everything", "moving"):
        values = getattr(found, part)
        numbers = (values.points, values.explained, values.gain, values.error_rms, values.true_rms, values.predicted_rms)
        assert numbers == pytest.approx(RECORDED_MOTION[part], abs=2e-3)


def test_latents(truth, result):
    found = score_latents(truth, result["latent"], result["index"])
    assert found.linear_r2 == pytest.approx(RECORDED_LATENTS["linear"], abs=1e-3)
    assert found.neighbours_r2 == pytest.approx(RECORDED_LATENTS["neighbours"], abs=1e-3)
    assert found.view_leak_r2 == pytest.approx(RECORDED_LATENTS["view"], abs=1e-3)


@pytest.mark.parametrize("name", ["half", "truth/oracle_half"])
def test_maps(truth, name):
    found = score_maps(truth, *(read_volume(truth.directory.parent / f"{name}{half}.mrc").data for half in (1, 2)))
    parts = (found.truth_whole, found.truth_moving, found.truth_core, found.best_moving, found.halves_whole)
    # the images differ in the last digits from machine to machine
    assert [part.auc for part in parts] == pytest.approx(RECORDED_MAPS[name], abs=5e-3)
