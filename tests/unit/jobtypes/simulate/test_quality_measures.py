from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from jobtypes.simulate.nuisances import EMPTY, GOOD, NEIGHBOUR, OTHER, WRONG_POSE
from jobtypes.simulate.quality_measures import area_under_curve, calibration, score_quality

KIND = np.array([GOOD] * 60 + [EMPTY] * 10 + [OTHER] * 10 + [WRONG_POSE] * 10 + [NEIGHBOUR] * 10)
TRUTH = SimpleNamespace(kind=KIND, is_junk=np.isin(KIND, (EMPTY, OTHER, WRONG_POSE)))
EVERY = np.arange(100)


def test_the_area_is_that_of_an_independent_program_with_ties_and_all():
    rng = np.random.default_rng(0)
    good = rng.random(300) < 0.7
    values = np.round(rng.normal(good * 1.0, 1.0), 1)
    assert area_under_curve(values, good) == pytest.approx(roc_auc_score(good, values))


def test_the_area_of_one_class_alone_has_no_meaning():
    assert np.isnan(area_under_curve(np.ones(3), np.ones(3, bool)))


def test_the_truth_as_quality_is_perfect_and_calibrated():
    found = score_quality(TRUTH, np.where(TRUTH.is_junk, 0.0, 1.0), EVERY)
    assert (found.auc, found.calibration_error, found.particles, found.junk) == (1, 0, 90, 30)
    assert [(one.particles, one.good_share) for one in found.calibration] == [(30, 0), (60, 1)]


def test_the_same_quality_for_all_tells_nothing_but_may_be_calibrated():
    found = score_quality(TRUTH, np.full(100, 2 / 3), EVERY)
    assert found.auc == 0.5
    assert found.calibration_error == pytest.approx(0, abs=1e-9)
    assert score_quality(TRUTH, np.full(100, 0.9), EVERY).calibration_error == pytest.approx(0.9 - 2 / 3)


def test_spoiled_images_are_neither_good_nor_junk_and_only_their_mean_is_told():
    quality = np.where(KIND == NEIGHBOUR, 0.3, np.where(TRUTH.is_junk, 0.0, 1.0))
    found = score_quality(TRUTH, quality, EVERY)
    assert found.auc == 1
    assert found.mean_by_kind["neighbour"] == pytest.approx(0.3)
    assert set(found.mean_by_kind) == {"good", "empty", "other molecule", "wrong pose", "neighbour"}


def test_only_the_particles_of_the_result_count():
    rows = EVERY[KIND == GOOD][:7]
    found = score_quality(TRUTH, np.ones(7), rows)
    assert (found.particles, found.junk) == (7, 0)


def test_of_those_at_nine_tenths_the_share_that_is_good_is_told():
    values = np.array([0.9] * 10 + [1.0] * 5 + [0.0] * 4)
    good = np.array([True] * 8 + [False] * 2 + [True] * 5 + [False] * 4)
    bins = {(one.low, one.high): (one.particles, one.good_share) for one in calibration(values, good)}
    assert bins == {(0.85, 0.95): (10, 0.8), (0.95, 1.0): (5, 1.0), (0.0, 0.05): (4, 0.0)}
