"""A disk that is full, read-only or slow: what is there stays, a sentence says why, and it goes on when there is room again."""

import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

from relion_jobs import cli
from relion_jobs.ondisk import atomic
from relion_jobs.ondisk.project import create, edit_pipeline, read_pipeline
from relion_jobs.pipeline.graph import Pipeline

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="only root can mount a small disk")
NEW = ["new", "toy", "-o", "fn_in=parts.star"]

# from its n-th change on the disk has no room for anything new
FULL_FROM = """
import errno, sys
from relion_jobs import cli
from tests.campaigns.in_worker.kill_at import watch

count = 0
def on_change(event, arguments):
    global count
    count += 1
    if count >= int(sys.argv[1]) and event in ("open", "os.mkdir", "os.rename", "os.symlink"):
        raise OSError(errno.ENOSPC, "No space left on device", str(arguments[0]))

watch(sys.argv[2], on_change)
sys.exit(cli.main(sys.argv[3:]))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("RELION_JOBS_SITE", "")
    return make(tmp_path / "project", monkeypatch)


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """A project on a disk of 256 kB of its own."""
    monkeypatch.setenv("RELION_JOBS_SITE", "")
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield make(place / "project", monkeypatch)
    os.chdir(tmp_path)
    subprocess.run(["umount", "-l", place], check=True)


def make(path, monkeypatch):
    project = create(path)
    (project / "parts.star").write_text("data_particles\n\nloop_\n_rlnImageName #1\n1@a.mrcs\n\n")
    monkeypatch.chdir(project)
    assert cli.main(NEW) == 0
    return project


def fill(path):
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@pytest.mark.parametrize("number", [1, 2, 4, 7, 11, 16, 22, 29])
def test_a_disk_that_gets_full_at_any_moment_of_new_leaves_the_project_as_it_was(project, number):
    before = (project / "default_pipeline.star").read_bytes()
    words = [sys.executable, "-c", FULL_FROM, str(number), str(project), *NEW]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(path) for path in sys.path)}
    done = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "disk is full" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    added = len(read_pipeline(project).processes) - 1
    assert added or (project / "default_pipeline.star").read_bytes() == before
    assert cli.main(NEW) == 0
    assert len(read_pipeline(project).processes) == 2 + added


@ROOT_ONLY
def test_a_full_disk_is_told_and_work_goes_on_when_there_is_room_again(small_disk, capsys):
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        fill(ballast)
    capsys.readouterr()
    for words in (NEW, ["run", "External/job001"]):
        assert cli.main(words) == 1
        assert "disk is full" in capsys.readouterr().err
    assert [process.name for process in read_pipeline(small_disk).processes] == ["External/job001/"]
    assert cli.main(["status"]) == 0
    ballast.unlink()
    assert cli.main(["run", "External/job001"]) == 0
    assert cli.main(NEW) == 0


@ROOT_ONLY
def test_a_read_only_project_can_be_looked_at_and_says_why_it_cannot_be_changed(small_disk, capsys):
    subprocess.run(["mount", "-o", "remount,ro", small_disk.parent], check=True)
    assert cli.main(["status"]) == 0
    assert "External/job001/" in capsys.readouterr().out
    for words in (NEW, ["run", "External/job001"]):
        assert cli.main(words) == 1
        assert "read-only" in capsys.readouterr().err


def test_a_slow_rename_shows_readers_the_old_file_until_it_is_done(project, monkeypatch):
    replace = os.replace

    def slow(source, target):
        time.sleep(0.3)
        replace(source, target)
        time.sleep(0.1)

    monkeypatch.setattr(atomic.os, "replace", slow)
    old = read_pipeline(project)
    seen, done = [], threading.Event()

    def look():
        while not done.is_set():
            seen.append(read_pipeline(project).counter)

    thread = threading.Thread(target=look)
    thread.start()
    with edit_pipeline(project, "x") as edit:
        edit.pipeline = Pipeline(counter=7)
    done.set()
    thread.join()
    assert set(seen) <= {old.counter, 7}
    assert seen == sorted(seen)
    assert old.counter in seen
