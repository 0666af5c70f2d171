import numpy as np
import pytest

from jobtypes.simulate.states import places

UNIFORM = np.random.default_rng(0).uniform(0, 1, 20_000)


def share(values, low, high):
    return ((values >= low) & (values < high)).mean()


def test_even_states_are_the_random_numbers_themselves():
    assert places(UNIFORM, "even") is UNIFORM


def test_two_states_hold_six_and_four_of_ten_and_little_lies_between():
    found = places(UNIFORM, "two_states")
    assert share(found, 0.1, 0.3) == pytest.approx(0.6, abs=0.02)
    assert share(found, 0.7, 0.9) == pytest.approx(0.4, abs=0.02)
    assert share(found, 0.35, 0.65) < 0.001


def test_uneven_states_fall_sevenfold_from_start_to_end():
    counts, _ = np.histogram(places(UNIFORM, "uneven"), bins=10, range=(0, 1))
    assert counts.sum() == len(UNIFORM)
    assert counts[0] / counts[9] == pytest.approx(np.exp(2 * 0.9), rel=0.15)


@pytest.mark.parametrize("kind", ["even", "two_states", "uneven", "beta"])
def test_states_keep_their_order_and_stay_between_the_ends(kind):
    found = places(np.linspace(0, 1, 101), kind)
    assert (np.diff(found) >= 0).all()
    assert 0 <= found[0] <= found[-1] <= 1
