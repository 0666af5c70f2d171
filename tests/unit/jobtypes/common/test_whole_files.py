from __future__ import annotations

import errno
import os
import resource
import signal
from pathlib import Path

import pytest

from jobtypes.common.whole_files import written_whole
from relion_jobs.contract.errors import JobFailed, UserError


def test_a_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a" / "x.txt"
    with written_whole(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(UnicodeEncodeError), written_whole(target) as temporary:
        temporary.write_text("half \ud800", encoding="utf-8")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_others_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with written_whole(tmp_path / "x") as temporary:
        temporary.write_text("")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("number", "kind", "sentence"),
    [
        (errno.ENOSPC, JobFailed, "the disk is full; make room and continue"),
        (errno.EDQUOT, JobFailed, "the disk is full"),
        (errno.EACCES, UserError, "no permission in"),
        (errno.EROFS, UserError, "no permission in"),
        (errno.EIO, JobFailed, "nothing older was lost"),
    ],
)
def test_an_error_of_the_disk_becomes_a_sentence(tmp_path: Path, number: int, kind: type, sentence: str) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(kind, match=sentence), written_whole(target):
        raise OSError(number, os.strerror(number), "somewhere")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_real_limit_of_the_file_system_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(JobFailed, match=r"x\.txt could not be written"), written_whole(target) as temporary:
            temporary.write_bytes(b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_where_a_directory_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="move what is in the way"), written_whole(tmp_path / "file" / "x"):
        pass
