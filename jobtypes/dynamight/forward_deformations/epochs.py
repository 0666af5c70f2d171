"""All epochs of a training: every half set by itself, a checkpoint of both after each and every few minutes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from jobtypes.common.team import Team
from jobtypes.common.whole_files import written_whole
from jobtypes.dynamight import layout
from jobtypes.dynamight.forward_deformations import stiffness
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan
from jobtypes.dynamight.forward_deformations.rounds import Progress, Rounds
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from relion_jobs.contract.running_job import RunningJob

Figures = dict[str, float]


class Epochs:
    """The epochs that are left of a training.

    The halves run side by side, know nothing of each other, and each goes at its own pace. Where several processes share the
    work, each has its half sets, and between epochs they tell each other how far they are.

    Parameters
    ----------
    halves
        The half sets of this process.
    plan
        Of the training.
    history
        Figures of the epochs done, one row for each half set; grows.
    rounds
        In which they are worked on.
    job, team
        The running job, and the processes that share it.
    """

    def __init__(
        self,
        halves: dict[int, HalfTraining],
        plan: TrainingPlan,
        history: list[Figures],
        *,
        rounds: Rounds,
        job: RunningJob,
        team: Team,
    ) -> None:
        self._halves, self._plan, self._history = halves, plan, history
        self._rounds, self._job, self._team = rounds, job, team
        self._done = self._epochs_done()
        self._trainings = {half: training.run(self._epochs_of(training), rounds.leave) for half, training in halves.items()}
        self._progress = Progress(
            "training",
            lambda: sum(training.visits for training in halves.values()),
            lambda: sum(_visits_in_all(training) for training in halves.values()),
        )

    def _epochs_of(self, training: HalfTraining) -> Iterator[EpochPlan]:
        while not training.pace.is_done:
            yield self._plan.next_epoch(training.pace)

    def run(self) -> None:
        """Train until every half set has done all epochs.

        Raises
        ------
        JobAborted
            The job was asked to stop; a checkpoint has been written.
        JobFailed
            The objective became infinite.
        """
        while self._running():
            epoch = min(self._running().values())
            while running := [half for half, done in self._running().items() if done == epoch]:
                self._run_round([half for half in running if half in self._halves])
            self._report(epoch)
        self._write_history()
        ends = {half: [training.pace.sentence(), stiffness.sentence(training)] for half, training in self._halves.items()}
        for half, (why, how_stiff) in self._team.merged(ends).items():
            self._job.report(f"Half {half}: {why} {how_stiff}")

    def _run_round(self, running: list[int]) -> None:
        """Train some half sets of this process to the end of the epoch, or until it must be left, and write a checkpoint."""
        rows = self._rounds.work(running, self._run_epoch, self._progress)
        self._history += rows.values()
        self._history.sort(key=lambda row: (row["epoch"], row["half"]))  # whichever half was left in the midst of its epoch
        self._done = self._epochs_done()
        self._rounds.save(self._history)

    def _run_epoch(self, half: int) -> Figures | None:
        """One epoch of one half set and its figures, None where it was left."""
        training, start = self._halves[half], time.monotonic()
        epoch = training.epochs_done
        epoch_plan = self._plan.next_epoch(training.pace)
        figures = next(self._trainings[half])
        if figures is None:
            return None
        held_out, stiffness_then = training.held_out_objective(epoch_plan), training.stiffness(epoch_plan)
        if epoch_plan.learns_stiffness and training.settings.learns_stiffness:
            stiffness.learn_stiffness(training, epoch_plan)
        training.pace.advance(held_out)
        return {
            "epoch": epoch,
            "half": half,
            **figures,
            "held_out": held_out,
            "rms_motion_angstroms": training.rms_motion(),
            "resolution_angstroms": epoch_plan.resolution_angstroms,
            "kl_weight": epoch_plan.kl_weight,
            "stiffness": stiffness_then,
            "width_angstroms": float(training.model.gaussians.widths_angstroms.detach().mean()),
            "seconds": time.monotonic() - start,
        }

    def _epochs_done(self) -> dict[int, tuple[int, bool]]:
        """Epochs done and whether it has ended, of both half sets."""
        return self._team.merged({half: (training.epochs_done, training.pace.is_done) for half, training in self._halves.items()})

    def _running(self) -> dict[int, int]:
        """Epochs done of the half sets that have not ended."""
        return {half: done for half, (done, has_ended) in self._done.items() if not has_ended}

    def _report(self, epoch: int) -> None:
        self._write_history()
        rows = sorted((row for row in self._history if row["epoch"] == epoch), key=lambda row: row["half"])
        figures = "; ".join(
            f"half {row['half']}: held-out objective {row['held_out']:.1f}, motion {row['rms_motion_angstroms']:.2f} A rms"
            for row in rows
        )
        to = " and ".join(dict.fromkeys(f"{row['resolution_angstroms']:.1f} A" for row in rows))
        if self._team.is_first:
            self._job.report(f"Epoch {epoch + 1}, to {to}: {figures}.")

    def _write_history(self) -> None:
        if not self._team.is_first:
            return
        with written_whole(self._job.directory / layout.HISTORY) as temporary:
            temporary.write_text(json.dumps(self._history, indent=1))


def _visits_in_all(training: HalfTraining) -> int:
    """Those that are done and at least to come."""
    return (training.epochs_done + training.pace.epochs_left) * len(training.training)
