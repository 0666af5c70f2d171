from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import mrcfile
import numpy as np
import pytest
import starfile
import torch

from jobtypes.common.fourier import fsc
from jobtypes.common.volumes import write_volume
from jobtypes.dynamight.backprojection import outputs, task
from jobtypes.dynamight.backprojection.inverse_field import Inverses
from jobtypes.dynamight.backprojection.warp import Identity
from jobtypes.dynamight.options import BackprojectionOptions
from relion_jobs.contract.errors import JobAborted, UserError


@pytest.fixture(autouse=True)
def _no_pictures(request, monkeypatch):
    """Drawing takes longer than all the rest; one test draws."""
    if "pictures" not in request.node.name:
        for name in ("draw_fsc", "draw_slices", "gather_logbook"):
            monkeypatch.setattr(outputs, name, lambda *_, **__: None)


def mean_fsc(a, b) -> float:
    return float(fsc(torch.as_tensor(a), torch.as_tensor(b))[1:8].mean())


def average(maps, stem: str):
    return (maps[f"{stem}_half1"] + maps[f"{stem}_half2"]) / 2


def test_true_deformations_sharpen_the_map_and_held_out_particles_notice(make_project):
    project = make_project(400)
    job = project.job()
    maps = project.run(job)
    truth = project.true_map()
    assert mean_fsc(average(maps, "map"), truth) > 0.97
    assert mean_fsc(average(maps, "map"), truth) > mean_fsc(average(maps, "rigid"), truth) + 0.01
    assert any("The deformed map is better than the rigid one" in sentence for sentence in job.reports)
    assert not job.warnings


def test_wrong_deformations_are_called_worse_first_of_all_results(make_project):
    project = make_project(300, motion=0.0)
    for half in project.forward.halves.values():
        half.latent_mean[:] = torch.linspace(-1, 1, len(half.rows))[:, None]
    job = project.job()
    project.run(job)
    assert len(job.warnings) == 1
    assert "worse than the rigid one" in job.warnings[0]


def test_halves_that_show_the_moving_part_in_different_states_are_not_called_better(make_project):
    project = make_project(400)
    latents = project.forward.halves[2].latent_mean
    latents += 0.7  # what is drawn of half 2, latent 0, is a state 4 A away
    job = project.job()
    project.run(job)
    figures = starfile.read(job.directory / "backprojection/fsc.star")["general"]
    assert figures["rlnDynamightVerdict"] == "mixed"
    assert figures["rlnDynamightLikelihoodGain"] > 3 * figures["rlnDynamightLikelihoodGainError"]
    fall = figures["rlnDynamightMovingCorrelationRigid"] - figures["rlnDynamightMovingCorrelation"]
    assert fall > 2 * figures["rlnDynamightMovingCorrelationError"] > 0
    assert figures["rlnDynamightMovingLostFraction"] > 0.2
    assert "is not called better" in job.warnings[0]
    assert "more likely under the deformed map" in job.warnings[0]


def verdict_of(project) -> tuple[int, float, float]:
    """Held-out particles, gain and its error, as the job says them."""
    job = project.job()
    project.run(job)
    figures = starfile.read(job.directory / "backprojection/fsc.star")["general"]
    return tuple(figures[f"rlnDynamight{name}"] for name in ("HeldOutParticles", "LikelihoodGain", "LikelihoodGainError"))


def test_copies_of_an_image_are_one_witness(make_project):
    once = verdict_of(make_project(200, name="once"))
    copied = make_project(200, copies=4, name="copied")
    particles, gain, error = verdict_of(copied)
    assert particles == once[0] == 40
    assert (copied.table.copy_of == np.repeat(np.arange(200), 4)).all()
    assert gain == pytest.approx(once[1], rel=0.1)
    assert error == pytest.approx(once[2], rel=0.1)  # of independent particles it would be half


def test_without_motion_the_deformed_map_is_the_rigid_map_to_rounding(make_project):
    project = make_project(100, motion=0.0)
    maps = project.run(project.job())
    for half in (1, 2):
        np.testing.assert_array_equal(maps[f"map_half{half}"], maps[f"rigid_half{half}"])


