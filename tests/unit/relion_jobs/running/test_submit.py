import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.running.submit import _start_here


def test_a_program_that_cannot_be_started_is_named(tmp_path):
    job = tmp_path / "External/job001"
    job.mkdir(parents=True)
    with pytest.raises(UserError, match="The program /no/python cannot be started: No such file"):
        _start_here(JobDirectory(tmp_path, "External/job001/"), ["/no/python", "-m", "x"])
