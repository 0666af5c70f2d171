"""The forward training on a small set: resumes exactly, keeps the halves apart, refuses bad input in words."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import torch

from jobtypes.common.particles import read_particles
from jobtypes.dynamight.forward_deformations import plan as plan_module
from jobtypes.dynamight.forward_deformations import posteriors, rounds
from jobtypes.dynamight.forward_deformations.checkpointing import CheckpointWriter, load_last
from jobtypes.dynamight.forward_deformations.pace import Pace
from jobtypes.dynamight.forward_deformations.task import check, run
from jobtypes.dynamight.model.result import LATENT_BY_OTHER, load_centred_result
from jobtypes.dynamight.outputs import HELD_OUT_ERROR
from jobtypes.dynamight.visualization.held_out import held_out_particles
from relion_jobs.contract.errors import JobAborted, JobFailed, UserError

JOB = Path("DynaMight/job001")
PARTICLES_STAR = "forward_deformations/particles.star"
LATENTS = "latents of all particles"


def half_bytes(half: int, *, with_other: bool = True) -> bytes:
    """Every learned number of a half set that has been trained, and what the other half's model makes of its particles."""
    state = load_last(JOB)["halves"][half]
    tensors = [*state["model"].values(), state["latent_mean"], state["latent_log_variance"]]
    tensors += [state[LATENT_BY_OTHER]] if with_other else []
    return b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors)


def test_a_training_that_was_left_twice_ends_with_the_same_bytes(new_job, values):
    run(values(), new_job())
    uninterrupted = [half_bytes(half) for half in (1, 2)]
    shutil.rmtree(JOB / "forward_deformations")
    for number, stop_after in enumerate((5, 9)):
        with pytest.raises(JobAborted):
            run(values(), new_job(is_continue=number > 0, stop_after=stop_after))
    run(values(), new_job(is_continue=True))
    assert [half_bytes(half) for half in (1, 2)] == uninterrupted


def stop_in(job: Any, stage: str, done: int = 0) -> Any:
    """Have a job stop once so much of a stage is done."""

    def progress(now: str, so_far: int, *figures: object) -> None:
        job.stop_after = -1 if now == stage and so_far >= done else job.stop_after

    job.progress = progress
    return job


def test_a_training_that_was_left_in_its_ending_ends_with_the_same_bytes(new_job, values, monkeypatch):
    monkeypatch.setattr(posteriors, "BATCHES_TOGETHER", 1)
    run(values(), new_job())
    uninterrupted = [half_bytes(half) for half in (1, 2)], (JOB / PARTICLES_STAR).read_bytes()
    shutil.rmtree(JOB / "forward_deformations")
    found = []
    for number, (stage, done) in enumerate([(LATENTS, 0), (LATENTS, 10), (LATENTS, 26), ("held-out particles of half 2", 0)]):
        job = stop_in(new_job(is_continue=number > 0), stage, done)
        with pytest.raises(JobAborted):
            run(values(), job)
        assert number == 0 or not any("Epoch" in line for line in job.reports)
        last = load_last(JOB)
        assert not last["finished"]
        found.append([(part["posteriors"]["encoded"], part["posteriors"]["refined"]) for part in last["halves"].values()])
    assert found == [[(5, 0), (5, 0)], [(24, 10), (10, 0)], [(24, 24), (24, 5)], [(24, 24), (24, 24)]]
    job = new_job(is_continue=True)
    run(values(), job)
    assert ([half_bytes(half) for half in (1, 2)], (JOB / PARTICLES_STAR).read_bytes()) == uninterrupted
    assert any("The latents of 48 particles have been worked out already" in line for line in job.reports)


def test_checkpoints_are_written_during_the_last_stage(new_job, values, monkeypatch):
    monkeypatch.setattr(posteriors, "BATCHES_TOGETHER", 1)
    run(values(), new_job())
    uninterrupted = [half_bytes(half) for half in (1, 2)]
    shutil.rmtree(JOB / "forward_deformations")
    monkeypatch.setattr(rounds, "MINUTES_BETWEEN_CHECKPOINTS", 0.0)
    saved = []
    save = CheckpointWriter.save

    def watched(self: CheckpointWriter, states: dict[int, Any], *history: Any, **finished: bool) -> Path:
        saved.append([state["posteriors"]["refined"] for state in states.values()])
        return save(self, states, *history, **finished)

    monkeypatch.setattr(CheckpointWriter, "save", watched)
    run(values(), new_job())
    assert [refined for refined in saved if refined[0]] == [[5, 5], [10, 10], [15, 15], [20, 20], [24, 24], [24, 24]]
    assert [half_bytes(half) for half in (1, 2)] == uninterrupted


