import pytest

from jobtypes.simulate.job import JOB_TYPE
from jobtypes.simulate.options import PRESETS, QUICK, read_values
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
    ],
)
def test_contradictions_are_refused_in_words(values, word):
    with pytest.raises(UserError, match=word):
        options(**values)
