"""RELION's project lock, and one process per job.

RELION's lock is a directory that whoever writes the pipeline makes and removes; it is not flock, which RELION's GUI would not
see. Our own processes queue before it with a file lock, so that they come in turn and need not poll every 3 s.

Source: RELION 5's lock protocol (``mkdir .relion_lock``, a file inside that says who, 21 retries of 3 s, never broken).
Departures: a lock of our own whose process is dead is removed, and that is said; so is a lock directory that stays empty, which
is what a process leaves that dies while it makes or removes its lock. Before the next process of ours the lock is left free as
long as it was held, so that others get their turn too.
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from relion_jobs.contract.errors import LockTimeout, UserError
from relion_jobs.contract.labels import LOCK_DIRECTORY, PIPELINE_STAR, SCHEMES
from relion_jobs.ondisk.atomic import disk_error
from relion_jobs.ondisk.owner import Owner, ago
from relion_jobs.ondisk.unfinished import unfinished_path

RELION_POLL_SECONDS = 3.0
RELION_WAIT_SECONDS = 63.0
OWN_POLL_SECONDS = 0.05
# whoever makes the directory writes the file inside at once; slow network file systems may take a moment to show it
EMPTY_LOCK_SECONDS = 5.0
# nearly every lock is given back within milliseconds; one that is not is looked at as rarely as RELION does it, which warns then
SHORT_WAIT_SECONDS = 9.0

SCHEME_WAIT_SECONDS = 120.0

QUEUE_FILE = ".relion_jobs.lock"
SCHEDULE_LOCK_FILE = ".relion_jobs_schedule.lock"
JOB_LOCK_FILE = ".relion_jobs_run.lock"
JOB_OWNER_FILE = ".relion_jobs_run.owner"

Report = Callable[[str], None]


@dataclass(frozen=True)
class ProjectLock:
    """The lock of a project while it is held.

    Attributes
    ----------
    directory
        ``PROJECT/.relion_lock``.
    file
        ``lock_default_pipeline.star`` inside, the only thing in it: RELION removes an empty directory only.
    message
        What the file holds: who locks.
    subject
        What is locked, for messages.
    """

    directory: Path
    file: Path
    message: str
    subject: str = "The project"

    def check(self) -> None:
        """Raise LockTimeout if somebody has taken the lock away, as RELION's messages advise people to do."""
        if _read_text(self.file) != self.message:
            raise LockTimeout(f"Somebody removed the lock {self.directory} while it was in use; nothing was written, try again.")


@contextmanager
def project_lock(
    project: Path,
    reason: str,
    *,
    pipeline: str = "default",
    wait_seconds: float = RELION_WAIT_SECONDS,
    report: Report | None = None,
) -> Iterator[ProjectLock]:
    """Hold RELION's lock of a project while its pipeline is read, changed and written: milliseconds, never while a job runs.

    Parameters
    ----------
    project
        Project directory.
    reason
        Who locks, e.g. ``add DynaMight/job002/``; others read it while they wait.
    pipeline
        Name of the pipeline: ``default`` for default_pipeline.star.
    wait_seconds
        How long to wait for one that holds it; RELION waits 21 times 3 s. Others of ours that come in turn do not count.
    report
        Is told in a sentence that we wait, or that a stale lock of ours was removed.

    Raises
    ------
    LockTimeout
        Somebody else held the lock all the time; the message says who and since when.
    UserError
        At once: no permission, disk full, read-only.
    """
    directory = project / LOCK_DIRECTORY
    message = f"relion_jobs: {reason} ({Owner.this_process()})\n"
    lock = ProjectLock(directory, directory / f"lock_{pipeline}_pipeline.star", message)
    with _queue(project / QUEUE_FILE, lock, wait_seconds) as is_queued:
        _take(lock, time.monotonic() + wait_seconds, is_queued, report)
        begin = time.monotonic()
        try:
            yield lock
        except BaseException:
            # the caller's error is the one to tell
            with contextlib.suppress(UserError):
                _give_back(lock)
            raise
        _give_back(lock)
        # still in the queue: RELION, which looks every 3 s, must find the lock free at least as often as not
        time.sleep(min(time.monotonic() - begin, RELION_POLL_SECONDS))


def is_locked_by_others(project: Path) -> bool:
    """Return True if a program that is not ours holds the lock and so may be writing the pipeline in place."""
    holder = _read_text(project / LOCK_DIRECTORY / "lock_default_pipeline.star")
    if holder is None:
        return (project / LOCK_DIRECTORY).exists()
    return Owner.find(holder) is None


