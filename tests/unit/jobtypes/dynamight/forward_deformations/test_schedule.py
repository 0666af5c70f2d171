"""The schedule and the stop rule are pure."""

from itertools import pairwise

from jobtypes.dynamight.forward_deformations.schedule import (
    FIRST_KL_WEIGHT,
    FIRST_STIFFNESS,
    FULL_KL_WEIGHT,
    default_epochs,
    plan_epoch,
)
from jobtypes.dynamight.forward_deformations.stop_rule import StopRule


def test_resolution_only_gets_finer_and_ends_at_the_finest():
    resolutions = [plan_epoch(epoch, 50, 5.5).resolution_angstroms for epoch in range(50)]
    assert all(a >= b for a, b in pairwise(resolutions))
    assert resolutions[0] == 16.0
    assert abs(resolutions[-1] - 5.5) < 1e-9


def test_the_prior_comes_in_gradually():
    weights = [plan_epoch(epoch, 50, 5.5).kl_weight for epoch in range(50)]
    assert weights[0] == FIRST_KL_WEIGHT
    assert weights == sorted(weights)
    assert weights[-1] == FULL_KL_WEIGHT > weights[0]


def test_the_molecule_is_soft_until_its_motion_is_found():
    stiffness = [plan_epoch(epoch, 50, 5.5).stiffness for epoch in range(50)]
    assert stiffness[0] == FIRST_STIFFNESS < 1
    assert stiffness == sorted(stiffness)
    assert stiffness[30:] == [1.0] * 20


def test_the_consensus_is_made_anew_between_the_find_of_a_motion_and_its_last_refinement():
    assert [epoch for epoch in range(48) if plan_epoch(epoch, 48, 5.5).remakes_consensus] == [8, 12, 16, 20, 24, 28, 32]


def test_warm_up_comes_first_and_a_training_of_two_epochs_deforms_at_once():
    assert not plan_epoch(0, 40, 5.5).deforms
    assert plan_epoch(2, 40, 5.5).deforms
    assert plan_epoch(0, 2, 5.5).deforms


def test_fewer_epochs_for_more_particles():
    assert default_epochs(900) > default_epochs(3000) > default_epochs(1_000_000) > 0


def test_the_rule_stops_after_its_patience_without_improvement():
    rule = StopRule(patience=3)
    assert [rule.update(value) for value in (10.0, 9.0, 9.5, 8.0, 8.1, 8.2, 8.05)] == [False] * 6 + [True]


def test_the_rule_goes_on_from_its_saved_state():
    first, second = StopRule(patience=2), StopRule(patience=2)
    first.update(5.0)
    first.update(6.0)
    second.restore(first.state())
    assert second.update(6.0)
