import errno
import os
import time

import pytest

from relion_jobs.contract.errors import LockTimeout, UserError
from relion_jobs.ondisk import locks
from relion_jobs.ondisk.locks import job_lock, project_lock

FILE = "lock_default_pipeline.star"


def hold_like_relion(project, message="runJob: DynaMight/job002/"):
    (project / ".relion_lock").mkdir()
    (project / ".relion_lock" / FILE).write_text(message)


def test_the_lock_is_the_directory_and_the_file_that_relion_looks_for(tmp_path):
    with project_lock(tmp_path, "add DynaMight/job002/"):
        assert os.listdir(tmp_path / ".relion_lock") == [FILE]
        assert (tmp_path / ".relion_lock").stat().st_mode & 0o777 == 0o700
        assert "add DynaMight/job002/ (process " in (tmp_path / ".relion_lock" / FILE).read_text()
    assert not (tmp_path / ".relion_lock").exists()


def test_another_pipeline_has_another_file(tmp_path):
    with project_lock(tmp_path, "x", pipeline="other"):
        assert os.listdir(tmp_path / ".relion_lock") == ["lock_other_pipeline.star"]


def test_the_lock_is_removed_on_an_exception(tmp_path):
    with pytest.raises(KeyError), project_lock(tmp_path, "x"):
        raise KeyError
    assert not (tmp_path / ".relion_lock").exists()


def test_a_lock_of_relion_is_waited_for_and_then_named_with_its_time(tmp_path):
    hold_like_relion(tmp_path)
    start = time.monotonic()
    with (
        pytest.raises(LockTimeout, match=r"held by 'runJob: DynaMight/job002/' since \d{4}-.*remove .*\.relion_lock"),
        project_lock(tmp_path, "x", wait_seconds=0.3),
    ):
        pass
    assert 0.3 <= time.monotonic() - start < 2


def test_a_lock_of_relion_is_never_broken(tmp_path):
    hold_like_relion(tmp_path)
    os.utime(tmp_path / ".relion_lock" / FILE, (0, 0))
    with pytest.raises(LockTimeout), project_lock(tmp_path, "x", wait_seconds=0):
        pass
    assert (tmp_path / ".relion_lock" / FILE).read_text() == "runJob: DynaMight/job002/"


def test_a_lock_of_relion_is_looked_at_often_at_first_then_every_3_seconds_and_for_63_in_all_as_relion_does(
    tmp_path, monkeypatch
):
    hold_like_relion(tmp_path)
    clock = [0.0]
    naps = []
    monkeypatch.setattr(locks.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: (naps.append(seconds), clock.__setitem__(0, clock[0] + seconds)))
    said = []
    with pytest.raises(LockTimeout), project_lock(tmp_path, "x", report=said.append):
        pass
    assert sum(naps) == pytest.approx(63)
    assert sum(nap < 3 for nap in naps) == pytest.approx(9 / 0.05, abs=2)
    assert len(said) == 1
    assert "held by 'runJob: DynaMight/job002/'" in said[0]


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_is_told_at_once(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locks.os, "mkdir", refuse)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"Cannot create .*\.relion_lock"), project_lock(tmp_path, "x"):
        pass
    assert time.monotonic() - start < 1


def test_a_full_disk_leaves_no_lock_behind(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(locks.Path, "write_text", full)
    with pytest.raises(UserError, match="disk is full"), project_lock(tmp_path, "x"):
        pass
    assert not (tmp_path / ".relion_lock").exists()


def test_without_file_locks_relions_lock_alone_is_used(tmp_path, monkeypatch):
    def no_flock(*_, **__):
        raise OSError(errno.ENOSYS, "")

    monkeypatch.setattr(locks.FileLock, "acquire", no_flock)
    with project_lock(tmp_path, "x"):
        assert (tmp_path / ".relion_lock").exists()
    assert not (tmp_path / ".relion_lock").exists()


def test_a_lock_that_somebody_took_away_is_noticed_and_theirs_is_left_alone(tmp_path):
    with pytest.raises(LockTimeout, match="Somebody removed the lock"), project_lock(tmp_path, "x"):
        (tmp_path / ".relion_lock" / FILE).write_text("runJob: X")
    assert (tmp_path / ".relion_lock" / FILE).read_text() == "runJob: X"


def test_a_job_that_runs_is_not_started_again_and_its_process_is_named(tmp_path):
    job = tmp_path / "DynaMight" / "job002"
    job.mkdir(parents=True)
    named = pytest.raises(LockTimeout, match=rf"DynaMight/job002 is being run by process {os.getpid()} on .* since .* ago")
    with job_lock(job), named, job_lock(job):
        pass
    with job_lock(job):
        pass


def test_the_lock_of_a_job_is_given_back_on_an_exception(tmp_path):
    with pytest.raises(KeyError), job_lock(tmp_path):
        raise KeyError
    with job_lock(tmp_path):
        pass


def test_a_job_directory_that_is_missing_is_told_in_words(tmp_path):
    with pytest.raises(UserError, match="directory does not exist"), job_lock(tmp_path / "none"):
        pass
