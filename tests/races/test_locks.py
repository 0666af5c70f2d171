"""Locks between real processes: ours, RELION's, and those that died."""

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

from relion_jobs.contract.errors import LockTimeout, UserError
from relion_jobs.ondisk import pipeline_star
from relion_jobs.ondisk.locks import job_lock, project_lock
from relion_jobs.ondisk.project import create, edit_pipeline, read_pipeline
from relion_jobs.pipeline.graph import Pipeline

ADDS_JOBS = """
import sys
from pathlib import Path
from relion_jobs.contract.labels import Status
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.project import edit_pipeline
from relion_jobs.pipeline.graph import Process, add_process

project = Path(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with edit_pipeline(project, "add a job") as edit:
        name = edit.pipeline.next_job_directory("External")
        JobDirectory(project, name).create(new=True)
        edit.pipeline = add_process(edit.pipeline, Process(name, None, "relion.external.toy", Status.SCHEDULED))
    Path(project, name, "mine").write_text(sys.argv[3])
"""

HOLDS_PROJECT = """
import sys, time
from pathlib import Path
from relion_jobs.ondisk.locks import project_lock

with project_lock(Path(sys.argv[1]), "hold on"):
    print("there", flush=True)
    time.sleep(float(sys.argv[2]))
"""

HOLDS_JOB = """
import sys, time
from pathlib import Path
from relion_jobs.ondisk.locks import job_lock

with job_lock(Path(sys.argv[1])):
    print("there", flush=True)
    time.sleep(float(sys.argv[2]))
"""

WITHOUT_RIGHTS = """
import os, sys, time
from pathlib import Path
from relion_jobs.contract.errors import LockTimeout, UserError
from relion_jobs.ondisk.atomic import write_whole
from relion_jobs.ondisk.locks import job_lock, project_lock

project = Path(sys.argv[1])
os.setgid(65534)
os.setuid(65534)
for attempt in (
    lambda: project_lock(project, "x").__enter__(),
    lambda: job_lock(project).__enter__(),
    lambda: write_whole(project / "default_pipeline.star", "x"),
):
    start = time.monotonic()
    try:
        attempt()
    except LockTimeout:
        raise SystemExit("waited in vain")
    except UserError as error:
        assert "no permission" in str(error), error
        assert time.monotonic() - start < 2
    else:
        raise SystemExit("was allowed")
"""


def start(code, *words):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], stdout=subprocess.PIPE, text=True)


def start_and_wait(code, *words):
    child = start(code, *words)
    assert child.stdout.readline() == "there\n"
    return child


def end(child, how=None):
    if how is not None:
        child.send_signal(how)
    child.communicate(timeout=60)
    return child.returncode


def test_four_processes_add_ten_jobs_each_and_none_is_lost(tmp_path):
    project = create(tmp_path)
    children = [start(ADDS_JOBS, project, 10, who) for who in "abcd"]
    assert [end(child) for child in children] == [0] * 4
    pipeline = read_pipeline(project)
    names = [process.name for process in pipeline.processes]
    assert names == [f"External/job{number:03d}/" for number in range(1, 41)]
    assert pipeline.counter == 41
    owners = [(project / name / "mine").read_text() for name in names]
    assert sorted(owners) == sorted("abcd" * 10)
    assert not (project / ".relion_lock").exists()


def test_we_wait_for_another_process_of_ours_and_come_in_soon_after_it(tmp_path):
    child = start_and_wait(HOLDS_PROJECT, tmp_path, 0.7)
    begin = time.monotonic()
    with project_lock(tmp_path, "x"):
        waited = time.monotonic() - begin
    assert end(child) == 0
    assert 0.3 < waited < 2.5, "RELION would have slept 3 s"


def test_a_timeout_names_the_process_that_holds_the_lock(tmp_path):
    child = start_and_wait(HOLDS_PROJECT, tmp_path, 30)
    with (
        pytest.raises(LockTimeout, match=rf"hold on \(process {child.pid} on .* since "),
        project_lock(tmp_path, "x", wait_seconds=0.2),
    ):
        pass
    end(child, signal.SIGTERM)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_process_of_ours_that_died_is_removed_and_that_is_said(tmp_path, how):
    child = start_and_wait(HOLDS_PROJECT, tmp_path, 60)
    end(child, how)
    assert (tmp_path / ".relion_lock").exists()
    said = []
    begin = time.monotonic()
    with project_lock(tmp_path, "x", report=said.append):
        assert os.listdir(tmp_path / ".relion_lock") == ["lock_default_pipeline.star"]
    assert time.monotonic() - begin < 2
    assert len(said) == 1
    assert said[0].startswith(f"Removed the lock that process {child.pid} on")


def test_an_interrupted_process_takes_its_lock_along(tmp_path):
    child = start_and_wait(HOLDS_PROJECT, tmp_path, 60)
    assert end(child, signal.SIGINT) != 0
    assert not (tmp_path / ".relion_lock").exists()


def test_a_lock_of_ours_from_another_machine_is_not_broken(tmp_path):
    (tmp_path / ".relion_lock").mkdir()
    message = "relion_jobs: x (process 999999999 on elsewhere since 2026-11-22T06:27:25+0000)\n"
    (tmp_path / ".relion_lock" / "lock_default_pipeline.star").write_text(message)
    with pytest.raises(LockTimeout, match="elsewhere"), project_lock(tmp_path, "x", wait_seconds=0.2):
        pass
    assert (tmp_path / ".relion_lock" / "lock_default_pipeline.star").read_text() == message


def test_we_come_in_when_relion_gives_its_lock_back(tmp_path):
    project = create(tmp_path)
    (project / ".relion_lock").mkdir()
    (project / ".relion_lock" / "lock_default_pipeline.star").write_text("runJob: X")
    timer = threading.Timer(0.5, shutil.rmtree, [project / ".relion_lock"])
    timer.start()
    with edit_pipeline(project, "x", wait_seconds=20) as edit:
        assert edit.pipeline.counter == 1
    timer.join()


def test_a_job_is_run_by_one_process_at_once(tmp_path):
    child = start_and_wait(HOLDS_JOB, tmp_path, 60)
    begin = time.monotonic()
    with pytest.raises(LockTimeout, match=rf"is being run by process {child.pid} on"), job_lock(tmp_path):
        pass
    assert time.monotonic() - begin < 1
    end(child, signal.SIGKILL)
    with job_lock(tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give its rights away")
def test_a_project_of_somebody_else_is_refused_at_once(tmp_path):
    project = create(tmp_path)
    # pytest's own directories are closed to others; how many there are depends on who runs the tests
    for directory in (tmp_path, *tmp_path.parents):
        if not directory.stat().st_mode & stat.S_IXOTH:
            directory.chmod(0o755)
    child = start(WITHOUT_RIGHTS, project)
    assert end(child) == 0
    assert pipeline_star.read(project / "default_pipeline.star").counter == 1


def test_a_project_whose_pipeline_cannot_be_written_is_left_without_lock(tmp_path, monkeypatch):
    project = create(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full"), edit_pipeline(project, "x") as edit:
        edit.pipeline = Pipeline(counter=9)
    assert not (project / ".relion_lock").exists()
    assert read_pipeline(project).counter == 1