def test_the_log_says_of_how_many_latents_images_tell(new_job, values):
    job = new_job()
    run(values(), job)
    told = [line for line in job.reports if "images tell of" in line]
    expected = []
    for half in (1, 2):
        state = load_last(JOB)["halves"][half]
        some, all_of_them = len(state["posteriors"]["told"]["places"]), state["latent_mean"].shape[1]
        assert int((state["latent_mean"] != 0).any(0).sum()) == some
        expected.append(f"Half {half}: images tell of {some} of {all_of_them} latents; any other is left at its prior.")
    assert told == expected


def epochs_told(job: Any) -> list[int]:
    """Number of every epoch that was reported; each with figures."""
    lines = [line for line in job.reports if line.startswith("Epoch ")]
    assert all("held-out objective" in line for line in lines)
    return [int(line.split()[1].rstrip(",")) for line in lines]


@pytest.mark.parametrize("in_stage", ["training", LATENTS])
def test_half_sets_that_take_different_numbers_of_epochs_tell_no_epoch_again(new_job, values, monkeypatch, in_stage):
    """Half 1 has found its motions at once, half 2 uses all the time that there is."""
    monkeypatch.setattr(plan_module, "numbers_of_epochs", lambda *_: (6, 9))
    converged = iter([True])
    monkeypatch.setattr(Pace, "has_converged", property(lambda _: next(converged, False)))
    # in its last epoch, which half 2 does alone; or after it
    job = stop_in(new_job(), in_stage, *([21 * 8 + 21 * 6 + 10] if in_stage == "training" else []))
    with pytest.raises(JobAborted):
        run(values(), job)
    before = epochs_told(job)
    history = JOB / "forward_deformations/history.json"
    rows = json.loads(history.read_text())
    history.unlink()  # as where it was killed before it was written
    job = new_job(is_continue=True)
    run(values(), job)
    assert before + epochs_told(job) == list(range(1, 10))
    again = json.loads(history.read_text())
    assert again[: len(rows)] == rows
    assert [row["epoch"] for row in again if row["half"] == 1] == list(range(6))
    assert [row["epoch"] for row in again if row["half"] == 2] == list(range(9))


def test_halves_that_train_side_by_side_give_the_same_bytes_as_one_after_the_other(new_job, values):
    run(values(), new_job())
    one_after_the_other = [half_bytes(half) for half in (1, 2)]
    shutil.rmtree(JOB / "forward_deformations")
    run(values(nr_threads="2"), new_job())
    assert [half_bytes(half) for half in (1, 2)] == one_after_the_other


def test_half_1_does_not_depend_on_the_pixels_of_half_2(new_job, values, project):
    run(values(), new_job())
    first, second = [half_bytes(half, with_other=False) for half in (1, 2)]
    by_other = load_last(JOB)["halves"][1][LATENT_BY_OTHER]
    shutil.rmtree(JOB / "forward_deformations")
    with mrcfile.open(project / "particles.mrcs", mode="r+") as file:
        file.data[1::2] += np.random.default_rng(1).normal(0, 1, file.data[1::2].shape).astype(np.float32)
    run(values(), new_job())
    assert half_bytes(1, with_other=False) == first
    assert half_bytes(2, with_other=False) != second
    # what the model of half 2 says of half 1 is kept beside what half 1 has learned, and enters nothing of it
    assert not torch.equal(load_last(JOB)["halves"][1][LATENT_BY_OTHER], by_other)


def test_an_epoch_visits_every_training_particle_once_and_no_held_out_one(new_job, values):
    with pytest.raises(JobAborted):
        run(values(), new_job(stop_after=9))
    halves = load_last(JOB)["halves"]
    assert sorted(np.concatenate([halves[half]["rows"].numpy() for half in (1, 2)])) == list(range(48))
    for state in halves.values():
        assert state["epochs_done"] >= 1
        moved = state["model"]["poses.corrections"].abs().sum(1) > 0
        assert torch.equal(moved, ~state["held_out"])