def agreement(maps: dict[str, np.ndarray], truth: np.ndarray, half: int) -> tuple[float, float]:
    """Correlation of a deformed half map with the truth, and the slope by it."""
    found = maps[f"map_half{half}"].ravel()
    return float(np.corrcoef(found, truth.ravel())[0, 1]), float(np.polyfit(truth.ravel(), found, 1)[0])


def test_a_map_is_no_mask_of_the_fsc(make_project):
    project = make_project(20)
    write_volume(project.root / "mask.mrc", project.true_map(), project.table.pixel_size_angstroms)
    with pytest.raises(UserError, match=r"Mask mask.mrc has values from .* rather a map of density; .* relion_mask_create"):
        project.run(project.job(), fn_fsc_mask="mask.mrc")


def test_images_of_something_else_leave_no_trace(make_project):
    sound = make_project(200, name="sound")
    truth, expected = sound.true_map().numpy(), sound.run(sound.job())
    spoiled, rng = make_project(200, name="spoiled"), np.random.default_rng(5)
    with mrcfile.open(spoiled.root / "particles.mrcs", "r+") as stack:
        for part in spoiled.forward.halves.values():
            junk = part.rows[-10:]
            stack.data[junk] = 30 * rng.standard_normal(stack.data[junk].shape)
            part.quality[-10:] = 0.01
    found = spoiled.run(spoiled.job())
    for half in (1, 2):
        assert agreement(found, truth, half)[0] > agreement(expected, truth, half)[0] - 0.01


def test_the_scale_of_each_image_is_taken_into_account(make_project):
    even = make_project(200, name="even")
    truth, expected = even.true_map().numpy(), even.run(even.job())
    uneven, rng = make_project(200, name="uneven"), np.random.default_rng(5)
    with mrcfile.open(uneven.root / "particles.mrcs", "r+") as stack:
        for part in uneven.forward.halves.values():
            scale = rng.uniform(1.5, 2.5, len(part.rows)).astype(np.float32)
            stack.data[part.rows] *= scale[:, None, None]
            part.scale.copy_(torch.from_numpy(scale))
    found = uneven.run(uneven.job())
    for half in (1, 2):
        assert agreement(found, truth, half) == pytest.approx(agreement(expected, truth, half), abs=0.06)


def arm_levels(project, maps: dict[str, np.ndarray], kind: str) -> tuple[float, float, float]:
    """Slope of the mean of the half maps by the truth in the arm that some lack and elsewhere; and correlation in the arm."""
    return levels_of(project, average(maps, kind))


def levels_of(project, volume: np.ndarray) -> tuple[float, float, float]:
    axis = (torch.arange(24) - 12) * 3.0
    in_arm, elsewhere = ((axis > 12).expand(24, 24, 24), (axis < 3).expand(24, 24, 24))
    found, truth = torch.as_tensor(volume), project.true_map()
    slopes = [float((found[where] * truth[where]).sum() / truth[where].square().sum()) for where in (in_arm, elsewhere)]
    return *slopes, float(torch.corrcoef(torch.stack((found[in_arm], truth[in_arm])))[0, 1])


@pytest.mark.parametrize("motion", [0.0, 1.0])
def test_particles_that_lack_an_arm_say_nothing_about_its_density(make_project, motion):
    project = make_project(400, motion=motion, missing=0.3)
    job = project.job()
    maps = project.run(job)
    arm, elsewhere, correlation = arm_levels(project, maps, "map")
    assert arm / elsewhere == pytest.approx(1.0, abs=0.05)
    rigid_arm, rigid_elsewhere, rigid_correlation = arm_levels(project, maps, "rigid")
    assert rigid_arm / rigid_elsewhere < 0.8
    assert correlation > rigid_correlation + 0.02
    assert any("better than the rigid one" in sentence for sentence in job.reports)
    whole = make_project(400, motion=motion, name="whole")
    expected = arm_levels(whole, whole.run(whole.job()), "map")
    assert arm == pytest.approx(expected[0], abs=0.05)
    assert correlation > expected[2] - 0.01


