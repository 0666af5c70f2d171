from dataclasses import fields

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jobtypes.simulate.geometry import Poses
from jobtypes.simulate.nuisances import EMPTY, GOOD, JUNK, OTHER, WRONG_POSE, Plan, draw_plan
from jobtypes.simulate.optics import random_optics
from jobtypes.simulate.options import Nuisances

COUNT = 5000


def plan(**shares):
    return draw_plan(Nuisances(**shares), COUNT, np.random.default_rng(0))


@pytest.fixture(scope="module")
def poses():
    rng = np.random.default_rng(1)
    return Poses(Rotation.random(COUNT, random_state=rng).as_matrix(), rng.normal(size=(COUNT, 2)))


def test_without_nuisances_nothing_is_wrong(poses):
    optics = random_optics(COUNT, np.random.default_rng(2), defocus_angstroms=(8000, 20000), voltage_kilovolts=300)
    found = plan()
    assert found.is_clean.all()
    assert (found.amplitude == 1).all()
    assert (found.true_poses(poses).matrices == poses.matrices).all()
    assert (found.observed_poses(poses).matrices == poses.matrices).all()
    assert (found.observed_optics(optics).defocus_columns() == optics.defocus_columns()).all()


def test_every_fault_has_its_share():
    shares = {"empty_share": 0.1, "other_share": 0.05, "wrong_pose_share": 0.2, "neighbour_share": 0.15, "speck_share": 0.08}
    found = np.bincount(plan(**shares).kind, minlength=6) / COUNT
    np.testing.assert_allclose(found, [0.42, *shares.values()], atol=0.02)


def test_the_share_of_missing_arms_holds_for_good_particles_and_junk_alike():
    found = plan(empty_share=0.3, missing_arm_share=0.25)
    for kind in (GOOD, EMPTY):
        assert 1 - found.has_arm[found.kind == kind].mean() == pytest.approx(0.25, abs=0.03)


def test_amplitudes_have_mean_one_and_the_spread_asked_for():
    found = plan(amplitude_spread=0.2).amplitude
    assert found.mean() == pytest.approx(1, abs=0.01)
    assert found.std() == pytest.approx(0.2, rel=0.05)
    assert found.min() > 0


def test_the_amplitude_of_our_molecule_is_zero_where_it_is_not():
    found = plan(empty_share=0.2, other_share=0.2, wrong_pose_share=0.2)
    assert (found.amplitude[np.isin(found.kind, (EMPTY, OTHER))] == 0).all()
    assert (found.amplitude[np.isin(found.kind, (GOOD, WRONG_POSE))] == 1).all()


def test_side_views_are_seen_from_the_side_and_the_others_as_before(poses):
    found = plan(side_view_share=0.4)
    true = found.true_poses(poses)
    tilt = true.angles_degrees[:, 1]
    assert found.is_side_view.mean() == pytest.approx(0.4, abs=0.02)
    assert np.abs(tilt[found.is_side_view] - 90).max() < 45
    assert np.abs(tilt[found.is_side_view] - 90).std() < 10
    # evenly spread views lie within 20 degrees of the side for one in three
    near = np.abs(tilt - 90) < 20
    assert near.mean() == pytest.approx(0.4 * 0.954 + 0.6 * np.sin(np.deg2rad(20)), abs=0.03)
    assert (true.matrices[~found.is_side_view] == poses.matrices[~found.is_side_view]).all()


def test_junk_has_an_orientation_that_has_nothing_to_do_with_the_true_one(poses):
    found = plan(empty_share=0.1, other_share=0.1, wrong_pose_share=0.1, neighbour_share=0.1)
    observed = found.observed_poses(poses)
    angle = np.rad2deg(Rotation.from_matrix(observed.matrices @ poses.matrices.transpose(0, 2, 1)).magnitude())
    junk = np.isin(found.kind, JUNK)
    assert angle[~junk].max() < 1e-3
    # the mean angle between random orientations is 126.5 degrees
    assert angle[junk].mean() == pytest.approx(126.5, abs=3)
    assert (observed.origins_angstroms == poses.origins_angstroms).all()


def test_the_defocus_of_the_star_file_is_wrong_by_the_rms_asked_for():
    optics = random_optics(COUNT, np.random.default_rng(2), defocus_angstroms=(8000, 20000), voltage_kilovolts=300)
    wrong = plan(defocus_error=250).observed_optics(optics).defocus_columns() - optics.defocus_columns()
    np.testing.assert_allclose(wrong[:, 0], wrong[:, 1], atol=1e-6)
    assert np.sqrt((wrong[:, 0] ** 2).mean()) == pytest.approx(250, rel=0.05)
    assert (wrong[:, 2] == 0).all()


@pytest.mark.parametrize(
    ("option", "changed"),
    [
        ({"missing_arm_share": 0.3}, {"has_arm"}),
        ({"side_view_share": 0.3}, {"is_side_view"}),
        ({"amplitude_spread": 0.3}, {"amplitude"}),
        ({"defocus_error": 100}, {"defocus_error_angstroms"}),
        ({"speck_share": 0.3}, {"kind"}),
    ],
)
def test_one_option_changes_nothing_of_what_another_does(option, changed):
    before, after = plan(), plan(**option)
    differing = {f.name for f in fields(Plan) if not np.array_equal(getattr(before, f.name), getattr(after, f.name))}
    assert differing == changed
