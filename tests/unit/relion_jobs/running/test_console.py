import io
import sys

import pytest

from relion_jobs.running.console import Console


class Screen(io.StringIO):
    def __init__(self, *, tty):
        super().__init__()
        self._tty = tty

    def isatty(self):
        return self._tty


@pytest.fixture
def make(tmp_path, monkeypatch):
    made = []

    def make(*, tty):
        out, err = Screen(tty=tty), Screen(tty=tty)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        made.append(Console(tmp_path / "run.out", tmp_path / "run.err"))
        return made[-1], out, err

    yield make
    for console in made:
        console.close()


def test_lines_go_to_the_terminal_and_the_file(make, tmp_path):
    console, out, err = make(tty=False)
    console.line("a")
    console.warning("b")
    console.file_only("traceback\n")
    console.error("c")
    assert (out.getvalue(), err.getvalue()) == ("a\n", "b\nc\n")
    assert (tmp_path / "run.out").read_text() == "a\nc\n"
    assert (tmp_path / "run.err").read_text() == "b\ntraceback\nc\n"


def test_progress_on_a_terminal_is_one_line_that_changes_and_few_lines_in_the_file(make, tmp_path):
    console, out, _ = make(tty=True)
    for done in range(100):
        console.progress(f"epoch: {done}", last=done == 99)
    console.line("after")
    assert out.getvalue() == "\r\x1b[Kepoch: 0\r\x1b[Kepoch: 99\nafter\n"
    assert (tmp_path / "run.out").read_text() == "epoch: 99\nafter\n"


def test_progress_in_a_file_is_whole_lines(make):
    console, out, _ = make(tty=False)
    for done in range(100):
        console.progress(f"epoch: {done}", last=done == 99)
    assert out.getvalue() == "epoch: 99\n"


def test_a_stream_that_is_the_file_gets_each_line_once(tmp_path, monkeypatch):
    path = tmp_path / "run.out"
    with path.open("a") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        console = Console(path, tmp_path / "run.err")
        console.line("once")
        console.progress("once too", last=True)
        console.close()
    assert path.read_text() == "once\nonce too\n"


def test_a_terminal_that_is_gone_does_not_stop_the_job(make, tmp_path):
    console, out, _ = make(tty=False)
    out.close()
    console.line("still here")
    assert (tmp_path / "run.out").read_text() == "still here\n"