def test_an_arm_that_one_half_set_alone_found_missing_is_as_dense_in_both_half_maps(make_project):
    project = make_project(400, motion=0.0, missing=0.3)
    halves = project.forward.halves
    halves[1] = replace(halves[1], part_numbers=(1,))
    halves[2] = replace(halves[2], presence=halves[2].presence[:, :0])
    job = project.job()
    maps = project.run(job)
    arm1, arm2 = (arm / elsewhere for arm, elsewhere, _ in (levels_of(project, maps[f"map_half{half}"]) for half in (1, 2)))
    assert arm1 == pytest.approx(arm2, abs=0.06)
    assert max(arm1, arm2) < 0.85
    assert any(sentence.startswith("Part 1, which some particles lack, was found in half 1 alone") for sentence in job.reports)


def test_arms_that_are_said_to_be_missing_and_are_there_make_a_worse_map(make_project):
    project = make_project(300, motion=0.0, missing=0.0)
    for half in project.forward.halves.values():
        half.presence[::3] = 0
    job = project.job()
    project.run(job)
    assert "worse than the rigid one" in job.warnings[0]


def test_maps_are_on_the_absolute_scale_of_the_data(make_project):
    project = make_project(400, motion=0.0, noise=0.0)
    ours = torch.fft.rfftn(torch.as_tensor(average(project.run(project.job()), "map")))
    truth = torch.fft.rfftn(project.true_map())
    band = torch.zeros(ours.shape, dtype=torch.bool)
    band[:7, :7, 1:7] = True
    scale = float((ours * truth.conj()).real[band].sum() / truth.abs().square()[band].sum())
    assert scale == pytest.approx(1.0, abs=1e-2)


def test_one_particle_per_half_is_enough(make_project):
    project = make_project(2, held_out=0.0)
    job = project.job()
    maps = project.run(job, backproject_batchsize=1)
    assert np.isfinite(maps["map_half1"]).all()
    assert "Unknown" in job.warnings[0]


def test_maps_of_fewer_particles_than_the_box_needs_are_called_untrustworthy(make_project):
    project = make_project(16)
    job = project.job()
    project.run(job)
    sentence = r"maps of half {} are not to be trusted: .* 8 particles are few for a box of \d+ pixels .* bin them"
    said = " ".join(job.warnings)
    assert all(re.search(sentence.format(half), said) for half in (1, 2))
    many = make_project(400, name="many").job()
    project.run(many)
    assert "not to be trusted" not in " ".join(many.warnings)


def test_pixels_of_half_2_leave_no_trace_in_the_half_maps_of_half_1(make_project):
    project = make_project(100)
    before = project.run(project.job("DynaMight/job002"))
    with mrcfile.open(project.root / "particles.mrcs", "r+") as stack:
        stack.data[project.table.half == 2] *= -3
    after = project.run(project.job("DynaMight/job003"))
    for name in ("map_half1", "rigid_half1"):
        np.testing.assert_array_equal(before[name], after[name])
    assert not np.array_equal(before["map_half2"], after["map_half2"])


def changed(value: object) -> object:
    """Another value of the same type."""
    return f"{value}x" if isinstance(value, str) else (value or 0) + 1


@pytest.fixture
def inputs(make_project):
    """What is read of a project, without a mask and without inverses."""
    project = make_project(6)
    return task.Inputs(project.forward, project.table, {}, None, None, ())


def test_every_option_belongs_to_what_is_stored_but_those_that_change_no_result(inputs):
    options = BackprojectionOptions.from_values({"fn_star": "particles.star"})
    stored = task.belongs_to(inputs, options)
    left_out = {
        field.name
        for field in dataclasses.fields(options)
        if task.belongs_to(inputs, dataclasses.replace(options, **{field.name: changed(getattr(options, field.name))})) == stored
    }
    # files belong by what they hold; a new option that changes no result is added here
    assert left_out == {"gpu_id", "nr_threads", "particle_path_prefix"} | {"fn_checkpoint", "fn_star", "fn_fsc_mask"}


