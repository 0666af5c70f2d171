import errno
import os

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.atomic import link_whole, write_whole


@pytest.mark.parametrize("data", [b"bytes\x00", "text é"])
def test_bytes_and_text_are_written(tmp_path, data):
    write_whole(tmp_path / "a", data)
    assert (tmp_path / "a").read_bytes() == (data if isinstance(data, bytes) else data.encode())


def test_nothing_is_left_beside_the_file(tmp_path):
    write_whole(tmp_path / "a", "1")
    write_whole(tmp_path / "a", "2")
    assert os.listdir(tmp_path) == ["a"]


def test_a_new_file_has_the_permissions_that_open_would_give(tmp_path):
    (tmp_path / "opened").touch()
    write_whole(tmp_path / "written", "1")
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "opened").stat().st_mode


def test_a_replaced_file_keeps_its_permissions(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "a").chmod(0o640)
    write_whole(tmp_path / "a", "1")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/a")
    write_whole(tmp_path / "link", "1")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a").read_text() == "1"


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "no permission"), (errno.EROFS, "read-only"), (errno.EDQUOT, "quota")],
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_error_of_the_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, code, words, step):
    (tmp_path / "a").write_text("old")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(UserError, match=rf"^Cannot write .*/a: .*{words}"):
        write_whole(tmp_path / "a", "new")
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_missing_directory_is_told_in_words(tmp_path):
    with pytest.raises(UserError, match="the directory does not exist"):
        write_whole(tmp_path / "none" / "a", "1")


def test_a_directory_in_the_way_is_told_in_words(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="there is a directory of that name"):
        write_whole(tmp_path / "a", "1")


@pytest.mark.skipif(not os.path.exists("/dev/full") or not os.path.isdir("/proc/self"), reason="needs Linux")
def test_a_place_where_nobody_may_write_is_told_in_words():
    from pathlib import Path

    with pytest.raises(UserError, match=r"Cannot write /proc/relion_jobs_test"):
        write_whole(Path("/proc/relion_jobs_test"), "1")


def test_a_link_is_made_and_led_elsewhere_and_nothing_else_is_touched(tmp_path):
    (tmp_path / "here").write_text("here")
    link_whole(tmp_path / "link", "nowhere")
    link_whole(tmp_path / "link", "here")
    assert ((tmp_path / "link").readlink().name, (tmp_path / "link").read_text()) == ("here", "here")
    assert sorted(os.listdir(tmp_path)) == ["here", "link"]
    with pytest.raises(UserError, match="here is to be a link to link, but something else has that name"):
        link_whole(tmp_path / "here", "link")
    assert (tmp_path / "here").read_text() == "here"


def test_a_link_that_the_disk_refuses_is_told_and_the_old_one_stays(tmp_path, monkeypatch):
    link_whole(tmp_path / "link", "old")

    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(UserError, match="Cannot create"):
        link_whole(tmp_path / "link", "new")
    assert os.listdir(tmp_path) == ["link"]
    assert str((tmp_path / "link").readlink()) == "old"
