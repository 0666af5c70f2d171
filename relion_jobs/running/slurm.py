"""Slurm, and what it says about this user's jobs.

Slurm knows the script of each job, so that jobs which RELION submitted, and whose number nobody kept, are found too. Only
``squeue`` is asked: accounting (``sacct``) is switched off on many clusters. It lists a job that has ended for a few minutes
(Slurm's MinJobAge) and then forgets it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime

from relion_jobs.contract.labels import EXIT_ABORTED, EXIT_FAILURE
from relion_jobs.running.queue_protocol import ANSWER_SECONDS, ASK_SECONDS, QueuedJob, Standing, State, told

SUBMIT, CANCEL = "sbatch", "scancel"

WAITS = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD")
ENDS = {
    "BOOT_FAIL": "its node could not be started",
    "CANCELLED": "it was cancelled",
    "COMPLETED": "its script came to an end",
    "DEADLINE": "its deadline passed",
    "FAILED": "its script failed",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it used more memory than the template asks for",
    "PREEMPTED": "another job took its place",
    "TIMEOUT": "it reached its time limit",
}
_REASONS = {
    "None": "Slurm has not looked at it yet",
    "Resources": "no node is free",
    "Priority": "other jobs come first",
    "Dependency": "it depends on a job that has not ended",
    "DependencyNeverSatisfied": "the job that it depends on did not succeed",
    "BeginTime": "its begin time has not come",
    "JobHeldUser": "it is held; 'scontrol release' lets it go",
    "JobHeldAdmin": "an administrator holds it",
    "PartitionTimeLimit": "it asks for more time than its partition allows",
    "PartitionNodeLimit": "it asks for more nodes than its partition has",
    "ReqNodeNotAvail": "the nodes that it asks for are not available",
}
_FORMAT = "%i|%T|%r|%S|%L|%N|%V|%o"
_NO_TIME = ("N/A", "", "UNLIMITED", "NOT_SET", "INVALID")


@dataclass(frozen=True)
class SlurmJob:
    """One row of ``squeue``.

    Attributes
    ----------
    number
        Job id.
    state
        Slurm's word, e.g. ``PENDING``.
    reason
        Why it waits, in Slurm's word, e.g. ``Resources``.
    start
        When it started or is expected to, e.g. ``2026-11-22T12:55:47``; empty where that is not known.
    left
        Time left, e.g. ``1-02:00:00``; empty without a limit.
    nodes
        Where it runs.
    submitted
        When it was submitted, local time.
    script
        Absolute path of its submission script.
    """

    number: int
    state: str
    reason: str
    start: str
    left: str
    nodes: str
    submitted: str
    script: str

    def standing(self) -> Standing:
        """Return how it stands, in the words of every queue."""
        state: State = "waits" if self.state in WAITS else "ended" if self.state in ENDS else "runs"
        mark = EXIT_ABORTED if self.state == "CANCELLED" else EXIT_FAILURE
        return Standing(state, self.sentence(), str(self.number), self.reason, mark)

    def sentence(self) -> str:
        """Say how it is, e.g. ``waits as Slurm job 12: no node is free (Resources)``."""
        name = f"Slurm job {self.number}"
        if self.state in WAITS:
            expected = f"; expected to start {self.start.replace('T', ' ')}" if self.start else ""
            known = f"{_REASONS[self.reason]} ({self.reason})" if self.reason in _REASONS else self.reason
            return f"waits as {name}: {known}{expected}"
        if self.state in ENDS:
            return f"{name} has ended ({self.state}): {ENDS[self.state]}"
        state = "" if self.state == "RUNNING" else f" ({self.state})"
        return f"runs as {name} on {self.nodes or 'no node yet'}{state}{f', {self.left} left' if self.left else ''}"


class Slurm:
    """Slurm as a queue of ours."""

    def takes(self, job: QueuedJob) -> bool:
        """Whether the job was submitted to Slurm: by its command, by what that said, or since Slurm knows the script."""
        return _is_slurms(job) or _find(my_jobs(), job, self.number(job)) is not None

    def number(self, job: QueuedJob) -> str:
        """See `Queue`."""
        return job.number()

    def standing(self, job: QueuedJob, *, fresh: bool) -> Standing:
        """See `Queue`."""
        number = self.number(job)
        # only of its own jobs is this user told
        is_known = bool(number) and job.is_mine and _is_slurms(job)
        jobs = my_jobs(fresh=fresh)
        found = _find(jobs, job, number)
        if found is None and is_known and not fresh:
            # the last answer may be older than the submission
            jobs = my_jobs(fresh=True)
            found = _find(jobs, job, number)
        if found is not None:
            return found.standing()
        if jobs is not None and is_known:
            return Standing("ended", f"Slurm job {number} has ended: Slurm no longer knows it", number)
        return told(job, number)

    def cancel_command(self, number: str) -> list[str]:
        """See `Queue`."""
        return [CANCEL, number]


def _is_slurms(job: QueuedJob) -> bool:
    return job.program == SUBMIT or "Submitted batch job" in (job.said or "")


def _find(jobs: list[SlurmJob] | None, job: QueuedJob, number: str) -> SlurmJob | None:
    """Find the last job that runs this script and belongs to its last launch."""
    script = os.path.realpath(job.script)
    found = [
        one
        for one in jobs or ()
        if os.path.realpath(one.script) == script and (str(one.number) == number or _seconds(one.submitted) >= int(job.launched))
    ]
    return max(found, key=lambda one: one.number, default=None)


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def my_jobs(*, fresh: bool = False) -> list[SlurmJob] | None:
    """Return this user's jobs, those that have just ended too; None where Slurm is not here or does not answer.

    Parameters
    ----------
    fresh
        Ask now, even if the last answer is only seconds old.
    """
    if fresh or _Answer.time is None or time.monotonic() - _Answer.time >= ASK_SECONDS:
        _Answer.jobs = _ask()
        _Answer.time = time.monotonic()
    return _Answer.jobs


class _Answer:
    """The last answer of this process, so that loops do not burden the controller."""

    time: float | None = None
    jobs: list[SlurmJob] | None = None


def _ask() -> list[SlurmJob] | None:
    program = shutil.which("squeue")
    if program is None:
        return None
    words = [program, "--me", "--noheader", "--states=all", f"--format={_FORMAT}"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parsed(done.stdout) if done.returncode == 0 else None


def parsed(text: str) -> list[SlurmJob]:
    """Read what squeue printed; rows of job arrays, which are not ours, are left out."""
    jobs = []
    for line in text.splitlines():
        number, *fields = line.strip().split("|", 7)
        if number.isdigit() and len(fields) == 7:
            state, reason, start, left, nodes, submitted, script = fields
            start, left = ("" if text in _NO_TIME else text for text in (start, left))
            jobs.append(SlurmJob(int(number), state, reason, start, left, nodes, submitted, script))
    return jobs