@pytest.mark.parametrize(
    "other",
    [
        {"mask": torch.ones(24, 24, 24)},
        {"inverses": Inverses({}, "these networks")},
        {"forward": SimpleNamespace(identity="another training", star_file="particles.star")},
    ],
)
def test_files_belong_to_what_is_stored_by_what_they_hold(inputs, other):
    options = BackprojectionOptions.from_values({"fn_star": "particles.star"})
    assert task.belongs_to(dataclasses.replace(inputs, **other), options) != task.belongs_to(inputs, options)


def test_sums_of_an_earlier_version_are_those_of_the_same_options_and_defaults(inputs):
    options = BackprojectionOptions.from_values({"fn_star": "particles.star"})
    now = task.belongs_to(inputs, options)
    then = {name: value for name, value in now.items() if name != "warp_interpolation"}
    assert task.as_now(then) == now
    assert task.as_now(then | {"max_bins": 39}) != now
    assert task.as_now(then | {"n_rounds": 3}) != now
    assert task.as_now(now) == now


@pytest.mark.parametrize(
    "other", [{"reconstruction_iterations": 1}, {"warp_interpolation": "linear"}, {"fn_fsc_mask": "ball.mrc"}]
)
def test_a_run_stopped_after_its_verdict_does_not_report_it_for_other_options(make_project, other):
    project = make_project(120)
    axis = torch.arange(24.0) - 12
    ball = ((axis**2)[:, None, None] + (axis**2)[:, None] + axis**2 < 6**2).float()
    write_volume(project.root / "ball.mrc", ball, 3.0)
    expected = project.job("DynaMight/job002")
    project.run(expected, **other)
    first = project.job("DynaMight/job003")

    def stop_after_the_verdict(stage: str, *_: object) -> None:
        if stage == "Half 1: held-out particles":
            first.stop_after = 0

    first.progress = stop_after_the_verdict
    with pytest.raises(JobAborted):
        project.run(first)
    again = project.job("DynaMight/job003")
    project.run(again, **other)
    assert said_of_the_verdict(again) == said_of_the_verdict(expected)


def said_of_the_verdict(job) -> list[str]:
    return [sentence for sentence in [*job.reports, *job.warnings] if "held-out particles are" in sentence]


@pytest.mark.parametrize("stop_after", [3, 30, 100])
def test_a_killed_run_goes_on_to_the_same_maps(make_project, stop_after):
    project = make_project(120)
    undisturbed = project.run(project.job("DynaMight/job002"))
    job = project.job("DynaMight/job003", stop_after=stop_after)
    with pytest.raises(JobAborted):
        project.run(job)
    assert (job.directory / "backprojection/partial_sums.pth").is_file()
    again = project.job("DynaMight/job003")
    maps = project.run(again)
    assert "Going on with the sums of an earlier run." in again.reports
    assert not list((job.directory / "backprojection").glob("partial_sums*"))
    for name in ("rigid_half1", "map_half1"):
        scale = np.abs(undisturbed[name]).max()
        np.testing.assert_allclose(maps[name], undisturbed[name], atol=0.02 * scale)


def test_sums_of_another_checkpoint_are_thrown_away(make_project, monkeypatch):
    project = make_project(60)
    job = project.job(stop_after=4)
    with pytest.raises(JobAborted):
        project.run(job)
    other = dataclasses.replace(project.forward, identity="another")
    monkeypatch.setattr(task, "load_centred_result", lambda *_: other)
    again = project.job()
    project.run(again)
    assert "Going on with the sums of an earlier run." not in again.reports


