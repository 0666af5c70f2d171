import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.pipeline.status import FINISHED, check_move, is_allowed


@pytest.mark.parametrize("end", FINISHED)
def test_a_running_job_may_end_in_three_ways_and_start_again(end):
    assert is_allowed(Status.RUNNING, end)
    assert is_allowed(end, Status.RUNNING)
    assert is_allowed(end, Status.SCHEDULED)


def test_a_job_that_died_without_a_mark_may_be_started_again():
    assert is_allowed(Status.RUNNING, Status.RUNNING)


def test_a_scheduled_job_cannot_succeed_without_running():
    with pytest.raises(UserError, match=r"job002/ is Scheduled and cannot become Succeeded; .*Running, Failed, Aborted"):
        check_move("DynaMight/job002/", Status.SCHEDULED, Status.SUCCEEDED)


def test_a_running_job_cannot_be_scheduled():
    assert not is_allowed(Status.RUNNING, Status.SCHEDULED)
