from __future__ import annotations

import errno
import os
import resource
import signal
from pathlib import Path

import pytest

from jobtypes.common.whole_files import remove_unfinished, written_whole
from relion_jobs.contract.errors import UserError


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
    ("number", "sentence"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EDQUOT, "your disk quota is used up"),
        (errno.EACCES, "you have no permission to write there"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_an_error_of_the_disk_becomes_a_sentence(tmp_path: Path, number: int, sentence: str) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(UserError, match=rf"^Cannot write .*x\.txt: {sentence}"), written_whole(target):
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
        with pytest.raises(UserError, match=r"Cannot write .*x\.txt: File too large"), written_whole(target) as temporary:
            temporary.write_bytes(b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_where_a_directory_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "folder" / "x"):
        with pytest.raises(UserError, match="move that file away"), written_whole(path):
            pass


def test_what_a_dead_writer_left_can_be_removed(tmp_path: Path) -> None:
    with written_whole(tmp_path / "x") as temporary:
        pid = str(os.getpid())
        assert f"-{pid}-" in temporary.name
        # no process has a number so high
        left = temporary.with_name(temporary.name.replace(f"-{pid}-", "-99999999-"))
        left.write_text("half")
        remove_unfinished(tmp_path)
        assert temporary.exists()
        assert not left.exists()
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]
