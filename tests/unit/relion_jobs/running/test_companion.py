"""A further process of a job: it works where the task shares its work, and writes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from relion_jobs.contract.errors import JobFailed
from relion_jobs.contract.jobtype import Task
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.running import companion
from relion_jobs.running.companion import CompanionProcess, accompany, is_companion
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


def test_it_shares_those_of_the_later_tasks_of_a_run_that_are_shared(tmp_path, monkeypatch):
    names = []
    monkeypatch.setattr(companion, "load_function", lambda name: lambda values, job: names.append((name, values["a"])))
    directory = JobDirectory(tmp_path, "X/job001")
    directory.create()
    first, *later = (
        Settings({}, {"a": number}, Task(name, name, f"m:{name}", shares_work=shared), is_continue=False)
        for number, (name, shared) in enumerate([("b", True), ("c", False), ("d", True)])
    )
    assert accompany(directory, lambda: replace(first, then=tuple(later))) == 0
    assert names == [("m:b", 0), ("m:d", 2)]


def test_a_failure_in_words_is_left_to_the_first_process_to_tell(accompanied, capsys):
    def task(values, job):
        raise JobFailed("NaN")

    assert accompanied(task) == (0, [])
    assert capsys.readouterr().err == ""


def test_a_bug_leaves_its_traceback_to_the_launcher(accompanied, capsys):
    assert accompanied(lambda values, job: 1 / 0) == (1, [])
    assert "ZeroDivisionError" in capsys.readouterr().err


TASKS = """
import json, os, signal, time
from pathlib import Path
from relion_jobs.contract.errors import UserError

def refuse(values, job):
    raise UserError("No such map.")

def stop(values, job):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
    job.check_abort()

def tell(values, job):
    said = {"values": values, "is_continue": job.is_continue, "rank": os.environ["RANK"], "pid": os.getpid()}
    Path(job.directory, "draft").write_text(json.dumps(said))
    Path(job.directory, "draft").rename(Path(job.directory, "told"))

def sleep(values, job):
    tell(values, job)
    time.sleep(600)
"""


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "some_tasks.py").write_text(TASKS)
    directory = JobDirectory(tmp_path, "X/job001")
    directory.create()
    return directory


def environment_of(directory):
    return {"PYTHONPATH": os.pathsep.join((str(directory.project), str(Path(companion.__file__).parents[2]))), "RANK": "1"}


def told(directory):
    path = directory.path / "told"
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return json.loads(path.read_text())


def test_a_process_that_the_task_asks_for_gets_its_values_and_variables_and_says_nothing(directory, capfd):
    process = CompanionProcess(directory, "some_tasks:tell", {"a": 1.5, "b": None}, environment_of(directory), is_continue=True)
    process.end(60)
    assert process.has_ended()
    found = told(directory)
    assert (found["values"], found["is_continue"], found["rank"]) == ({"a": 1.5, "b": None}, True, "1")
    assert found["pid"] != os.getpid()
    assert capfd.readouterr() == ("", "")


def test_what_it_fails_with_before_it_has_met_the_first_is_said(directory, capfd):
    CompanionProcess(directory, "some_tasks:refuse", {}, environment_of(directory), is_continue=False).end(60)
    assert capfd.readouterr() == ("", "Process 2: No such map.\n")


def test_that_it_was_asked_to_stop_is_no_error(directory, capfd):
    process = CompanionProcess(directory, "some_tasks:stop", {}, environment_of(directory), is_continue=False)
    process.end(60)
    assert process.has_ended()
    assert capfd.readouterr() == ("", "")


def test_one_that_does_not_end_is_ended(directory):
    process = CompanionProcess(directory, "some_tasks:sleep", {}, environment_of(directory), is_continue=False)
    told(directory)
    assert not process.has_ended()
    process.end(0.1)
    assert process.has_ended()


def test_it_ends_with_the_first_process_even_where_that_is_killed(directory):
    start = """
import os, sys, time
from pathlib import Path
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.running.companion import CompanionProcess
CompanionProcess(JobDirectory(Path.cwd(), "X/job001"), "some_tasks:sleep", {}, {}, is_continue=False)
time.sleep(600)
"""
    environment = {**os.environ, **environment_of(directory)}
    first = subprocess.Popen([sys.executable, "-c", start], cwd=directory.project, env=environment)
    second = told(directory)["pid"]
    first.send_signal(signal.SIGKILL)
    first.wait()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{second}/cmdline").exists() and Path(f"/proc/{second}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "it outlives the first process"
        time.sleep(0.02)
