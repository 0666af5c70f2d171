"""Particles of tilt series the whole way: training, last stage, files, subset, reconstruction and verdict."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from jobtypes.common.particles import read_particles
from jobtypes.common.rotations import euler_matrices
from jobtypes.common.volumes import write_volume
from jobtypes.dynamight import layout
from jobtypes.dynamight.backprojection import task as backprojection
from jobtypes.dynamight.forward_deformations import posteriors
from jobtypes.dynamight.forward_deformations.checkpointing import load_last
from jobtypes.dynamight.forward_deformations.plan import make_plan
from jobtypes.dynamight.forward_deformations.task import check, run
from jobtypes.dynamight.job import JOB_TYPE
from jobtypes.dynamight.model.result import load_centred_result, particles_of
from jobtypes.dynamight.options import ForwardOptions
from jobtypes.dynamight.visualization.selection import write_subset
from relion_jobs.contract.errors import JobAborted
from relion_jobs.contract.options import defaults, parse_values
from tests.tilt_project import SET, TiltSet, write_tilt_project

from .conftest import BOX, PIXEL_SIZE, balls, gaussian  # isort: skip

JOB = Path("DynaMight/job001")
PARTICLES, WIDTH = 100, 5.0
TILTS = (0.0, 20.0, -20.0, 40.0, -40.0)


@pytest.fixture(scope="module")
def swinging(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A project with tilt stacks of the dumbbell, and by how much each one swings."""
    root = tmp_path_factory.mktemp("swinging")
    swing = np.random.default_rng(1).uniform(-0.7, 0.7, PARTICLES)
    atoms = np.array([balls(angle) for angle in swing])
    write_tilt_project(root, TiltSet(atoms, PARTICLES, BOX, PIXEL_SIZE, TILTS, WIDTH, noise=0.03))
    consensus = sum(gaussian(centre, 3, WIDTH) for angle in np.linspace(-0.7, 0.7, 9) for centre in balls(angle)) / 9
    write_volume(root / "map.mrc", torch.from_numpy(consensus).float(), PIXEL_SIZE)
    (root / JOB).mkdir(parents=True)
    return root, swing


@pytest.fixture
def project(swinging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(swinging[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def of_tilts(values):
    return lambda **changes: values(fn_star=SET, **changes)


def test_the_plan_says_how_many_images_there_are(project, of_tilts):
    table = read_particles(project / SET, project=project)
    words = " ".join(check(of_tilts(), JOB))
    assert f"{PARTICLES} in {table.n_images} images of tilt series, up to 5 of each" in words
    assert "fit better at their own pose than at that of another" in words
    plan = make_plan(ForwardOptions.from_values(of_tilts()), project)
    assert plan.memory.spectra_bytes == 4 * PARTICLES * 5 * len(plan.band.of_view)


def test_the_motion_is_found_and_a_map_of_it_is_better(project, swinging, new_job, of_tilts):
    job = new_job()
    run(of_tilts(extra="--n-training-epochs 24"), job)
    result = load_centred_result(JOB)
    table = particles_of(result, project)
    for half in result.halves.values():
        coefficients = half.model.field.coefficients(half.latent_mean)
        main = torch.linalg.svd(coefficients - coefficients.mean(0)).U[:, 0].numpy()
        assert abs(np.corrcoef(main, swinging[1][half.rows])[0, 1]) > 0.8
    _check_files(project, table, job)
    options = defaults(JOB_TYPE.options) | {"fn_star": SET, "fn_map": "map.mrc", "nr_threads": "1", "do_reconstruct": "Yes"}
    job = new_job(is_continue=True)
    backprojection.run(parse_values(JOB_TYPE.options, options, task="backprojection"), job)
    assert any("The deformed map is better than the rigid one" in sentence for sentence in job.reports)


def _check_files(project, table, job) -> None:
    written = JOB / layout.PARTICLES
    of_set = written.with_name("particles_optimisation_set.star")
    assert job.outputs[str(written)] == layout.PARTICLES_LABEL
    assert job.outputs[str(of_set)] == layout.OPTIMISATION_SET_LABEL
    again = read_particles(project / of_set, project=project)
    assert again.per_image.ctf_columns["rlnDefocusU"].tolist() == table.per_image.ctf_columns["rlnDefocusU"].tolist()
    # refined poses are near those that were given, column by column
    names = ("AngleRot", "AngleTilt", "AnglePsi")
    columns = again.source["particles"].read(
        numbers=tuple(f"{kind}{name}" for kind in ("rln", "rlnDynamight") for name in (*names, "OriginZAngst"))
    )
    given, refined = (
        euler_matrices(torch.from_numpy(np.stack([columns[f"{kind}{name}"] for name in names], axis=1)))
        for kind in ("rln", "rlnDynamight")
    )
    turned = torch.rad2deg((((given * refined).sum((1, 2)) - 1) / 2).clamp(-1, 1).acos())
    assert 0 < float(turned.median()) < 2
    assert abs(columns["rlnDynamightOriginZAngst"] - columns["rlnOriginZAngst"]).mean() < 1.5
    few = write_subset(table, JOB, np.array([5, 2, 9]), None)
    assert read_particles(few, project=project).rows.tolist() == [0, 1, 2]
    assert few.with_name(f"{few.stem}_optimisation_set.star").is_file()


def half_bytes(half: int) -> bytes:
    state = load_last(JOB)["halves"][half]
    tensors = [*state["model"].values(), state["latent_mean"], state["latent_log_variance"]]
    return b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors)


def test_a_training_on_tilt_series_that_was_left_ends_with_the_same_bytes(project, new_job, of_tilts, monkeypatch):
    monkeypatch.setattr(posteriors, "BATCHES_TOGETHER", 1)
    run(of_tilts(), new_job())
    uninterrupted = [half_bytes(half) for half in (1, 2)]
    shutil.rmtree(JOB / "forward_deformations")
    with pytest.raises(JobAborted):
        run(of_tilts(), new_job(stop_after=12))
    run(of_tilts(), new_job(is_continue=True))
    assert [half_bytes(half) for half in (1, 2)] == uninterrupted
