"""How a job stands that was handed to a queue, and how it is cancelled there.

RELION keeps no number of such a job. Ours have the submit command and what it said in run_submit.log; Slurm also knows the
script of each job, so that jobs which RELION submitted are found too. Other queues can be told to cancel a job, but not asked how
it stands.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import EXIT_ABORTED, EXIT_FAILURE, JOB_STAR, SUBMIT_LOG, SUBMIT_SCRIPT, YES
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.site import read_site
from relion_jobs.running import slurm
from relion_jobs.running.settings import QUEUE_SWITCH

State = Literal["waits", "runs", "ended", "unknown"]

CANCEL_SECONDS = 20.0
_CANCEL_PAUSE_SECONDS = 0.3
# 'Submitted batch job 12' (Slurm), 'Your job 12 ("x") has been submitted' (SGE), 'Job <12> is submitted' (LSF), '12.server' (PBS)
_NUMBER = re.compile(r"(?:^|\b[Jj]ob <?)(\d+)(?![\w:/-])", re.MULTILINE)


@dataclass(frozen=True)
class Standing:
    """How a job stands in its queue.

    Parameters
    ----------
    state
        ``waits``, ``runs``, ``ended``, or ``unknown`` where the queue cannot be asked.
    sentence
        The same for people.
    number
        The job's number in the queue; empty where it is not known.
    reason
        Why it waits, in the queue's word.
    mark
        Exit mark of a job that has ended without leaving one.
    """

    state: State
    sentence: str
    number: str = ""
    reason: str = ""
    mark: str = EXIT_FAILURE


def standing(directory: JobDirectory, *, fresh: bool = False) -> Standing | None:
    """Ask how a job stands in the queue; None where its last launch was not handed to one.

    Parameters
    ----------
    directory
        A job of status Running.
    fresh
        Ask the queue now, even if its last answer is only seconds old.
    """
    if not _was_queued(directory):
        return None
    said = _said(directory)
    number = _number(said)
    is_known_to_slurm = bool(number) and _is_slurms(said) and _is_mine(directory)
    jobs = slurm.my_jobs(fresh=fresh)
    found = _find(jobs, directory, number)
    if found is None and is_known_to_slurm:
        # the last answer may be older than the submission
        jobs = slurm.my_jobs(fresh=True)
        found = _find(jobs, directory, number)
    if found is not None:
        return _of_slurm_job(found)
    if not said:
        return Standing("unknown", "was handed to a queue, which does not tell how it stands")
    if jobs is not None and is_known_to_slurm:
        return Standing("ended", f"Slurm job {number} has ended: Slurm no longer knows it", number)
    return Standing(
        "unknown", f"was handed to a queue, which cannot be asked from here and said: {said.splitlines()[-1]}", number
    )


def cancel(directory: JobDirectory) -> str:
    """Cancel a job in its queue and return a sentence; waits until a queue that can be asked has done so.

    Slurm's ``scancel`` takes jobs of Slurm, ``queue_cancel_command`` of site.yaml (such as ``qdel``) all others, and Slurm's too
    where it is given.

    Raises
    ------
    UserError
        There is no command for it, or it failed.
    """
    found = standing(directory, fresh=True)
    configured = read_site(directory.project).queue_cancel_command
    words = words_of(configured, "queue_cancel_command of site.yaml") if configured else []
    if not words and found is not None and (found.state != "unknown" or _is_slurms(_said(directory))):
        words = [slurm.CANCEL]
    if found is None or not found.number or not words:
        raise UserError(
            f"{directory.name} cannot be cancelled in its queue from here: give queue_cancel_command in site.yaml, such as qdel, "
            f"or cancel it by hand{f' (it {found.sentence})' if found else ''}."
        )
    command = shlex.join([*words, found.number])
    try:
        done = subprocess.run([*words, found.number], capture_output=True, text=True, timeout=CANCEL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"'{command}' cannot be run: {error}.") from error
    if done.returncode:
        raise UserError(f"'{command}' failed: {' '.join(done.stderr.split())}.")
    deadline = time.monotonic() + CANCEL_SECONDS
    while (now := standing(directory, fresh=True)) and now.state in ("waits", "runs") and time.monotonic() < deadline:
        time.sleep(_CANCEL_PAUSE_SECONDS)
    return f"cancelled with '{command}'"


def words_of(text: str, what: str) -> list[str]:
    """Split a command into words, as a shell would, without a shell.

    Parameters
    ----------
    text
        The command.
    what
        What it is, for the message.

    Raises
    ------
    UserError
        There is no command, or a quotation mark is left open.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"The {what} cannot be read: {error} in: {text}") from None
    if not words:
        raise UserError(f"The {what} is empty; name a program.")
    return words


def _was_queued(directory: JobDirectory) -> bool:
    try:
        script = directory.path / SUBMIT_SCRIPT
        return script.exists() and job_star.read(directory.path).values.get(QUEUE_SWITCH) == YES
    except UserError:
        # a job.star that cannot be read is complained about elsewhere
        return False


def _of_slurm_job(job: slurm.SlurmJob) -> Standing:
    state: State = "waits" if job.state in slurm.WAITS else "ended" if job.state in slurm.ENDS else "runs"
    mark = EXIT_ABORTED if job.state == "CANCELLED" else EXIT_FAILURE
    return Standing(state, job.sentence(), str(job.number), job.reason, mark)


def _find(jobs: list[slurm.SlurmJob] | None, directory: JobDirectory, number: str) -> slurm.SlurmJob | None:
    """Find the last job that runs this directory's script and belongs to its last launch."""
    script = os.path.realpath(directory.path / SUBMIT_SCRIPT)
    launched = int((directory.path / JOB_STAR).stat().st_mtime)
    found = [
        job
        for job in jobs or ()
        if os.path.realpath(job.script) == script and (str(job.number) == number or _seconds(job.submitted) >= launched)
    ]
    return max(found, key=lambda job: job.number, default=None)


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def _said(directory: JobDirectory) -> str:
    """Return the submit command of the last launch and what it said; empty where RELION or no queue has made that."""
    log = directory.path / SUBMIT_LOG
    try:
        is_older = log.stat().st_mtime_ns < (directory.path / JOB_STAR).stat().st_mtime_ns
        return "" if is_older else log.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(said: str) -> str:
    """Find the job's number in what was said; the first line is the command."""
    match = _NUMBER.search(said.partition("\n")[2])
    return match[1] if match else ""


def _is_slurms(said: str) -> bool:
    program = Path(shlex.split(said.partition("\n")[0])[0]).name
    return program == "sbatch" or "Submitted batch job" in said


def _is_mine(directory: JobDirectory) -> bool:
    """Whether this user submitted the job; Slurm is asked for this user's jobs only."""
    return (directory.path / SUBMIT_LOG).stat().st_uid == os.getuid()