def test_batch_size_and_scratch_files_change_nothing_but_rounding(make_project, monkeypatch):
    project = make_project(80)
    few = project.run(project.job("DynaMight/job002"), backproject_batchsize=3)
    monkeypatch.setattr("jobtypes.dynamight.backprojection.memory_plan.MemoryPlan.cache_bytes", lambda *_: 0)
    many = project.run(project.job("DynaMight/job003"), backproject_batchsize=100)
    np.testing.assert_allclose(few["map_half1"], many["map_half1"], atol=1e-4 * np.abs(few["map_half1"]).max())


def test_outputs_and_pictures_are_written_and_registered_with_the_voxel_size(make_project):
    project = make_project(60)
    job = project.job()
    project.run(job)
    folder = job.directory / "backprojection"
    names = {Path(path).name for path in job.outputs}
    assert {"map_half1.mrc", "map_half2.mrc", "rigid_half1.mrc", "map_filtered.mrc", "mask.mrc", "logfile.pdf"} <= names
    with mrcfile.open(folder / "map_half1.mrc") as file:
        assert file.data.dtype == np.float32
        assert float(file.voxel_size.x) == pytest.approx(3.0)
    assert (folder / "figures/fsc.png").is_file()
    assert ElementTree.parse(folder / "fsc_deformed.xml").getroot().tag == "fsc"


def test_what_postprocess_takes_stands_at_the_top_of_the_job_directory_too(make_project):
    project = make_project(20)
    job = project.job()
    folder = project.root / job.directory
    (folder / "mask.mrc").write_text("of somebody else")
    (folder / "map_half2.mrc").symlink_to("elsewhere/old.mrc")
    project.run(job)
    for name in ("map_half1.mrc", "map_half2.mrc"):
        assert (folder / name).readlink() == Path("backprojection") / name
        assert job.outputs[str(job.directory / name)] == job.outputs[str(job.directory / "backprojection" / name)]
    assert (folder / "mask.mrc").read_text() == "of somebody else"
    assert any(
        "mask.mrc is to be a link to backprojection/mask.mrc, but something else has that name" in one for one in job.warnings
    )
    # another run of the task, which writes the maps anew
    before = (folder / "map_half1.mrc").stat().st_ino
    project.run(job)
    assert (folder / "map_half1.mrc").stat().st_ino == (folder / "backprojection/map_half1.mrc").stat().st_ino != before


def test_check_says_the_plan_and_writes_nothing(make_project, monkeypatch):
    project = make_project(60)
    monkeypatch.chdir(project.root)
    before = sorted(project.root.rglob("*"))
    sentences = task.check({"fn_star": "particles.star"}, project.root / "DynaMight/job002")
    assert any("bins leave" in sentence for sentence in sentences)
    one = task.check({"fn_star": "particles.star", "max_bins": 1}, project.root / "DynaMight/job002")
    assert any(" 1 bin leaves" in sentence for sentence in one)
    assert any(sentence.startswith("Memory:") for sentence in sentences)
    assert sorted(project.root.rglob("*")) == before


def test_there_are_as_many_bins_as_the_tolerance_takes_unless_somebody_says_how_many(make_project, monkeypatch):
    project = make_project(300)
    monkeypatch.chdir(project.root)
    for half in project.forward.halves.values():
        half.latent_log_variance[:] = -20
    given = {"fn_star": "particles.star", "bin_tolerance": 0.005}
    free, capped = (
        [one for one in task.check(given | cap, project.root / "DynaMight/job002") if "bins leave" in one]
        for cap in ({}, {"max_bins": 40})
    )
    for sentence in free:
        n_bins, left = re.search(r"(\d+) bins leave .* A \((.*) pixels\)", sentence).groups()
        assert int(n_bins) > 40
        assert float(left) <= 0.005
    assert all("40 bins leave" in sentence and "raise max_bins" in sentence for sentence in capped)