def test_history_holds_a_row_for_each_half_and_epoch(new_job, values):
    run(values(), new_job())
    rows = json.loads((JOB / "forward_deformations/history.json").read_text())
    assert [(row["epoch"], row["half"]) for row in rows] == [(epoch, half) for epoch in range(4) for half in (1, 2)]


def test_a_finished_training_is_left_alone_on_continue(new_job, values):
    run(values(), new_job())
    before = (JOB / "forward_deformations/checkpoints/checkpoint_final.pth").read_bytes()
    job = new_job(is_continue=True)
    run(values(), job)
    assert (JOB / "forward_deformations/checkpoints/checkpoint_final.pth").read_bytes() == before
    assert any("finished" in line for line in job.reports)


def test_a_new_start_in_a_directory_with_results_sets_them_aside(new_job, values):
    run(values(), new_job())
    job = new_job()
    run(values(), job)
    assert (JOB / "previous_001/forward_deformations/checkpoints/checkpoint_final.pth").is_file()
    assert any("previous_001" in line for line in job.reports)


def test_continue_with_another_number_of_gaussians_is_refused(new_job, values):
    with pytest.raises(JobAborted):
        run(values(), new_job(stop_after=9))
    with pytest.raises(UserError, match="nr_gaussians"):
        run(values(nr_gaussians="70"), new_job(is_continue=True))


def test_an_infinite_objective_ends_the_job_and_keeps_the_last_checkpoint(new_job, values):
    with pytest.raises(JobFailed, match="learning_rate"):
        run(values(extra="--learning-rate 1e12 --n-training-epochs 30"), new_job())
    last = load_last(JOB)
    assert last is None or all(tensor.isfinite().all() for tensor in last["halves"][1]["model"].values())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"initial_threshold": "1e9"}, "above every voxel"),
        ({"fn_star": "missing.star"}, "missing.star"),
        ({"fn_map": "missing.mrc"}, "missing.mrc"),
        ({"extra": "--mask-file missing.mrc"}, "missing.mrc"),
        ({"gpu_id": "banana"}, "banana"),
    ],
)
def test_bad_input_is_refused_in_words_before_anything_is_written(new_job, values, changes, words):
    with pytest.raises(UserError, match=words):
        check(values(**changes), JOB)
    with pytest.raises(UserError, match=words):
        run(values(**changes), new_job())
    assert not (JOB / "forward_deformations").exists()


def test_a_map_of_another_box_is_refused(new_job, values, project):
    with mrcfile.new(project / "small.mrc") as file:
        file.set_data(np.ones((20, 20, 20), np.float32))
        file.voxel_size = 4.0
    with pytest.raises(UserError, match="20"):
        check(values(fn_map="small.mrc"), JOB)


@pytest.mark.parametrize(
    ("optics", "header", "words"),
    [
        ("2.0 48", 4.0, "images of 24 x 24 pixels, but .* says 48 .*; the map has 24 too, so the STAR file is older than the "
         "binning: .* set _rlnImageSize to 24 and _rlnImagePixelSize to 4 in"),
        ("4.0 24", 1.0, "agree with the STAR file, so it is the map's header that is wrong: .* --force_header_angpix 4"),
        ("2.0 24", 4.0, "agree with the map, so it is the STAR file that is wrong: set _rlnImagePixelSize in data_optics to 4"),
    ],
)  # fmt: skip
def test_of_stacks_map_and_star_file_the_one_that_is_wrong_is_named(new_job, values, project, optics, header, words):
    star = project / "particles.star"
    star.write_text(star.read_text().replace("0.1 4.0 24\n", f"0.1 {optics}\n"))
    with mrcfile.open(project / "map.mrc", mode="r+") as file:
        file.voxel_size = header
    with pytest.raises(UserError, match=words):
        check(values(), JOB)


def test_a_map_of_density_is_no_mask(new_job, values, project):
    with pytest.raises(UserError, match=r"Mask map.mrc has values from .* rather a map of density; .* relion_mask_create"):
        check(values(extra="--mask-file map.mrc"), JOB)


def test_deformations_vanish_outside_a_mask(new_job, values, project):
    mask = np.zeros((24, 24, 24), np.float32)
    mask[:, :, 12:] = 1  # x >= 0
    with mrcfile.new(project / "mask.mrc") as file:
        file.set_data(mask)
        file.voxel_size = 4.0
    run(values(extra="--mask-file mask.mrc"), new_job())
    model = load_centred_result(JOB).halves[1].model
    points = torch.tensor([[-12.0, 0, 0], [12.0, 4.0, 8.0]])
    moved = model.displacement(torch.ones(1, 2), points)[0]
    assert float(moved[0].abs().max()) == 0
    assert float(moved[1].abs().max()) > 0


