"""Taking up what a runner that died has left: a launch that it had begun, a job that it had just added."""

from __future__ import annotations

import time
from collections.abc import Callable

from relion_jobs.contract.labels import Status
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.locks import hand_over
from relion_jobs.ondisk.owner import Owner
from relion_jobs.ondisk.project import edit_pipeline
from relion_jobs.pipeline.graph import with_status
from relion_jobs.running.finish import owner_of
from relion_jobs.running.queue import standing

# a job that was started at the last moment takes this long to write its own name over that of its launcher
GRACE_SECONDS = 3.0


def schedule_unstarted(directory: JobDirectory, launcher: Owner, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Make a Running job Scheduled again that was never started, since `launcher` died on the way; True if it was so.

    Parameters
    ----------
    directory
        The job.
    launcher
        Process that ran the scheme or the schedule before.
    sleep
        For tests.
    """
    if not _is_unstarted(directory, launcher):
        return False
    sleep(GRACE_SECONDS)
    if not _is_unstarted(directory, launcher):
        return False
    with edit_pipeline(directory.project, f"schedule: {directory.name}") as edit:
        edit.pipeline = with_status(edit.pipeline, directory.name, Status.SCHEDULED)
    hand_over(directory.path, None)
    return True


def _is_unstarted(directory: JobDirectory, launcher: Owner) -> bool:
    owner = owner_of(directory)
    if owner is None or not owner.is_dead() or (owner.pid, owner.host) != (launcher.pid, launcher.host):
        return False
    return standing(directory) is None and directory.status_from_marks() is None