@contextmanager
def job_lock(job_directory: Path, *, is_launch: bool = False) -> Iterator[None]:
    """Be the only process that runs a job, until the block ends or the process dies.

    Parameters
    ----------
    job_directory
        Absolute job directory; it must exist.
    is_launch
        Leave the name of this process behind where the block ends well, until the process that it starts takes over
        (`hand_over`): were this one killed in between, others would otherwise wait for the job for ever.

    Raises
    ------
    LockTimeout
        At once, if another process runs the job; the message names it.
    UserError
        The directory cannot be written.
    """
    owner_file = job_directory / JOB_OWNER_FILE

    def refusal() -> str:
        owner = Owner.find(_read_text(owner_file) or "")
        who = f"{owner}, {ago(owner.since)}" if owner else "another process"
        return f"{_job_name(job_directory)} is being run by {who}; wait for its end or abort it first."

    lock = _acquire_now(job_directory / JOB_LOCK_FILE, refusal)
    is_kept = False
    try:
        _write_text(owner_file, f"{Owner.this_process()}\n")
        yield
        is_kept = is_launch
    finally:
        if not is_kept:
            hand_over(job_directory, None)
        lock.release()


def hand_over(job_directory: Path, pid: int | None) -> None:
    """Name the process that a launch has started, or nobody where a queue has the job."""
    owner_file = job_directory / JOB_OWNER_FILE
    with contextlib.suppress(OSError):
        if pid is None:
            owner_file.unlink()
        else:
            owner_file.write_text(f"{replace(Owner.this_process(), pid=pid)}\n")


def forget_dead_owner(job_directory: Path) -> None:
    """Remove the name of a process of this machine that ran a job and is gone, unless another one takes the job meanwhile."""
    owner = Owner.find(_read_text(job_directory / JOB_OWNER_FILE) or "")
    if owner is not None and owner.is_dead():
        with contextlib.suppress(UserError), job_lock(job_directory):
            # it puts its own name there, and takes it away at its end
            pass


@contextmanager
def scheme_lock(
    project: Path, scheme: str, reason: str, *, wait_seconds: float = SCHEME_WAIT_SECONDS, report: Report | None = None
) -> Iterator[None]:
    """Hold RELION's lock of a scheme: while it is changed, or all the time that it runs.

    Parameters
    ----------
    project
        Project directory.
    scheme
        Name of the scheme without ``Schemes/``; its directory must exist.
    reason
        As in `project_lock`.
    wait_seconds
        How long to wait for RELION's programs; for one of ours nobody waits, since it may run for days.
    report
        As in `project_lock`.

    Raises
    ------
    LockTimeout
        Somebody else changes or runs the scheme; the message says who and since when.
    UserError
        At once: no permission, disk full, read-only.
    """
    lock = _scheme_lock(project, scheme, reason)
    with _queue(project / SCHEMES / scheme / QUEUE_FILE, lock, 0.0) as is_queued:
        _take(lock, time.monotonic() + wait_seconds, is_queued, report)
        try:
            yield
        finally:
            # whoever took it away meanwhile, as RELION's messages advise, has nothing to fear from us
            if _read_text(lock.file) == lock.message:
                _give_back(lock)


def scheme_holder(project: Path, scheme: str) -> str:
    """Return who changes or runs a scheme, in words; empty where nobody does or the process is gone."""
    lock = _scheme_lock(project, scheme, "")
    if not lock.directory.exists():
        return ""
    owner = Owner.find(_read_text(lock.file) or "")
    if owner and owner.is_dead():
        return ""
    return str(owner) if owner else "a program of RELION"


def _scheme_lock(project: Path, scheme: str, reason: str) -> ProjectLock:
    directory = project / f"{LOCK_DIRECTORY}_scheme_{scheme}"
    message = f"relion_jobs: {reason} ({Owner.this_process()})\n"
    return ProjectLock(directory, directory / "lock_scheme", message, f"The scheme {scheme}")


@contextmanager
def schedule_lock(project: Path) -> Iterator[None]:
    """Be the only scheduler of a project, until the block ends or the process dies; LockTimeout at once if there is another."""
    lock = _acquire_now(
        project / SCHEDULE_LOCK_FILE,
        lambda: f"Another 'relion_jobs schedule' is at work in {project}; it takes up new scheduled jobs by itself.",
    )
    try:
        yield
    finally:
        lock.release()


def _acquire_now(path: Path, refusal: Callable[[], str]) -> FileLock:
    """Take a file lock at once; LockTimeout with the sentence of `refusal` if another process has it."""
    lock = _file_lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LockTimeout(refusal()) from None
    except NotImplementedError:
        raise disk_error(OSError(errno.ENOSYS, "this file system has no file locks"), path) from None
    except OSError as error:
        raise disk_error(error, path) from error
    return lock


def _job_name(job_directory: Path) -> str:
    return "/".join(job_directory.parts[-2:])


def _file_lock(path: Path) -> FileLock:
    # filelock would make the directory
    if not path.parent.is_dir():
        raise disk_error(FileNotFoundError(errno.ENOENT, "no directory"), path)
    # without flock a soft lock would outlive a killed process; the project has RELION's lock besides
    options: dict[str, Any] = {}
    if "fallback_to_soft" in inspect.signature(FileLock.__init__).parameters:
        options["fallback_to_soft"] = False
    # people share projects: whoever makes the file must not keep the others out
    return FileLock(path, mode=0o666, **options)


