import os
import signal
import subprocess
import sys
import time

import pytest

from relion_jobs.ondisk.atomic import written_whole
from relion_jobs.ondisk.locks import project_lock, scheme_lock
from relion_jobs.ondisk.project import create, edit_pipeline
from relion_jobs.ondisk.unfinished import ABANDONED_SECONDS, remove_unfinished, unfinished_path

STOPS_WITHIN = """
import sys, time
from pathlib import Path
from relion_jobs.ondisk.atomic import written_whole

with written_whole(Path(sys.argv[1])) as temporary:
    print(temporary, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    """Another process in the midst of writing a file, and the path of what it has so far."""
    child = subprocess.Popen([sys.executable, "-c", STOPS_WITHIN, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True)
    yield child, type(tmp_path)(child.stdout.readline().strip())
    child.kill()
    child.wait()
    child.stdout.close()


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_what_another_process_is_writing_stays_however_old(writer, tmp_path):
    _, unfinished = writer
    age(unfinished, 2 * ABANDONED_SECONDS)
    remove_unfinished(tmp_path)
    assert unfinished.exists()


def test_what_a_killed_process_left_goes_at_once(writer, tmp_path):
    child, unfinished = writer
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert unfinished.exists()
    remove_unfinished(tmp_path)
    assert not unfinished.exists()


def test_a_later_process_of_the_same_number_does_not_keep_it(tmp_path):
    mine = unfinished_path(tmp_path / "a")
    host, pid, start, random = mine.name.split(".")[2].split("-")
    left = mine.with_name(f".a.{host}-{pid}-{int(start) - 1}-{random}.part")
    for path in (mine, left):
        path.touch()
    remove_unfinished(tmp_path)
    assert mine.exists()
    assert not left.exists()


@pytest.mark.parametrize("name", [".a.ffffffff-1-1-0123abcd.part", ".a.0123abcd.part", ".relion_lock.0000abcd.part"])
def test_a_writer_that_cannot_be_asked_about_is_given_a_day(tmp_path, name):
    (tmp_path / name).touch()
    age(tmp_path / name, ABANDONED_SECONDS - 60)
    remove_unfinished(tmp_path)
    assert (tmp_path / name).exists()
    age(tmp_path / name, ABANDONED_SECONDS + 60)
    remove_unfinished(tmp_path)
    assert not (tmp_path / name).exists()


def test_the_names_of_users_are_left_alone(tmp_path):
    (tmp_path / "a.part").touch()
    age(tmp_path / "a.part", 2 * ABANDONED_SECONDS)
    remove_unfinished(tmp_path)
    assert (tmp_path / "a.part").exists()


def test_a_change_of_the_pipeline_removes_nothing_that_this_process_writes_in_the_project(tmp_path):
    project = create(tmp_path / "project")
    with written_whole(project / ".relion_jobs_schedule.json") as temporary:
        temporary.write_text("{}")
        with edit_pipeline(project, "test"):
            pass
    assert (project / ".relion_jobs_schedule.json").read_text() == "{}"


@pytest.mark.parametrize("is_scheme", [False, True])
def test_a_lock_is_made_whole_while_others_change_the_pipeline(tmp_path, monkeypatch, is_scheme):
    project = create(tmp_path / "project")
    (project / "Schemes/flex").mkdir(parents=True)
    replace = os.replace

    def sweep_and_replace(source, target):
        remove_unfinished(project)
        replace(source, target)

    monkeypatch.setattr(os, "replace", sweep_and_replace)
    with scheme_lock(project, "flex", "test") if is_scheme else project_lock(project, "test"):
        pass
