"""Work on half sets that can be left anywhere: done in rounds, by all processes of a team, with a checkpoint after each.

A round ends where every half set has come to the end of its piece of work or has left it, since a checkpoint is due or the job
was asked to stop. The epochs and the last stage of a training are such work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

from jobtypes.common.conventions import HALVES
from jobtypes.common.team import Team
from jobtypes.dynamight.forward_deformations.checkpointing import CheckpointWriter
from relion_jobs.contract.errors import JobAborted
from relion_jobs.contract.running_job import RunningJob

MINUTES_BETWEEN_CHECKPOINTS = 5.0
End = TypeVar("End")


@dataclass(frozen=True)
class Progress:
    """How far the work on the half sets of this process is.

    Attributes
    ----------
    stage
        Its name.
    done
        Gives the particles done.
    total
        Gives of how many.
    """

    stage: str
    done: Callable[[], int]
    total: Callable[[], int]


class Rounds:
    """The rounds of a training.

    Parameters
    ----------
    states
        Gives what a checkpoint keeps of each half set that this process speaks for; all processes call it.
    workers
        How many half sets of this process are worked on at once.
    writer
        Of checkpoints; used by the first process.
    job, team
        The running job, and the processes that share it.
    """

    def __init__(
        self,
        states: Callable[[], dict[int, dict[str, Any]]],
        *,
        workers: int,
        writer: CheckpointWriter | None,
        job: RunningJob,
        team: Team,
    ) -> None:
        self._states, self._workers = states, workers
        self._writer, self._job, self._team = writer, job, team
        self._watch: Watch | None = None

    def leave(self) -> bool:
        """Whether the work of the present round must be left now; to be asked after every batch, of which progress is shown."""
        assert self._watch is not None
        return self._watch()

    def work(self, halves: Sequence[int], piece: Callable[[int], End | None], progress: Progress) -> dict[int, End]:
        """Do one round; returns what each half set of all processes has made that came to the end of its piece.

        Parameters
        ----------
        halves
            Half sets of this process with work to do; those of other processes are theirs to name.
        piece
            Works on a half set to the end of its piece and returns what it made, or None where it had to `leave` it.
        progress
            Of the work.
        """
        self._watch = watch = Watch(progress, self._job, self._team)

        def work_on(half: int) -> End | None:
            try:
                return piece(half)
            except BaseException:
                watch.has_failed = True
                raise

        with ThreadPoolExecutor(max_workers=self._workers) as pool:
            ends = list(pool.map(work_on, halves))
        self._team.meet(watch.wants_to_leave)
        return self._team.merged({half: end for half, end in zip(halves, ends, strict=True) if end is not None})

    def save(self, history: list[dict[str, float]]) -> None:
        """Write a checkpoint with the figures of the epochs so far.

        Raises
        ------
        JobAborted
            The job was asked to stop, in any process; the checkpoint has been written.
        """
        states = self._team.gathered(self._states())
        if states is not None and self._writer is not None:
            self._writer.save(states, history)
        if any(self._team.all_of(self._job.abort_requested())):
            self._job.check_abort()
            raise JobAborted("Stopped, since another process of the job was asked to.")


class Watch:
    """Called after every batch of any half: shows the progress, and says when to leave the work to save a checkpoint.

    Attributes
    ----------
    has_failed
        Whether the work on a half set has raised: no other one works on beside it.
    """

    def __init__(self, progress: Progress, job: RunningJob, team: Team) -> None:
        self._progress, self._job, self._team = progress, job, team
        self._deadline = time.monotonic() + 60 * MINUTES_BETWEEN_CHECKPOINTS
        self._lock = Lock()
        self.has_failed = False

    def __call__(self) -> bool:
        """Whether to leave the work now."""
        with self._lock:
            done, total = self._progress.done(), self._progress.total()
            # the other half set is about as far, where it is that of other processes
            halves = min(self._team.count, len(HALVES))
            self._job.progress(self._progress.stage, halves * done, halves * total, "particles")
            return self._team.wants_to_leave(self.wants_to_leave())

    def wants_to_leave(self) -> bool:
        """Whether this process wants all to leave the work."""
        return self.has_failed or time.monotonic() > self._deadline or self._job.abort_requested()