def test_premultiplied_data_give_the_same_gaussians_scale(new_job, values, project):
    """Data that were multiplied by a CTF of one sign and modulus 1 are the data themselves."""
    star = (project / "particles.star").read_text()
    star = star.replace(
        "_rlnImageSize #6\n1 300.0 2.7 0.1 4.0 24",
        "_rlnImageSize #6\n_rlnCtfDataAreCtfPremultiplied #7\n1 300.0 2.7 0.1 4.0 24 1",
    )
    (project / "particles.star").write_text(star)
    run(values(), new_job())
    assert load_centred_result(JOB).halves[1].model.gaussians.amplitudes.isfinite().all()


def test_a_finished_training_that_lost_its_files_writes_the_same_on_continue(new_job, values):
    run(values(), new_job())
    before = (JOB / PARTICLES_STAR).read_bytes()
    (JOB / PARTICLES_STAR).unlink()
    run(values(), new_job(is_continue=True))
    assert (JOB / PARTICLES_STAR).read_bytes() == before


def test_half_set_0_shows_the_errors_that_the_training_has_written(new_job, values):
    run(values(), new_job())
    column = read_particles(JOB / PARTICLES_STAR).source["particles"].read(numbers=(HELD_OUT_ERROR,))[HELD_OUT_ERROR]
    particles = held_out_particles(load_centred_result(JOB))
    assert len(particles) >= 4
    assert (column[particles.rows] == particles.errors).all()
    assert (particles.errors > 0).all()
    assert (np.delete(column, particles.rows) == -1).all()


@pytest.mark.parametrize("name", ["particles.star", "map.mrc"])
def test_a_training_does_not_go_on_with_changed_input_files(new_job, values, project, name):
    with pytest.raises(JobAborted):
        run(values(), new_job(stop_after=9))
    if name == "map.mrc":
        with mrcfile.open(project / name, mode="r+") as file:
            file.data[:] *= 1.1
    else:
        text = (project / name).read_text()
        (project / name).write_text(text.replace(" 0 0 100 100 ", " 1 0 100 100 ", 1))
    with pytest.raises(UserError, match=f"contents of {name}"):
        run(values(), new_job(is_continue=True))
    assert not (JOB / "previous_001").exists()
    job = new_job()
    run(values(), job)
    assert any(f"the contents of {name} have changed; its results were moved to" in line for line in job.reports)


def test_bad_input_sets_no_earlier_results_aside(new_job, values, project):
    run(values(), new_job())
    (project / "particles.mrcs").write_bytes((project / "particles.mrcs").read_bytes()[:-100])
    with pytest.raises(UserError, match="truncated"):
        run(values(), new_job())
    assert not (JOB / "previous_001").exists()
    assert (JOB / "forward_deformations/checkpoints/checkpoint_final.pth").is_file()


def test_a_half_with_a_single_image_is_refused(new_job, values, project):
    lines = (project / "particles.star").read_text().splitlines()
    rows = [line for line in lines if "@" in line]
    kept = [line for line in lines if "@" not in line or line in rows[:3]]
    (project / "particles.star").write_text("\n".join([*kept, ""]))
    with pytest.raises(UserError, match=r"half 2 has 1 particle\(s\); expected at least 2"):
        run(values(), new_job())


@pytest.mark.parametrize(
    ("extra", "words"), [("--soft-edge-width 60", "fills the whole box of 96 A"), ("--highest-resolution 500", "no Fourier term")]
)
def test_a_mask_or_a_band_that_cannot_be_is_refused(new_job, values, extra, words):
    with pytest.raises(UserError, match=words):
        check(values(extra=extra), JOB)


def test_a_diameter_that_the_box_cannot_hold_is_cut_and_that_is_said(project, values):
    plan = " ".join(check(values(extra="--particle-diameter 300"), JOB))
    assert "all that the box holds of the 300 A asked for" in plan


def test_half_written_checkpoints_of_a_killed_run_are_removed(new_job, values):
    with pytest.raises(JobAborted):
        run(values(), new_job(stop_after=9))
    left = JOB / "forward_deformations/checkpoints/.checkpoint_final.pth.0123abcd.part"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    run(values(), new_job(is_continue=True))
    assert not left.exists()
