"""A further process of a job: one that a launcher such as torchrun started several times, or one that the task has asked for.

The first process (RANK 0) is the job: it has the lock, the log, the exit mark and the pipeline. The others run the same task, if
it shares its work, and keep silent; how they work together and tell each other of failures is the task's business.

One that the task has asked for is ``python -m relion_jobs.running.companion``, which reads from its standard input what it should
run. That stays open as long as the first process lives, so that none is left behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread

from relion_jobs.contract.errors import JobAborted, RelionJobsError
from relion_jobs.contract.options import Value
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.running.interruption import Interruption
from relion_jobs.running.registry import load_function
from relion_jobs.running.sentences import sentence
from relion_jobs.running.settings import Settings

Work = tuple[str, Mapping[str, Value], bool]  # the function of a task, its values, and whether the job is continued


def is_companion(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is one of several, and not the first."""
    return environment.get("WORLD_SIZE", "1") not in ("", "1") and environment.get("RANK", "0") not in ("", "0")


def accompany(job_directory: JobDirectory, prepare: Callable[[], Settings]) -> int:
    """Do this process's share of the tasks of a job; returns the exit code.

    Parameters
    ----------
    job_directory
        Where the job runs.
    prepare
        Reads the settings.
    """

    def share() -> list[Work]:
        settings = prepare()
        tasks = [one for one in (settings, *settings.then) if one.task.shares_work]
        return [(one.task.run, one.values, one.is_continue) for one in tasks]

    return _work_silently(job_directory, share)


def _work_silently(job_directory: JobDirectory, share: Callable[[], list[Work]], *, launched: bool = True) -> int:
    """Call the functions of tasks, with values, in a job that is continued or not; returns the exit code.

    `launched`: by a launcher, not by the first process.
    """
    # the first process takes the abort mark for all: here one of an earlier run could still be seen
    interruption = Interruption(None)
    try:
        with interruption.listening():
            for run, values, is_continue in share():
                load_function(run)(values, SilentJob(job_directory, interruption, is_continue=is_continue))
    except RelionJobsError as error:
        # an abort is told by the first process, and is no error
        if not launched and not isinstance(error, JobAborted):
            sys.stderr.write(f"Process {int(os.environ['RANK']) + 1}: {sentence(error)}\n")
        # the first process has been told and fails for all; a launcher that saw this one fail would end it before its mark is set
        return 0
    except BaseException as error:  # noqa: BLE001 - the end of this process; the launcher tells the others
        sys.stderr.write("".join(traceback.format_exception(error)))
        return 1
    return 0


class CompanionProcess:
    """A process that runs the task of this one once more.

    Parameters
    ----------
    job_directory
        Where the job runs.
    run, values, is_continue
        The task's function, its option values, and whether the job is continued.
    environment
        Variables on top of those of this process.
    """

    def __init__(
        self,
        job_directory: JobDirectory,
        run: str,
        values: Mapping[str, Value],
        environment: Mapping[str, str],
        *,
        is_continue: bool,
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "relion_jobs.running.companion"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
            cwd=job_directory.project,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        self._standard_input = self._process.stdin
        words = {"directory": job_directory.name, "run": run, "values": dict(values), "is_continue": is_continue}
        try:
            self._standard_input.write(json.dumps(words).encode() + b"\n")
            self._standard_input.flush()
        except BrokenPipeError:
            pass  # it has ended already, as whoever waits for it will notice

    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self._process.poll() is not None

    def end(self, patience_seconds: float) -> None:
        """Wait so long for its end, then bring it about."""
        try:
            self._process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._standard_input.close()


def main() -> int:
    """Run what the standard input says; returns the exit code."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as pipe:  # its end is left unread
        words = json.loads(pipe.readline())
    Thread(target=_end_with_the_first, daemon=True).start()
    work = words["run"], words["values"], words["is_continue"]
    return _work_silently(JobDirectory(Path.cwd(), words["directory"]), lambda: [work], launched=False)


def _end_with_the_first() -> None:
    """End this process at once when the first one ends, even by SIGKILL: its end closes the pipe."""
    # not through sys.stdin, whose lock the interpreter needs at its own end
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


class SilentJob:
    """What a task is given in a further process: it may be asked to stop, and what it says is said by the first process.

    Parameters
    ----------
    job_directory
        The directory.
    interruption
        What may ask it to stop.
    is_continue
        Whether this is a press of "Continue!".
    """

    def __init__(self, job_directory: JobDirectory, interruption: Interruption, *, is_continue: bool) -> None:
        self.project = job_directory.project
        self.directory = Path(job_directory.name)
        self.is_continue = is_continue
        self._interruption = interruption

    def report(self, sentence: str) -> None:
        """Say nothing."""

    def warn(self, sentence: str) -> None:
        """Say nothing."""

    def progress(self, stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        """Say nothing."""

    def check_abort(self) -> None:
        """Raise JobAborted if a signal has come."""
        if self._interruption.reason:
            raise JobAborted(f"Stopped, since {self._interruption.reason} in another process of the job.")

    def abort_requested(self) -> bool:
        """Return True if `check_abort` would raise."""
        return bool(self._interruption.reason)

    def start_companion(self, environment: Mapping[str, str]) -> None:
        """Start nothing: this is one."""

    def add_output(self, path: Path, label: str) -> None:
        """Register nothing."""


if __name__ == "__main__":
    sys.exit(main())
