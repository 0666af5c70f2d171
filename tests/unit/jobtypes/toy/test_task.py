from __future__ import annotations

from pathlib import Path

import pytest

from jobtypes.toy.task import check, count, report
from relion_jobs.contract.errors import JobAborted, UserError


class Job:
    def __init__(self, project: Path, *, is_continue: bool = False, abort_at: int = -1) -> None:
        self.project, self.directory, self.is_continue = project, Path("External/job001"), is_continue
        self.said: list[str] = []
        self.outputs: list[Path] = []
        self._polls, self._abort_at = 0, abort_at
        (project / self.directory).mkdir(parents=True, exist_ok=True)

    def report(self, sentence):
        self.said.append(sentence)

    def progress(self, stage, done, total, unit, **figures):
        pass

    def abort_requested(self):
        self._polls += 1
        return self._polls == self._abort_at

    def check_abort(self):
        raise JobAborted("stopped")

    def add_output(self, path, label):
        self.outputs.append(path)


@pytest.fixture
def values(tmp_path):
    (tmp_path / "parts.star").write_text("\ndata_particles\n\nloop_\n_rlnImageName #1\n1@a\n2@a\n3@a\n\n")
    return {"fn_in": str(tmp_path / "parts.star"), "rows_per_second": 0.0, "report_word": "ducks"}


def test_it_counts_the_rows_of_the_last_loop(tmp_path, values):
    count(values, Job(tmp_path))
    assert (tmp_path / "External/job001/count.txt").read_text() == "3\n"


def test_after_an_abort_it_goes_on_where_it_stopped(tmp_path, values):
    with pytest.raises(JobAborted):
        count(values, Job(tmp_path, abort_at=3))
    again = Job(tmp_path, is_continue=True)
    count(values, again)
    assert again.said == ["Counting 3 particles from row 2."]
    assert (tmp_path / "External/job001/count.txt").read_text() == "3\n"


def test_the_report_is_an_output(tmp_path, values):
    with pytest.raises(UserError):
        report(values, Job(tmp_path))
    count(values, Job(tmp_path))
    job = Job(tmp_path)
    report(values, job)
    assert [path.name for path in job.outputs] == ["report.txt"]
    assert job.outputs[0].read_text() == "There are 3 ducks.\n"


def test_a_file_without_particles_is_refused_in_a_sentence(tmp_path, values):
    Path(values["fn_in"]).write_text("data_\n")
    with pytest.raises(UserError, match=r"parts\.star holds no table"):
        check(values, Path("External/job001"))
