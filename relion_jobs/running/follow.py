"""The front end that waits for a job: shows its run.out, passes Ctrl-C on as RELION's abort mark, says how it ended."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

from relion_jobs.contract.errors import JobAborted, JobFailed, UserError
from relion_jobs.contract.labels import Status
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.running.console import live_line
from relion_jobs.running.finish import bury, mark_as_dead, notice_ends
from relion_jobs.running.progress import PROGRESS_LINE
from relion_jobs.running.queue import standing
from relion_jobs.running.worker import REFUSED

POLL_SECONDS = 0.1
QUEUE_POLL_SECONDS = 1.0


class Tail:
    """New lines of a growing file.

    Parameters
    ----------
    path
        The file; it may come into being later.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def lines(self, *, last: bool = False) -> list[str]:
        """Lines written since the last call; with `last`, an unfinished one too."""
        if not self._path.is_file():
            return []
        try:
            with self._path.open("rb") as file:
                # a queue may write the file anew
                self._offset = min(self._offset, file.seek(0, 2))
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            # moved away between two looks
            return []
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        if last and self._rest:
            whole.append(self._rest)
            self._rest = b""
        return [line.decode("utf-8", "replace") for line in whole]


class Follower:
    """Shows what a job says until it ends. Make it before the job starts, so that nothing is missed.

    Parameters
    ----------
    directory
        The job.
    screen
        Where lines go; a terminal gets progress as one line that changes.
    """

    def __init__(self, directory: JobDirectory, screen: TextIO) -> None:
        self._directory = directory
        self._screen = screen
        self._out = Tail(directory.run_out)
        self._err = Tail(directory.run_err)
        self._error = ""
        self._told_standing = ("", "")
        self._is_live = False

    def wait(self, process: subprocess.Popen[bytes] | None) -> None:
        """Wait for the end of the job; returns where it succeeded.

        Parameters
        ----------
        process
            Process of the job; None where a queue has it.

        Raises
        ------
        JobFailed, JobAborted
            It ended otherwise.
        UserError
            Its process was refused, since another one runs the job.
        """
        wishes = 0
        with termination_as_ctrl_c():
            while True:
                try:
                    self._wait_for_end(process)
                    break
                except KeyboardInterrupt:
                    wishes += 1
                    self._pass_on(wishes, process)
            self._show(last=True)
            status = settle(self._directory, process, self._error)
        if status == Status.FAILED:
            raise JobFailed(f"{self._name} failed: {self._error or 'see its run.err'}")
        if status == Status.ABORTED:
            raise JobAborted(f"{self._name} was aborted; 'relion_jobs continue {self._name}' goes on from where it stopped.")
        self._write(f"{self._name} succeeded.")

    @property
    def _name(self) -> str:
        return self._directory.name.rstrip("/") + "/"

    def _wait_for_end(self, process: subprocess.Popen[bytes] | None) -> None:
        while True:
            if process is None:
                self._tell_standing()
            ended = has_ended(self._directory, process)
            self._show()
            if ended:
                return
            time.sleep(QUEUE_POLL_SECONDS if process is None else POLL_SECONDS)

    def _tell_standing(self) -> None:
        """Say how the job stands in its queue, where that has changed."""
        now = standing(self._directory)
        if now is not None and now.state in ("waits", "runs") and self._told_standing != (now.state, now.reason):
            self._told_standing = (now.state, now.reason)
            self._write(f"{self._name} {now.sentence}.")

    def _pass_on(self, wishes: int, process: subprocess.Popen[bytes] | None) -> None:
        if wishes == 1:
            self._directory.request_abort()
            self._write(f"{self._name} was asked to stop; it writes a checkpoint first. Press Ctrl-C again to hurry it.")
        elif process is not None:
            process.terminate()
        else:
            raise JobAborted(f"{self._name} was asked to stop; not waiting for the queue to do so.")

    def _show(self, *, last: bool = False) -> None:
        for line in self._out.lines(last=last):
            if not line.startswith("Error: "):
                self._write(line)
        for line in self._err.lines(last=last):
            if line.startswith("Warning: "):
                self._write(line)
            elif line.startswith("Error: "):
                self._error = line.removeprefix("Error: ")

    def _write(self, line: str) -> None:
        if self._screen.isatty() and PROGRESS_LINE.match(line):
            self._screen.write(live_line(line))
            self._is_live = True
        else:
            self._screen.write(("\n" if self._is_live else "") + line + "\n")
            self._is_live = False
        self._screen.flush()


def has_ended(directory: JobDirectory, process: subprocess.Popen[bytes] | None) -> bool:
    """Return True if the process of a job has ended; a job in a queue has where it left a mark.

    One that died in its queue, or on this machine, gets a mark here.
    """
    if process is not None:
        return process.poll() is not None
    return directory.status_from_marks() is not None or bool(bury(directory))


def settle(directory: JobDirectory, process: subprocess.Popen[bytes] | None, error: str = "") -> Status:
    """Return the status of a job whose process has ended and enter it in the pipeline; one that died without a mark gets one.

    Raises
    ------
    UserError
        The process was refused, since another one runs the job.
    JobFailed
        The process died without a mark.
    """
    if process is not None and process.returncode == REFUSED:
        raise UserError(error or f"{directory.name} is being run by another process.")
    status = directory.status_from_marks()
    if status is None:
        mark_as_dead(directory)
        raise JobFailed(f"{directory.name.rstrip('/')}/ failed: {_cause_of_death(process)}{' ' + error if error else ''}")
    notice_ends(directory.project, [directory.name])
    return status


def _cause_of_death(process: subprocess.Popen[bytes] | None) -> str:
    code = process.returncode if process is not None else None
    if code is None or code >= 0:
        return f"its process ended with exit code {code} and left no mark; see its run.err."
    name = signal.Signals(-code).name
    hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
    return f"its process was ended by {name} and left no mark{hint}."


@contextmanager
def termination_as_ctrl_c() -> Iterator[None]:
    """Let a front end that is terminated ask its job to stop, as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: Callable[[int, FrameType | None], object] | int | None = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
