"""All epochs of a training: every half set by itself, a checkpoint of both after each and every few minutes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from jobtypes.common.team import Team
from jobtypes.common.whole_files import written_whole
from jobtypes.dynamight import layout
from jobtypes.dynamight.forward_deformations.checkpointing import CheckpointWriter
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan
from jobtypes.dynamight.forward_deformations.schedule import FULL_KL_WEIGHT
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from relion_jobs.contract.errors import JobAborted
from relion_jobs.contract.running_job import RunningJob

MINUTES_BETWEEN_CHECKPOINTS = 5.0
Figures = dict[str, float]


class Epochs:
    """The epochs that are left of a training.

    The halves run side by side, know nothing of each other, and each stops by its own rule. Where several processes share the
    work, each has its half sets, and between epochs they tell each other how far they are.

    Parameters
    ----------
    halves
        The half sets of this process.
    plan
        Of the training.
    history
        Figures of the epochs done, one row for each half set; grows.
    side_by_side
        Whether the half sets of this process train at once.
    writer
        Of checkpoints; used by the first process.
    job, team
        The running job, and the processes that share it.
    """

    def __init__(
        self,
        halves: dict[int, HalfTraining],
        plan: TrainingPlan,
        history: list[Figures],
        *,
        side_by_side: bool,
        writer: CheckpointWriter | None,
        job: RunningJob,
        team: Team,
    ) -> None:
        self._halves, self._plan, self._history = halves, plan, history
        self._writer, self._job, self._team = writer, job, team
        self._workers = len(halves) if side_by_side else 1
        self._done = self._epochs_done()

    def run(self) -> None:
        """Train until every half set has stopped or done all epochs.

        Raises
        ------
        JobAborted
            The job was asked to stop; a checkpoint has been written.
        JobFailed
            The objective became infinite.
        """
        with ThreadPoolExecutor(max_workers=self._workers) as pool:
            for epoch in range(min(done for done, _ in self._done.values()), self._plan.n_epochs):
                while running := [half for half, (done, stopped) in self._done.items() if done == epoch and not stopped]:
                    self._run_round([half for half in running if half in self._halves], pool)
                self._report(epoch)
                if all(stopped for _, stopped in self._done.values()):
                    break
        for half, (done, stopped) in self._done.items():
            if stopped:
                self._job.report(f"Half {half}: held-out particles stopped improving; its training ended after epoch {done}.")

    def _run_round(self, running: list[int], pool: ThreadPoolExecutor) -> None:
        """Train some half sets of this process to the end of the epoch, or until it must be left, and write a checkpoint."""
        watch = Watch(self._job, self._halves, self._plan, self._team)
        ends = pool.map(lambda half: _run_epoch(self._halves[half], half, self._plan, watch), running)
        rows = {half: figures for half, figures in zip(running, ends, strict=True) if figures is not None}
        self._team.meet(watch.wants_to_leave)
        self._history += self._team.merged(rows).values()
        self._history.sort(key=lambda row: (row["epoch"], row["half"]))  # whichever half was left in the midst of its epoch
        self._done = self._epochs_done()
        states = self._team.gathered({half: training.state() for half, training in self._halves.items()})
        if states is not None and self._writer is not None:
            self._writer.save(states, self._history)
        self._leave_together()

    def _epochs_done(self) -> dict[int, tuple[int, bool]]:
        """Epochs done and whether it has stopped, of both half sets."""
        return self._team.merged({half: (training.epochs_done, training.stopped) for half, training in self._halves.items()})

    def _leave_together(self) -> None:
        """Raise JobAborted in every process where any was asked to stop."""
        if any(self._team.all_of(self._job.abort_requested())):
            self._job.check_abort()
            raise JobAborted("Stopped, since another process of the job was asked to.")

    def _report(self, epoch: int) -> None:
        if not self._team.is_first:
            return
        with written_whole(self._job.directory / layout.HISTORY) as temporary:
            temporary.write_text(json.dumps(self._history, indent=1))
        rows = sorted((row for row in self._history if row["epoch"] == epoch), key=lambda row: row["half"])
        figures = "; ".join(
            f"half {row['half']}: held-out objective {row['held_out']:.1f}, motion {row['rms_motion_angstroms']:.2f} A rms"
            for row in rows
        )
        to = f"to {self._plan.epoch(epoch).resolution_angstroms:.1f} A"
        self._job.report(f"Epoch {epoch + 1} of {self._plan.n_epochs}, {to}: {figures}.")


class Watch:
    """Called after every batch of any half: shows the progress, and says when to leave the epoch to save a checkpoint."""

    def __init__(self, job: RunningJob, halves: dict[int, HalfTraining], plan: TrainingPlan, team: Team) -> None:
        self._job, self._halves, self._team = job, halves, team
        self._all_visits = plan.n_epochs * sum(len(training.training) for training in halves.values())
        self._deadline = time.monotonic() + 60 * MINUTES_BETWEEN_CHECKPOINTS
        self._lock = Lock()

    def __call__(self) -> bool:
        """Whether to leave the epoch now."""
        with self._lock:
            visits = sum(training.visits for training in self._halves.values())
            # other processes are about as far
            self._job.progress("training", self._team.count * visits, self._team.count * self._all_visits, "particles")
            return self._team.wants_to_leave(self.wants_to_leave())

    def wants_to_leave(self) -> bool:
        """Whether this process wants all to leave the epoch."""
        return time.monotonic() > self._deadline or self._job.abort_requested()


def _run_epoch(training: HalfTraining, half: int, plan: TrainingPlan, leave: Callable[[], bool]) -> Figures | None:
    """One epoch of one half set and its figures, None where it was left."""
    start = time.monotonic()
    epoch = training.epochs_done
    epoch_plan = plan.epoch(epoch)
    figures = training.run_epoch(epoch_plan, leave)
    if figures is None:
        return None
    held_out = training.held_out_objective(epoch_plan)
    # epochs of other weights do not compare: the rule counts from the first with the full weight of the prior
    if epoch_plan.kl_weight >= FULL_KL_WEIGHT:
        training.stopped = training.stop_rule.update(held_out)
    return {
        "epoch": epoch,
        "half": half,
        **figures,
        "held_out": held_out,
        "rms_motion_angstroms": training.rms_motion(),
        "resolution_angstroms": epoch_plan.resolution_angstroms,
        "kl_weight": epoch_plan.kl_weight,
        "width_angstroms": float(training.model.gaussians.widths_angstroms.detach().mean()),
        "seconds": time.monotonic() - start,
    }
