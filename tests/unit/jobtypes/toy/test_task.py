from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from jobtypes.toy.task import check, count, report
from relion_jobs.contract.errors import JobAborted, UserError


@pytest.fixture
def new_job(tmp_path, recording_job):
    return partial(recording_job, tmp_path, "External/job001")


@pytest.fixture
def values(tmp_path):
    (tmp_path / "parts.star").write_text("\ndata_particles\n\nloop_\n_rlnImageName #1\n1@a\n2@a\n3@a\n\n")
    return {"fn_in": str(tmp_path / "parts.star"), "rows_per_second": 0.0, "report_word": "ducks"}


def test_it_counts_the_rows_of_the_last_loop(tmp_path, values, new_job):
    count(values, new_job())
    assert (tmp_path / "External/job001/count.txt").read_text() == "3\n"


def test_after_an_abort_it_goes_on_where_it_stopped(tmp_path, values, new_job):
    with pytest.raises(JobAborted):
        count(values, new_job(stop_after=2))
    again = new_job(is_continue=True)
    count(values, again)
    assert again.reports == ["Counting 3 particles from row 2."]
    assert (tmp_path / "External/job001/count.txt").read_text() == "3\n"


def test_the_report_is_an_output(tmp_path, values, new_job):
    with pytest.raises(UserError):
        report(values, new_job())
    count(values, new_job())
    job = new_job()
    report(values, job)
    (path,) = map(Path, job.outputs)
    assert path.name == "report.txt"
    assert path.read_text() == "There are 3 ducks.\n"


def test_a_file_without_particles_is_refused_in_a_sentence(tmp_path, values):
    Path(values["fn_in"]).write_text("data_\n")
    with pytest.raises(UserError, match=r"parts\.star holds no table"):
        check(values, Path("External/job001"))
