from dataclasses import astuple, fields, replace

import pytest

from jobtypes.simulate.job import JOB_TYPE
from jobtypes.simulate.options import PRESETS, QUICK, Nuisances, read_values
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.options import parse_values


def options(**values):
    return read_values(parse_values(JOB_TYPE.options, values))


def test_a_new_job_takes_the_quick_preset():
    assert options(nr_threads="1") == QUICK


def test_every_preset_of_job_yaml_is_known_and_consistent():
    for name in JOB_TYPE.option("preset").choices:
        assert options(preset=name, nr_threads="1") == PRESETS[name]


def test_a_given_option_takes_the_place_of_the_presets_only_there():
    hard = options(preset="hard", snr="0.5", motion_kind="bend")
    assert (hard.snr, hard.motion_kind, hard.box_size, hard.nr_motions) == (0.5, "bend", 96, 2)


def test_the_hard_preset_is_the_one_that_the_figures_are_given_for():
    hard = options(preset="hard")
    assert (hard.nr_particles, hard.angpix, hard.core_mass, hard.nr_arms, hard.amplitude) == (6000, 2.6, 200, 4, 14)
    assert (hard.snr, hard.noise, hard.pose_error_angle, hard.pose_error_shift) == (0.05, "coloured", 0.5, 0.2)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"defocus_min": "30000"}, "defocus_max"),
        ({"nr_motions": "2"}, "nr_arms"),
        ({"shift_range": "20"}, "shift_range"),
        ({"empty_share": "0.5", "other_share": "0.45"}, "0.95 together"),
        ({"missing_arm_share": "0.2", "nr_arms": "0", "nr_motions": "0"}, "missing_arm_share"),
    ],
)
def test_contradictions_are_refused_in_words(values, word):
    with pytest.raises(UserError, match=word):
        options(**values)


def test_nuisances_are_options_like_the_others():
    real = options(preset="real", empty_share="0.2", nr_particles="100")
    assert (real.nuisances.empty_share, real.nuisances.other_share, real.nr_particles) == (0.2, 0.05, 100)
    assert options(preset="hard").nuisances == Nuisances()


def test_the_real_preset_has_every_nuisance_and_the_size_and_signal_of_the_hard_one():
    real, hard = options(preset="real"), options(preset="hard")
    assert all(value > 0 for value in astuple(real.nuisances))
    same = ("nr_particles", "box_size", "angpix", "snr", "noise", "nr_motions", "amplitude", "core_mass", "pose_error_angle")
    assert [getattr(real, name) for name in same] == [getattr(hard, name) for name in same]


def test_real_rigid_is_real_without_motion():
    assert replace(options(preset="real"), nr_motions=0) == options(preset="real_rigid")


def test_the_turn_is_a_full_circle_in_a_small_box():
    turn = options(preset="turn")
    assert (turn.motion_kind, turn.turn_angle, turn.box_size, turn.snr) == ("turn", 360, 64, 0.1)


def test_every_nuisance_is_declared_in_job_yaml():
    declared = {option.variable for option in JOB_TYPE.options}
    assert {field.name for field in fields(Nuisances)} <= declared