@contextmanager
def _queue(path: Path, lock: ProjectLock, wait_seconds: float) -> Iterator[bool]:
    """Wait for our turn among our own processes; False where the file system has no file locks."""
    queue = _file_lock(path)
    try:
        try:
            queue.acquire(timeout=0)
        except Timeout:
            # tells the one who has it that somebody waits
            os.utime(path)
            _wait_in_turn(queue, lock, wait_seconds)
        when_taken = _modified(path)
    except Timeout:
        raise _timeout(lock) from None
    except (OSError, NotImplementedError):
        # RELION's lock alone is enough, and a directory that cannot be written is reported there
        yield False
        return
    try:
        yield True
    finally:
        is_wanted = _modified(path) != when_taken
        queue.release()
        if is_wanted:
            # who had it last would be the first to find it free, again and again
            time.sleep(2 * OWN_POLL_SECONDS)


def _wait_in_turn(queue: FileLock, lock: ProjectLock, wait_seconds: float) -> None:
    """Wait for the queue as long as it moves, however many of ours are in it; Timeout where one has it all the time."""
    pipeline = lock.directory.with_name(PIPELINE_STAR)
    while True:
        before = (_read_text(lock.file), _modified(pipeline))
        try:
            queue.acquire(timeout=wait_seconds, poll_interval=OWN_POLL_SECONDS)
        except Timeout:
            if before == (_read_text(lock.file), _modified(pipeline)):
                raise
        else:
            return


def _take(lock: ProjectLock, deadline: float, is_queued: bool, report: Report | None) -> None:
    """Make the lock directory and the file inside, waiting for others."""
    begin = time.monotonic()
    is_told = False
    empty_since: float | None = None
    while not _make(lock):
        holder = _read_text(lock.file)
        empty_since = (empty_since or time.monotonic()) if _is_empty(lock.directory) else None
        if empty_since and time.monotonic() - empty_since >= EMPTY_LOCK_SECONDS:
            _remove_empty(lock, report)
            continue
        owner = Owner.find(holder) if holder else None
        # while we are first in the queue no live process of ours on this machine can be the holder
        if owner and is_queued and owner.is_dead():
            _break_stale(lock, holder or "", owner, report)
            continue
        left = deadline - time.monotonic()
        if left <= 0:
            raise _timeout(lock)
        is_long = time.monotonic() - begin >= SHORT_WAIT_SECONDS
        if is_long and report and not is_told:
            is_told = True
            report(f"{lock.subject} is locked, waiting: {_held_by(lock)}.")
        time.sleep(min(left, RELION_POLL_SECONDS if is_long and not owner else OWN_POLL_SECONDS))


def _make(lock: ProjectLock) -> bool:
    """Try once; False if the lock is held. Other errors of the disk are told at once, as in RELION."""
    try:
        os.mkdir(lock.directory, 0o700)
    except FileExistsError:
        return False
    except OSError as error:
        raise disk_error(error, lock.directory, "create") from error
    # whole, since a lock that does not say whose it is would be taken for RELION's and never be removed
    text = unfinished_path(lock.directory)
    try:
        _write_text(text, lock.message)
        try:
            os.replace(text, lock.file)
        except OSError as error:
            raise disk_error(error, lock.file) from error
    except BaseException:
        with contextlib.suppress(OSError):
            text.unlink()
        with contextlib.suppress(OSError):
            lock.file.unlink()
        with contextlib.suppress(OSError):
            lock.directory.rmdir()
        raise
    return True


def _give_back(lock: ProjectLock) -> None:
    lock.check()
    try:
        lock.file.unlink()
        lock.directory.rmdir()
    except OSError as error:
        raise disk_error(error, lock.directory, "remove") from error


def _break_stale(lock: ProjectLock, holder: str, owner: Owner, report: Report | None) -> None:
    """Remove the lock that a process of ours left when it died."""
    if report:
        report(f"Removed the lock that {owner} left: it is no longer running.")
    if _read_text(lock.file) != holder:
        return
    try:
        lock.file.unlink(missing_ok=True)
        lock.directory.rmdir()
    except OSError as error:
        raise disk_error(error, lock.directory, "remove") from error


def _is_empty(directory: Path) -> bool:
    try:
        return not os.listdir(directory)
    except OSError:
        return False


def _remove_empty(lock: ProjectLock, report: Report | None) -> None:
    """Remove a lock directory that nobody finished or finished removing; one that got a file meanwhile cannot be removed."""
    try:
        lock.directory.rmdir()
    except OSError:
        return
    if report:
        report(f"Removed the lock {lock.directory}: it was empty for {EMPTY_LOCK_SECONDS:g} s, left by a program that died.")


def _timeout(lock: ProjectLock) -> LockTimeout:
    return LockTimeout(
        f"{lock.subject} is locked: {_held_by(lock)}; if no program works on it any more, remove {lock.directory} and try again."
    )


def _held_by(lock: ProjectLock) -> str:
    holder = (_read_text(lock.file) or "").strip()
    who = f"'{holder}'" if holder else "a program that left no name"
    since = _modified(lock.file) or _modified(lock.directory)
    when = f" since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(since))} ({ago(since)})" if since else ""
    return f"{lock.directory} is held by {who}{when}"


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise disk_error(error, path) from error
