"""How far work is that several processes share, and what is done on the way: sums are saved, and a wish to leave is heard."""

from __future__ import annotations

from collections.abc import Callable

from jobtypes.common.team import Team
from jobtypes.dynamight.backprojection.sums_store import SumsStore
from relion_jobs.contract.errors import JobAborted
from relion_jobs.contract.running_job import RunningJob

Counter = Callable[[int], None]  # called with how much more is done


class SharedProgress:
    """Makes counters of stages.

    Parameters
    ----------
    job
        To which progress is told, and which may be asked to stop.
    store
        Its sums.
    team
        The processes that share the work.
    """

    def __init__(self, job: RunningJob, store: SumsStore, team: Team) -> None:
        self._job, self._store, self._team = job, store, team

    def counter(self, stage: str, total: int, unit: str) -> Counter:
        """Of a stage, the whole of it and its unit.

        The counter raises JobAborted where this or another process of the job was asked to stop.
        """
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            if more:
                self._job.progress(stage, done, total, unit)
            if self._team.wants_to_leave(self._job.abort_requested()):
                self._store.save()
                self._job.check_abort()
                raise JobAborted("Stopped, since another process of the job was asked to.")
            self._store.save_now_and_then()

        return count
