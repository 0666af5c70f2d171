from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
import torch

from jobtypes.common.ctf import ctf as product_ctf
from jobtypes.common.fourier import frequencies_2d, fsc, rfft2
from jobtypes.common.particles import read_particles
from jobtypes.common.volumes import read_volume
from jobtypes.simulate.geometry import matrices_of
from jobtypes.simulate.job import JOB_TYPE, OUTPUTS
from jobtypes.simulate.reconstruct import SliceInsertion, unshift
from jobtypes.simulate.task import check
from jobtypes.simulate.truth import read_truth
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.options import parse_values

TRUTH_FILES = ["t.npy", "half.npy", "poses.npy", "model.npz", "volumes_t.npy", "vol_000.mrc", "consensus.mrc", "consensus_t.npy"]
TRUTH_FILES += ["kind.npy", "has_arm.npy", "amplitude.npy", "defocus.npy"]
TRUTH_FILES += [f"mask_{name}.mrc" for name in ("union", "consensus", "moving", "core")] + [
    "oracle_half1.mrc",
    "oracle_half2.mrc",
]


def test_every_declared_output_and_every_file_of_the_truth_is_there(tiny_set):
    missing = [name for name, _ in OUTPUTS if not (tiny_set / name).is_file()]
    missing += [name for name in TRUTH_FILES if not (tiny_set / "truth" / name).is_file()]
    assert missing == []


def test_the_star_file_and_the_truth_speak_of_the_same_particles(tiny_set):
    particles, truth = starfile.read(tiny_set / "particles.star")["particles"], read_truth(tiny_set)
    assert len(particles) == len(truth.coordinates) == 120
    assert particles.rlnRandomSubset.tolist() == truth.half.tolist()
    assert particles.rlnRandomSubset.value_counts().tolist() == [60, 60]
    np.testing.assert_allclose(particles[["rlnAngleRot", "rlnAngleTilt"]], truth.poses[:, :2], atol=1e-5)
    slice_number, stack = particles.rlnImageName[119].split("@")
    assert int(slice_number) == 120
    assert (tiny_set.parents[1] / stack).is_file()


def test_noise_has_variance_one_and_signal_the_ratio_asked_for(tiny_set):
    with mrcfile.open(tiny_set / "Particles/particles_001.mrcs") as file:
        variance = file.data.var()
    assert variance == pytest.approx(2.0, rel=0.05)  # signal-to-noise ratio 1


def test_without_motion_the_ceiling_is_higher(tiny_set):
    truth = read_truth(tiny_set)
    mask, known = truth.map("mask_moving"), truth.map("consensus")
    rigid, oracle = (
        sum(read_volume(tiny_set / f"{name}{half}.mrc").data for half in (1, 2)) for name in ("half", "truth/oracle_half")
    )
    assert fsc(oracle, known, mask)[1:12].mean() > fsc(rigid, known, mask)[1:12].mean() + 0.1


def test_the_mask_holds_the_molecule_in_every_conformation(tiny_set):
    truth, mask = read_truth(tiny_set), read_volume(tiny_set / "mask.mrc").data
    nearest = np.rint(truth.model.path.reshape(-1, 3) / 5).astype(int) + 16
    assert (mask[nearest[:, 2], nearest[:, 1], nearest[:, 0]] > 0.5).float().mean() > 0.97
    assert mask.mean() < 0.35


def test_the_maps_along_the_motion_are_renderings_of_the_model(tiny_set):
    truth = read_truth(tiny_set)
    torch.testing.assert_close(truth.map("vol_003"), truth.render(truth.grid()[3]), atol=1e-5, rtol=1e-4)


def test_the_same_seed_gives_the_same_images_whatever_the_stack_format(tiny_set, make_set, tmp_path):
    again = make_set(tmp_path, float16="Yes")
    first, second = (mrcfile.read(place / "Particles/particles_001.mrcs").astype(float) for place in (tiny_set, again))
    np.testing.assert_allclose(first, second, atol=5e-3)


def test_two_motions_give_two_coordinates_and_a_grid_of_maps(make_set, tmp_path):
    truth = read_truth(
        make_set(tmp_path, nr_motions="2", nr_arms="2", amplitude="10", nr_particles="8", noise="coloured", motion_kind="bend")
    )
    assert truth.coordinates.shape == (8, 2)
    assert truth.grid().shape == (16, 2)


