"""The pace is pure: a held-out objective in, the epoch that comes next out."""

from __future__ import annotations

from jobtypes.dynamight.forward_deformations.pace import Pace
from jobtypes.dynamight.forward_deformations.schedule import hold_epoch

HOLD = hold_epoch(20)


def run(pace: Pace, objectives: list[float]) -> list[int]:
    """Positions of the epochs that a training does."""
    positions = []
    values = iter(objectives)
    while not pace.is_done:
        positions.append(pace.position)
        pace.advance(next(values, objectives[-1]))
    return positions


def test_a_set_that_improves_no_more_goes_on_after_the_patience() -> None:
    pace = Pace(20, 60)
    positions = run(pace, [5.0])
    assert positions == [*range(HOLD), *[HOLD] * (1 + pace.patience), *range(HOLD + 1, 20)]
    assert pace.has_converged
    assert "after epoch 14, when held-out particles improved no more; 24 epochs" in pace.sentence()


def test_a_set_that_improves_is_held_until_it_does_no_more() -> None:
    pace = Pace(20, 60)
    improving = [10.0 - 0.1 * epoch for epoch in range(HOLD + 12)]
    assert len(run(pace, improving)) == 20 + 11 + pace.patience
    assert pace.has_converged


def test_a_set_that_improves_for_ever_goes_on_when_time_is_up_and_says_so() -> None:
    pace = Pace(20, 60)
    assert len(run(pace, [10.0 - 0.1 * epoch for epoch in range(200)])) == 60
    assert not pace.has_converged
    assert "still improved" in pace.sentence()


def test_improvements_below_the_tolerance_are_none() -> None:
    pace = Pace(20, 60, tolerance=0.05)
    assert len(run(pace, [10.0 - 0.001 * epoch for epoch in range(200)])) == 20 + pace.patience


def test_a_plan_without_more_epochs_is_done_as_it_is_and_claims_nothing() -> None:
    pace = Pace(20, 20)
    assert run(pace, [5.0]) == list(range(20))
    assert "all 20 epochs that were allowed were done" in pace.sentence()
    pace = Pace(20, 22)
    assert len(run(pace, [5.0])) == 22
    assert "all 22 epochs that were allowed were done" in pace.sentence()


def test_only_an_epoch_that_is_done_again_is_one() -> None:
    pace, again = Pace(20, 60), []
    while not pace.is_done:
        again.append(pace.is_again)
        pace.advance(5.0)
    assert [epoch for epoch, value in enumerate(again) if value] == list(range(HOLD + 1, HOLD + 1 + pace.patience))


def test_with_other_images_the_last_quarter_of_the_plan_is_done_again() -> None:
    ended = Pace(12, 40)
    run(ended, [5.0])
    now = Pace(48, 120)
    assert now.carried_over(ended.state(), 0.25) == 3
    assert now.position == 36
    assert now.has_converged
    assert now.n_epochs == 48


def test_what_held_out_particles_said_of_other_images_is_forgotten_before_the_hold() -> None:
    stopped = Pace(20, 60)
    for _ in range(HOLD + 4):
        stopped.advance(-1e9)
    now = Pace(20, 60)
    assert now.carried_over(stopped.state(), 0.25) == 0
    assert (now.position, now.held, now.epochs_without_improvement) == (HOLD, 0, 0)
    now.advance(5.0)
    assert now.position == HOLD  # it improves on what it knows: nothing


def test_it_goes_on_from_its_saved_state() -> None:
    first, second = Pace(20, 60), Pace(20, 60)
    for epoch in range(HOLD + 3):
        first.advance(8.0 - epoch)
    second.restore(first.state())
    assert second == first
    assert run(second, [1.0]) == run(first, [1.0])