def test_bins_are_no_finer_than_the_deformations_of_single_particles_are_known(make_project, monkeypatch):
    project = make_project(300)
    monkeypatch.chdir(project.root)
    found = []
    for log_variance in (-20.0, -3.0, 0.0):
        for half in project.forward.halves.values():
            half.latent_log_variance[:] = log_variance
        sentences = task.check({"fn_star": "particles.star", "bin_tolerance": 0.02}, project.root / "DynaMight/job002")
        (first,) = (one for one in sentences if one.startswith("Half 1"))
        found.append((int(re.search(r"(\d+) bins? leave", first)[1]), "would gain nothing" in first))
    (exact, _), (uncertain, _), (unknown, _) = found
    assert exact > 2 * uncertain > 4 * unknown
    assert [fine for _, fine in found] == [False, True, True]


def test_a_missing_inverse_is_said_and_the_forward_field_used(make_project):
    job = make_project(20).job()
    make_project(20).run(job, backprojection_field="inverse")
    assert any("no inverse deformations in this job" in sentence for sentence in job.reports)


def test_inverse_and_forward_field_give_like_maps(make_project, monkeypatch):
    project = make_project(200)
    swing = project.forward.halves[1].model.field

    def inverse(points, coefficients):
        consensus = points
        for _ in range(30):
            consensus = points - coefficients.float() * swing.basis(consensus)[0]
        return consensus

    forward = project.run(project.job("DynaMight/job002"))
    inverses = Inverses({1: inverse, 2: inverse}, "by iteration"), "The inverse deformations are used."
    monkeypatch.setattr(task, "load_inverses", lambda *_: inverses)
    pulled = project.run(project.job("DynaMight/job003"), backprojection_field="inverse")
    assert mean_fsc(forward["map_half1"], pulled["map_half1"]) > 0.97


def test_an_inverse_is_asked_bin_by_bin_and_hears_a_wish_to_stop(make_project, monkeypatch):
    job, told = make_project(20).job(), []
    monkeypatch.setattr(job, "progress", lambda stage, done, total, unit: told.append((stage, done, total, unit)))
    inverse = Inverses({1: lambda points, coefficients: points + coefficients}, "").asked_by_bins(1, 3, job)
    assert inverse(torch.zeros(2, 3), torch.ones(3)).tolist() == [[1.0] * 3] * 2
    assert told == [("Half 1: inverse deformations of bins", 1, 3, "bins")]
    job.asked, job.stop_after = 1, 0
    with pytest.raises(JobAborted):
        inverse(torch.zeros(2, 3), torch.ones(3))
    assert len(told) == 1


def test_particles_other_than_those_of_the_training_are_refused(make_project):
    project = make_project(20)
    shutil.copy(project.root / "particles.star", project.root / "others.star")
    with pytest.raises(UserError, match=r"others\.star.*trained on particles\.star"):
        project.run(project.job(), fn_star="others.star")


def test_identity_is_no_copy():
    volume = torch.ones(2, 2, 2)
    assert Identity().push(volume) is volume


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_postprocess") is None, reason="relion_postprocess is not installed")
def test_relion_postprocess_takes_the_maps_as_they_are(make_project):
    project = make_project(200)
    job = project.job()
    project.run(job)
    (project.root / "PostProcess").mkdir()  # where it puts its logbook
    # by the names that RELION's schemer can say; it finds the second half map by the name of the first
    command = ["relion_postprocess", "--i", f"{job.directory}/map_half1.mrc", "--mask", f"{job.directory}/mask.mrc"]
    command += ["--angpix", "3", "--o", "PostProcess/pp"]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, check=True)
    assert "FINAL RESOLUTION" in done.stdout
    assert (project.root / "PostProcess/pp.mrc").is_file()


def test_bins_within_the_tolerance_are_as_good_as_a_bin_for_every_particle(make_project):
    project = make_project(80, noise=0.01, held_out=0.0)
    truth = project.true_map()

    def agreement(job: str, **values: float) -> float:
        return mean_fsc(average(project.run(project.job(f"DynaMight/{job}"), **values), "map"), truth)

    exact = agreement("job002", max_bins=1000, bin_tolerance=0.001)
    rigid, binned = agreement("job003", max_bins=1), agreement("job004", max_bins=40)
    assert exact - binned < 0.1 * (exact - rigid)
