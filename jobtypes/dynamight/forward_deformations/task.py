"""Task "forward deformations": reads, seeds, trains both halves, saves. Each half set is trained by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from jobtypes.common.conventions import HALVES
from jobtypes.common.devices import choose_device
from jobtypes.common.whole_files import written_whole
from jobtypes.dynamight.forward_deformations.checkpointing import CheckpointWriter, load_last, set_results_aside
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan, make_plan
from jobtypes.dynamight.forward_deformations.preparation import checkpoint_settings, prepare_half
from jobtypes.dynamight.forward_deformations.schedule import FULL_KL_WEIGHT
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.model.result import load_forward_result
from jobtypes.dynamight.options import ForwardOptions
from jobtypes.dynamight.outputs import PARTICLES, write_forward_outputs
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import LOGFILE_PDF
from relion_jobs.contract.options import Value
from relion_jobs.contract.running_job import RunningJob

FOLDER = Path("forward_deformations")
HISTORY = FOLDER / "history.json"
SCRATCH = "spectra_half{}.tmp"  # where images that memory does not hold are kept while the job runs
MINUTES_BETWEEN_CHECKPOINTS = 5.0


def check(values: Mapping[str, Value], job_directory: Path) -> list[str]:
    """Validate the inputs of a training and return its plan in sentences. Writes nothing."""
    options = ForwardOptions.from_values(values)
    torch.set_num_threads(options.nr_threads)
    _, sentence = choose_device(options.gpu_id)
    return [sentence, *make_plan(options, Path.cwd()).sentences(options)]


def run(values: Mapping[str, Value], job: RunningJob) -> None:
    """Train both half sets, or go on with a training that was left.

    Raises
    ------
    UserError
        Bad input, or other options or input files than those of the training that should go on.
    JobFailed
        The objective became infinite; the last good checkpoint is kept.
    JobAborted
        The job was asked to stop; a checkpoint has been written.
    """
    options = ForwardOptions.from_values(values)
    torch.set_num_threads(options.nr_threads)
    device, sentence = choose_device(options.gpu_id)
    job.report(sentence)
    earlier = load_last(job.directory)
    if job.is_continue and earlier is not None:
        _refuse_other_options(options, earlier, job)
        if earlier["finished"]:
            job.report(
                f"This training is finished: {earlier['epoch']} epochs are done, and nothing was asked for that it has not."
            )
            if not (job.directory / FOLDER / PARTICLES).is_file():
                # it was killed while these were written
                write_forward_outputs(load_forward_result(job.directory), earlier["history"], job, seed=options.seed)
            return
    plan = make_plan(options, job.project)
    earlier = _taken_up(earlier, options, plan, job)
    if plan.halves_side_by_side:
        torch.set_num_threads(max(1, options.nr_threads // len(HALVES)))
    for line in plan.sentences(options):
        job.report(line)
    halves = {half: _read_and_seed(half, plan, options, job, device) for half in HALVES}
    history: list[dict[str, float]] = []
    if earlier is not None:
        for half, training in halves.items():
            training.restore(earlier["halves"][half])
        history = earlier["history"]
        job.report(f"Going on from epoch {earlier['epoch']}.")
    writer = CheckpointWriter(job.directory, options, checkpoint_settings(plan, options))
    _train(halves, plan, history, writer, job)
    for half, training in halves.items():
        _encode(half, training, plan, job)
    path = writer.save(halves, history, finished=True)
    for scratch in (job.directory / FOLDER).glob(SCRATCH.format("*")):
        scratch.unlink()
    write_forward_outputs(load_forward_result(job.directory), history, job, seed=options.seed)
    _report_motion(halves, job)
    job.report(f"Wrote {path}; the pictures are in {job.directory / LOGFILE_PDF}.")


def _train(
    halves: dict[int, HalfTraining],
    plan: TrainingPlan,
    history: list[dict[str, float]],
    writer: CheckpointWriter,
    job: RunningJob,
) -> None:
    """All epochs that are left. The halves run side by side, know nothing of each other, and each stops by its own rule."""
    with ThreadPoolExecutor(max_workers=len(halves) if plan.halves_side_by_side else 1) as pool:
        for epoch in range(min(training.epochs_done for training in halves.values()), plan.n_epochs):
            running = [half for half, training in halves.items() if not training.stopped and training.epochs_done == epoch]
            while running:
                watch = Watch(job, halves, plan)
                ends = pool.map(lambda half, watch=watch: _run_epoch(half, halves[half], plan, watch), running)
                history += [figures for figures in ends if figures is not None]
                writer.save(halves, history)
                job.check_abort()
                running = [half for half in running if halves[half].epochs_done == epoch]
            _write_history(job.directory / HISTORY, history)
            job.report(_summary(epoch, plan, [row for row in history if row["epoch"] == epoch]))
            if all(training.stopped for training in halves.values()):
                break
    for half, training in halves.items():
        if training.stopped:
            job.report(
                f"Half {half}: held-out particles stopped improving; its training ended after epoch {training.epochs_done}."
            )


class Watch:
    """Called after every batch of either half: shows the progress, and says when to leave the epoch to save a checkpoint."""

    def __init__(self, job: RunningJob, halves: dict[int, HalfTraining], plan: TrainingPlan) -> None:
        self._job, self._halves = job, halves
        self._all_visits = plan.n_epochs * sum(len(training.training) for training in halves.values())
        self._deadline = time.monotonic() + 60 * MINUTES_BETWEEN_CHECKPOINTS
        self._lock = Lock()

    def __call__(self) -> bool:
        """Whether to leave the epoch now."""
        with self._lock:
            visits = sum(training.visits for training in self._halves.values())
            self._job.progress("training", visits, self._all_visits, "particles")
            return time.monotonic() > self._deadline or self._job.abort_requested()


def _encode(half: int, training: HalfTraining, plan: TrainingPlan, job: RunningJob) -> None:
    def after_batch(seen: int) -> None:
        job.progress(f"latents of half {half}", seen, len(training.observations), "particles")
        job.check_abort()

    training.encode_all(plan.epoch(training.epochs_done - 1), after_batch)


def _summary(epoch: int, plan: TrainingPlan, rows: list[dict[str, float]]) -> str:
    """One line on an epoch, with the figures of each half that trained."""
    figures = "; ".join(
        f"half {row['half']}: held-out objective {row['held_out']:.1f}, motion {row['rms_motion_angstroms']:.2f} A rms"
        for row in rows
    )
    return f"Epoch {epoch + 1} of {plan.n_epochs}, to {plan.epoch(epoch).resolution_angstroms:.1f} A: {figures}."


def _run_epoch(half: int, training: HalfTraining, plan: TrainingPlan, leave: Callable[[], bool]) -> dict[str, float] | None:
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


def _read_and_seed(half: int, plan: TrainingPlan, options: ForwardOptions, job: RunningJob, device: torch.device) -> HalfTraining:
    scratch = None if plan.spectra_in_memory else job.directory / FOLDER / SCRATCH.format(half)

    def after_batch(done: int) -> None:
        job.progress(f"reading images of half {half}", done, len(plan.rows(half)), "images")
        job.check_abort()

    return prepare_half(half, plan, options, device=device, scratch=scratch, after_batch=after_batch)


def _refuse_other_options(options: ForwardOptions, earlier: dict[str, Any], job: RunningJob) -> None:
    different = options.differences(earlier["options"])
    if different:
        name = different[0]
        raise UserError(
            f"Option {name} is '{getattr(options, name)}', but the training in {job.directory} was made with "
            f"'{earlier['options'].get(name)}'; a training goes on with the same options. Set it back, or start a new job."
        )


def _taken_up(
    earlier: dict[str, Any] | None, options: ForwardOptions, plan: TrainingPlan, job: RunningJob
) -> dict[str, Any] | None:
    """The checkpoint to go on from, None for a fresh start.

    A new job in a directory with results of other inputs, or with finished ones, sets them aside; "Continue!" refuses instead.
    It comes after the plan, so that bad input moves nothing.
    """
    if earlier is None:
        return None
    begun_with = earlier["settings"].get("inputs", {})
    changed = [name for name, digest in begun_with.items() if plan.inputs.get(name) != digest]
    if job.is_continue:
        if changed:
            raise UserError(
                f"The contents of {getattr(options, changed[0])} (option {changed[0]}) are not those that the training in "
                f"{job.directory} began with; restore the file or start a new job."
            )
        return earlier
    reasons = [f"option {name} differs" for name in options.differences(earlier["options"])]
    reasons += [f"the contents of {getattr(options, name)} have changed" for name in changed]
    if not reasons and not earlier["finished"]:
        return earlier
    why = reasons[0] if reasons else "it is finished"
    job.report(
        f"The training that is here is not taken up, as {why}; its results were moved to {set_results_aside(job.directory)}."
    )
    return None


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(history, indent=1))


def _report_motion(halves: dict[int, HalfTraining], job: RunningJob) -> None:
    for half, training in halves.items():
        job.report(
            f"Half {half}: the density moves by {training.rms_motion():.1f} A rms, its most mobile tenth by "
            f"{float(training.motion_power.quantile(0.9).sqrt()):.1f} A or more."
        )
