"""Rounds of work on both half sets: what one comes to, the other hears of."""

from __future__ import annotations

import time

import pytest

from jobtypes.common.team import Team
from jobtypes.dynamight.forward_deformations.rounds import Progress, Rounds
from relion_jobs.contract.errors import JobAborted, JobFailed

PROGRESS = Progress("work", lambda: 0, lambda: 1)


@pytest.fixture
def new_rounds(tmp_path, recording_job):
    def make(**stop: int) -> Rounds:
        return Rounds(dict, workers=2, writer=None, job=recording_job(tmp_path, "job001", **stop), team=Team())

    return make


def until_left(rounds: Rounds) -> None:
    """Work that has no end of its own."""
    deadline = time.monotonic() + 20
    while not rounds.leave():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_came_to_its_end_is_told_by_half_set_and_what_was_left_is_not(new_rounds):
    rounds = new_rounds(stop_after=3)
    assert rounds.work([1, 2], lambda half: 7 if half == 2 else until_left(rounds), PROGRESS) == {2: 7}
    with pytest.raises(JobAborted):
        rounds.save([])


def test_where_the_work_on_one_half_set_fails_the_other_is_left(new_rounds):
    rounds = new_rounds()

    def piece(half: int) -> None:
        if half == 2:
            raise JobFailed("of half 2")
        until_left(rounds)

    with pytest.raises(JobFailed, match="of half 2"):
        rounds.work([1, 2], piece, PROGRESS)
