import pytest

from relion_jobs.contract import labels
from relion_jobs.contract.labels import Status


def test_relion_knows_five_statuses():
    assert list(Status) == ["Running", "Scheduled", "Succeeded", "Failed", "Aborted"]


def test_a_status_is_written_as_its_word():
    assert f"{Status.RUNNING}" == "Running"


@pytest.mark.parametrize("mark", labels.EXIT_MARKS)
def test_each_exit_mark_means_one_status(mark):
    assert labels.MARK_OF_STATUS[labels.STATUS_OF_MARK[mark]] == mark


def test_marks_have_relions_names():
    assert labels.JOB_MARKS == (
        "RELION_JOB_EXIT_SUCCESS",
        "RELION_JOB_EXIT_FAILURE",
        "RELION_JOB_EXIT_ABORTED",
        "RELION_JOB_ABORT_NOW",
    )
