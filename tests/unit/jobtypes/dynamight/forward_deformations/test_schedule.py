"""The schedule is pure."""

from itertools import pairwise

import pytest

from jobtypes.dynamight.forward_deformations.schedule import (
    FIRST_KL_WEIGHT,
    FIRST_STIFFNESS,
    FULL_KL_WEIGHT,
    LONGEST,
    hold_epoch,
    numbers_of_epochs,
    plan_epoch,
)


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
    planned = [numbers_of_epochs(particles)[0] for particles in (900, 3000, 1_000_000)]
    assert planned == sorted(planned, reverse=True)
    assert len(set(planned)) == 3


def test_a_training_may_be_longer_than_planned_but_not_than_asked_for():
    planned, most = numbers_of_epochs(3000)
    assert most == LONGEST * planned
    assert numbers_of_epochs(3000, 4) == (4, 4)
    assert numbers_of_epochs(3000, planned + 7) == (planned, planned + 7)


def test_the_plan_holds_where_all_resolution_is_there_and_the_prior_is_weak():
    for n_epochs in (12, 45, 48):
        held, after = (plan_epoch(hold_epoch(n_epochs) + later, n_epochs, 5.5) for later in (0, 1))
        assert held.resolution_angstroms == pytest.approx(5.5)
        assert held.kl_weight == FIRST_KL_WEIGHT < after.kl_weight