def test_a_rigid_set_has_no_coordinates_and_an_oracle_equal_to_its_maps(make_set, tmp_path):
    place = make_set(tmp_path, nr_motions="0", nr_particles="40")
    truth = read_truth(place)
    assert truth.coordinates.shape == (40, 0)
    assert not truth.mobile.any()
    torch.testing.assert_close(truth.map("oracle_half1"), read_volume(place / "half1.mrc").data)


def test_pose_errors_are_in_the_star_file_and_not_in_the_truth(make_set, tmp_path):
    place = make_set(tmp_path, pose_error_angle="1", pose_error_shift="0.2", nr_particles="60")
    given = starfile.read(place / "particles.star")["particles"][["rlnOriginXAngst", "rlnOriginYAngst"]].to_numpy()
    assert (given - read_truth(place).poses[:, 3:]).std() == pytest.approx(1.0, rel=0.3)


def test_what_is_wrong_is_in_the_truth_and_its_consequence_in_the_star_file(junk_set):
    truth, given = read_truth(junk_set), starfile.read(junk_set / "particles.star")["particles"]
    files = {name: np.load(junk_set / f"truth/{name}.npy") for name in ("kind", "has_arm", "amplitude", "defocus")}
    assert np.bincount(files["kind"], minlength=6).min() > 0
    assert truth.is_judged.sum() == ((files["kind"] == 0) & files["has_arm"]).sum()
    assert (files["amplitude"] == 0).tolist() == np.isin(files["kind"], (1, 2)).tolist()
    angles = given[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy()
    off = np.abs(matrices_of(angles) - matrices_of(truth.poses[:, :3])).max((1, 2))
    assert off[~truth.is_junk].max() < 1e-4
    assert off[truth.is_junk].min() > 0.05
    assert (given.rlnDefocusU - files["defocus"][:, 0]).std() == pytest.approx(200, rel=0.3)


def test_the_rigid_maps_are_made_of_all_particles_at_the_poses_and_defocus_of_the_star_file(junk_set):
    stack = torch.from_numpy(mrcfile.read(junk_set / "Particles/particles_001.mrcs").copy())
    table = read_particles(junk_set / "particles.star")
    matrices = torch.from_numpy(matrices_of(table.angles_degrees)).float()
    transfer = product_ctf(table.ctf_parameters(), frequencies_2d(32, 5.0))
    spectra = unshift(rfft2(stack), torch.from_numpy(table.origins_angstroms).float(), frequencies_2d(32, 5.0))
    for half in (1, 2):
        mine, again = torch.from_numpy(np.flatnonzero(table.half == half)), SliceInsertion(32)
        again.insert([spectra[mine]], transfer[mine], matrices[mine])
        written = read_volume(junk_set / f"half{half}.mrc").data
        assert float(fsc(again.volume(), written)[1:15].min()) > 0.999


def test_a_turn_and_a_dense_part_go_through_the_whole_job(make_set, tmp_path):
    place = make_set(tmp_path, motion_kind="turn", dense_part="shell", nr_particles="20", states="two_states", angpix="6")
    truth = read_truth(place)
    assert truth.model.is_circle.tolist() == [True]
    assert (truth.model.elements == "S").sum() > 100


def test_check_tells_of_all_that_is_wrong():
    plan = check(parse_values(JOB_TYPE.options, {"preset": "real"}), Path("External/job007"))[0]
    for words in (
        "dense rod",
        "unevenly spread",
        "5% empty",
        "5% at a wrong pose",
        "20% without the first arm",
        "wrong by 200 A",
    ):
        assert words in plan
    turn = check(parse_values(JOB_TYPE.options, {"preset": "turn"}), Path("External/job007"))[0]
    assert "a turn through 360 degrees" in turn


def test_check_says_what_would_be_made():
    plan = check(parse_values(JOB_TYPE.options, {"preset": "hard"}), Path("External/job007"))
    assert "2 independent motions of 10%" in plan[0]
    assert "6000 images of 96 pixels" in plan[1]


def test_a_box_that_is_too_small_is_refused_with_the_one_that_would_do():
    with pytest.raises(UserError, match=r"box_size 40 at 3 A per pixel is too small.*at least \d+"):
        check(parse_values(JOB_TYPE.options, {"box_size": "40"}), Path("External/job007"))
