"""A further process of a job: it works where the task shares its work, and writes nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from relion_jobs.contract.errors import JobFailed
from relion_jobs.contract.jobtype import Task
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.running import companion
from relion_jobs.running.companion import accompany, is_companion
from relion_jobs.running.settings import Settings


@pytest.fixture
def accompanied(tmp_path, monkeypatch):
    """Accompany a job with a function as its task; returns the exit code and what the directory holds then."""
    directory = JobDirectory(tmp_path, "X/job001")
    directory.create()

    def call(task, *, shares_work=True):
        monkeypatch.setattr(companion, "load_function", lambda name: task)
        settings = Settings({}, {}, Task("a", "a", "m:f", shares_work=shares_work), is_continue=True)
        code = accompany(directory, lambda: settings)
        return code, [path.name for path in directory.path.iterdir()]

    return call


def test_only_a_process_of_several_that_is_not_the_first_is_a_companion():
    assert not is_companion({})
    assert not is_companion({"RANK": "0", "WORLD_SIZE": "2"})
    assert not is_companion({"RANK": "1"})
    assert is_companion({"RANK": "1", "WORLD_SIZE": "2"})


def test_it_works_and_says_and_writes_nothing(accompanied, capsys):
    seen = SimpleNamespace()

    def task(values, job):
        seen.is_continue = job.is_continue
        job.report("a")
        job.warn("b")
        job.progress("c", 1, 2, "d")
        job.add_output(job.directory / "e", "f")

    assert accompanied(task) == (0, [])
    assert seen.is_continue
    assert capsys.readouterr() == ("", "")


def test_a_task_that_does_not_share_its_work_is_left_to_the_first_process(accompanied):
    assert accompanied(lambda values, job: pytest.fail("must not run"), shares_work=False) == (0, [])


def test_a_failure_in_words_is_left_to_the_first_process_to_tell(accompanied, capsys):
    def task(values, job):
        raise JobFailed("NaN")

    assert accompanied(task) == (0, [])
    assert capsys.readouterr().err == ""


def test_a_bug_leaves_its_traceback_to_the_launcher(accompanied, capsys):
    assert accompanied(lambda values, job: 1 / 0) == (1, [])
    assert "ZeroDivisionError" in capsys.readouterr().err
