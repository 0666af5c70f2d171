"""How a job stands that was handed to a queue, and how it is cancelled there.

RELION keeps no number of such a job. Ours have the submit command and what it said in run_submit.log. Which queue has it follows
from that: Slurm's own command or words, else the commands of site.yaml.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import JOB_STAR, SUBMIT_LOG, SUBMIT_SCRIPT, YES
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.site import read_site
from relion_jobs.running.queue_protocol import Queue, QueuedJob, Standing, shown
from relion_jobs.running.settings import QUEUE_SWITCH, SUBMIT_COMMAND
from relion_jobs.running.site_queue import SiteQueue
from relion_jobs.running.slurm import Slurm

CANCEL_SECONDS = 20.0
_CANCEL_PAUSE_SECONDS = 0.3


def standing(directory: JobDirectory, *, fresh: bool = False) -> Standing | None:
    """Ask how a job stands in the queue; None where its last launch was not handed to one.

    Parameters
    ----------
    directory
        A job of status Running.
    fresh
        Ask the queue now, even if its last answer is only seconds old.
    """
    job = queued_job(directory)
    return _queue_of(directory, job).standing(job, fresh=fresh) if job else None


def cancel_command(directory: JobDirectory) -> list[str]:
    """Return the command that cancels a job in its queue; ``queue_cancel_command`` of site.yaml goes before Slurm's own.

    Raises
    ------
    UserError
        The job cannot be cancelled from here; the message says why and what to do.
    """
    job = queued_job(directory)
    if job is None:
        raise UserError(f"{directory.name} was not handed to a queue.")
    queue = _queue_of(directory, job)
    number = queue.standing(job, fresh=True).number
    if not number:
        why = "RELION keeps no number of the jobs that it submits"
        if job.said is not None:
            why = f"in what the submit command said ({shown(job.said)}) no number is found (see queue_id of site.yaml)"
        raise UserError(
            f"{directory.name} cannot be cancelled in its queue from here, since {why}: find the number of "
            f"{directory.name.rstrip('/')}/{SUBMIT_SCRIPT} with the queue's own program, and cancel it by hand."
        )
    site = read_site(directory.project)
    return (SiteQueue(site) if site.queue_cancel_command else queue).cancel_command(number)


def cancel(directory: JobDirectory) -> str:
    """Cancel a job in its queue and return a sentence; waits until a queue that can be asked has done so.

    Raises
    ------
    UserError
        There is no command for it, or it failed.
    """
    words = cancel_command(directory)
    command = shlex.join(words)
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=CANCEL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"'{command}' cannot be run: {error}.") from error
    if done.returncode:
        raise UserError(f"'{command}' failed: {' '.join((done.stderr or done.stdout).split())}.")
    deadline = time.monotonic() + CANCEL_SECONDS
    while (now := standing(directory, fresh=True)) and now.state in ("waits", "runs") and time.monotonic() < deadline:
        time.sleep(_CANCEL_PAUSE_SECONDS)
    return f"cancelled with '{command}'"


def queued_job(directory: JobDirectory) -> QueuedJob | None:
    """Return what is known of a job whose last launch was handed to a queue; None where it was not."""
    try:
        script = directory.path / SUBMIT_SCRIPT
        values = job_star.read(directory.path).values if script.exists() else {}
    except UserError:
        # a job.star that cannot be read is complained about elsewhere
        return None
    if values.get(QUEUE_SWITCH) != YES:
        return None
    log = _log_of_last_launch(directory)
    command, _, said = (log if log is not None else values.get(SUBMIT_COMMAND, "")).partition("\n")
    return QueuedJob(
        script=script,
        program=os.path.basename(next(iter(command.split()), "")),
        said=said.strip() if log is not None else None,
        launched=(directory.path / JOB_STAR).stat().st_mtime,
        is_mine=log is not None and (directory.path / SUBMIT_LOG).stat().st_uid == os.getuid(),
        is_to_stop=directory.abort_requested(),
    )


def _queue_of(directory: JobDirectory, job: QueuedJob) -> Queue:
    slurm = Slurm()
    return slurm if slurm.takes(job) else SiteQueue(read_site(directory.project))


def _log_of_last_launch(directory: JobDirectory) -> str | None:
    """Return the submit command and, behind it, what it said; None where RELION or nobody has submitted the last launch."""
    log = directory.path / SUBMIT_LOG
    try:
        is_older = log.stat().st_mtime_ns < (directory.path / JOB_STAR).stat().st_mtime_ns
        return None if is_older else log.read_text(errors="replace")
    except OSError:
        return None
