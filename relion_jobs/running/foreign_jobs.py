"""Jobs of types that are not ours. RELION runs them: we hand them to relion_pipeliner, or wait until somebody has run them.

We write neither marks nor logs of such a job; RELION's programs do.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from relion_jobs.contract.errors import JobAborted, JobFailed, UserError
from relion_jobs.contract.labels import FINISHED, Status
from relion_jobs.ondisk.atomic import disk_error
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.project import read_pipeline
from relion_jobs.running.finish import notice_ends

PIPELINER = "relion_pipeliner"
PIPELINER_LOG = "relion_pipeliner.log"
# how often relion_pipeliner looks for the end of the job, and how often we look
PIPELINER_SECONDS = 2
POLL_SECONDS = 0.5
VERSION_SECONDS = 20
OLDEST_RELION = 5


def usable_pipeliner() -> str | None:
    """Return the relion_pipeliner on PATH; None where there is none, or one before RELION 5, which would spoil the pipeline."""
    program = shutil.which(PIPELINER)
    if program is None:
        return None
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=VERSION_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"RELION version: (\d+)", done.stdout)
    return program if version and int(version[1]) >= OLDEST_RELION else None


def hand_to_relion(project: Path, name: str) -> subprocess.Popen[bytes] | None:
    """Let relion_pipeliner run a job; None where there is none that reads our pipelines.

    Its exit code says nothing, also of a failed job: see `end_of_handed`.

    Raises
    ------
    UserError
        The job has no directory, or the log there cannot be written.
    """
    program = usable_pipeliner()
    if program is None:
        return None
    directory = JobDirectory(project, name)
    command = [program, "--RunJobs", f"{name.rstrip('/')}/", "--sec_wait_after", str(PIPELINER_SECONDS)]
    log = directory.path / PIPELINER_LOG
    try:
        with log.open("ab") as output:
            return subprocess.Popen(
                command, cwd=project, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
    except OSError as error:
        raise disk_error(error, log) from error


def end_of_handed(project: Path, name: str, process: subprocess.Popen[bytes]) -> Status:
    """Return how a job ended whose relion_pipeliner has ended.

    Raises
    ------
    JobFailed
        The job did not end: relion_pipeliner gave up.
    """
    notice_ends(project, [name])
    status = read_pipeline(project).process(name).status
    if status not in FINISHED:
        raise JobFailed(
            f"{name} is {status}, though {PIPELINER} has ended with exit code {process.returncode}; see {name}{PIPELINER_LOG}."
        )
    return status


def run_foreign(project: Path, name: str, say: Callable[[str], None]) -> None:
    """Have RELION run a job and wait for its end; returns where it succeeded.

    Parameters
    ----------
    project
        Project directory.
    name
        The job.
    say
        Is told who runs it.

    Raises
    ------
    JobFailed, JobAborted
        It ended otherwise.
    UserError
        It has ended already, and no relion_pipeliner is there to run it again.
    """
    before = read_pipeline(project).process(name)
    process = hand_to_relion(project, name)
    what = f"{name} is of type {before.label}, which is not ours"
    if process is not None:
        say(f"{what}: handed to {PIPELINER} (process {process.pid}).")
    elif before.status in FINISHED:
        raise UserError(f"{what}, and has {before.status}; run it again in RELION.")
    else:
        say(f"{what}, and no {PIPELINER} of RELION 5 is on PATH: waiting for RELION to run it.")
    status = _wait(project, name, process, say)
    if status is Status.FAILED:
        raise JobFailed(f"{name} failed; see its run.err.")
    if status is Status.ABORTED:
        raise JobAborted(f"{name} was aborted.")
    say(f"{name} succeeded.")


def _wait(project: Path, name: str, process: subprocess.Popen[bytes] | None, say: Callable[[str], None]) -> Status:
    """Wait for the end; the first Ctrl-C asks the job that was handed over to stop, as RELION does."""
    is_asked = False
    while True:
        try:
            if process is not None and process.poll() is not None:
                return end_of_handed(project, name, process)
            if process is None:
                notice_ends(project, [name])
                if (status := read_pipeline(project).process(name).status) in FINISHED:
                    return status
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            if process is None or is_asked:
                raise
            is_asked = True
            JobDirectory(project, name).request_abort()
            say(f"{name} was asked to stop. Press Ctrl-C again to leave it.")
