"""Where a running job writes: run.out, run.err and the terminal, one format.

RELION and our own launcher redirect the process into run.out and run.err; a person who calls the executable by hand sees a
terminal. In both cases the two files get the same lines.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TextIO

LIVE_SECONDS = 0.2
LINE_SECONDS = 3.0


class Console:
    """The lines of one job.

    Parameters
    ----------
    run_out, run_err
        Files of the job directory, appended to.

    Raises
    ------
    OSError
        A file cannot be opened or written.
    """

    def __init__(self, run_out: Path, run_err: Path) -> None:
        self._out = _Pair(sys.stdout, run_out)
        self._err = _Pair(sys.stderr, run_err)
        self._live = self._out.screen is not None and self._out.screen.isatty()
        self._live_text = ""
        self._live_time = 0.0
        self._line_time = time.monotonic()

    def line(self, text: str) -> None:
        """Write a line to run.out and the terminal."""
        self._end_live()
        self._out.write(text + "\n")

    def warning(self, text: str) -> None:
        """Write a line to run.err and the terminal."""
        self._end_live()
        self._err.write(text + "\n")

    def error(self, text: str) -> None:
        """Write the last sentence of a failed job to run.out, run.err and once to the terminal."""
        self._end_live()
        self._out.write_file(text + "\n")
        self._err.write(text + "\n")

    def file_only(self, text: str) -> None:
        """Write a text, such as a traceback, to run.err and not to the terminal."""
        self._end_live()
        self._err.write_file(text)

    def progress(self, text: str, *, last: bool) -> None:
        """Show progress: live on a terminal, in run.out at most every few seconds and at the end of a stage."""
        now = time.monotonic()
        write_line = last or now - self._line_time >= LINE_SECONDS
        if not self._live:
            if write_line:
                self._out.write(text + "\n")
        else:
            if write_line:
                self._out.write_file(text + "\n")
            if last or now - self._live_time >= LIVE_SECONDS:
                self._show_live(text)
                self._live_time = now
            if last:
                self._end_live()
        if write_line:
            self._line_time = now

    def close(self) -> None:
        """Close the files."""
        self._end_live()
        self._out.close()
        self._err.close()

    def _show_live(self, text: str) -> None:
        self._live_text = text
        self._out.write_screen(live_line(text))

    def _end_live(self) -> None:
        if self._live_text:
            self._live_text = ""
            self._out.write_screen("\n")


def live_line(text: str) -> str:
    """`text` as the line of a terminal that replaces the current one, cut to its width."""
    return "\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1]


class _Pair:
    """A standard stream and the file that must hold the same lines; one of the two where they are the same file."""

    def __init__(self, stream: TextIO | None, path: Path) -> None:
        self.screen: TextIO | None = stream
        if stream is not None and _is_same_file(stream, path):
            self._file: TextIO = stream
            self.screen = None
            self._owned = False
        else:
            self._file = path.open("a", encoding="utf-8", errors="backslashreplace")
            self._owned = True

    def write(self, text: str) -> None:
        self.write_file(text)
        self.write_screen(text)

    def write_file(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()

    def write_screen(self, text: str) -> None:
        if self.screen is None:
            return
        try:
            self.screen.write(text)
            self.screen.flush()
        except (OSError, ValueError):
            # the terminal is gone (closed window, ended pipe); the job goes on, its file has the line
            self.screen = None

    def close(self) -> None:
        if self._owned:
            # a full disk may show only here; every line was flushed before, so nothing is lost by going on
            with contextlib.suppress(OSError):
                self._file.close()


def _is_same_file(stream: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except (OSError, ValueError):
        return False
