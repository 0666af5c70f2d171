from types import SimpleNamespace

import numpy as np
import pytest

from jobtypes.simulate.nuisances import EMPTY, GOOD
from jobtypes.simulate.occupancy_measures import score_occupancy
from jobtypes.simulate.sentences import occupancy_words

RNG = np.random.default_rng(0)
KIND = np.array([GOOD] * 360 + [EMPTY] * 40)
HAS_ARM = RNG.random(400) < 0.75
TRUTH = SimpleNamespace(kind=KIND, has_arm=HAS_ARM)
EVERY = np.arange(400)
LACKING = int((~HAS_ARM[:360]).sum())


def test_the_truth_as_occupancy_is_perfect_and_junk_has_no_say():
    values = np.where(KIND == GOOD, HAS_ARM, ~HAS_ARM).astype(float)
    found = score_occupancy(TRUTH, {"a": np.full(400, 0.5), "b": values}, EVERY, {})
    assert (found.part, found.auc, found.calibration_error) == ("b", 1, 0)
    assert (found.particles, found.lacking) == (360, LACKING)
    assert "b is higher where the arm is there in 100.0% of pairs" in occupancy_words(found)


def test_without_an_occupancy_nothing_is_told():
    found = score_occupancy(TRUTH, {}, EVERY, {})
    assert (found.part, found.auc) == ("", 0.5)
    assert "no part was found to be missing" in occupancy_words(found)


def test_latents_that_tell_the_absence_are_found_out():
    absent = np.column_stack([HAS_ARM + 0.1 * RNG.standard_normal(400), RNG.standard_normal(400)])
    other = RNG.standard_normal((400, 2))
    found = score_occupancy(TRUTH, {}, EVERY, {1: (absent, EVERY), 2: (other, EVERY)})
    assert found.absence_in_latents[1] > 0.9
    assert found.absence_in_latents[2] == pytest.approx(0, abs=0.15)


def test_of_a_set_of_whole_molecules_it_is_said_whether_one_was_called_incomplete():
    whole = SimpleNamespace(kind=KIND, has_arm=np.ones(400, bool))
    assert "none is said to" in occupancy_words(score_occupancy(whole, {}, EVERY, {1: (np.zeros((400, 2)), EVERY)}))
    assert "a says so of some" in occupancy_words(score_occupancy(whole, {"a": np.ones(400)}, EVERY, {}))


def test_a_set_in_which_all_lack_the_arm_is_said_to_be_one():
    none = SimpleNamespace(kind=KIND, has_arm=np.zeros(400, bool))
    found = score_occupancy(none, {"a": np.ones(400)}, EVERY, {1: (np.zeros((400, 2)), EVERY), 2: (np.zeros((0, 2)), EVERY[:0])})
    assert "all molecules lack the first arm" in occupancy_words(found)
    assert found.absence_in_latents == {}
