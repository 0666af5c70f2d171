"""The task: train (or resume) both halves' inverse networks, judge them, write them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from jobtypes.common.checkpoints import load_checkpoint, save_checkpoint
from jobtypes.common.conventions import HALVES
from jobtypes.common.devices import choose_device, free_memory_bytes
from jobtypes.common.earlier_results import set_aside
from jobtypes.common.memory import available_memory_bytes
from jobtypes.common.shared_halves import device_of, halves_of, share_halves
from jobtypes.common.team import Team
from jobtypes.common.whole_files import written_whole
from jobtypes.dynamight import layout
from jobtypes.dynamight.inverse_deformations.accuracy import Accuracy, measure
from jobtypes.dynamight.inverse_deformations.figures import draw_round_trip, draw_training
from jobtypes.dynamight.inverse_deformations.pairs import PairSource, bytes_of_pairs, pairs_per_draw
from jobtypes.dynamight.inverse_deformations.training import InverseTraining, Schedule, StoredPairs
from jobtypes.dynamight.model.inverse_displacement import FORMAT_VERSION, KIND, InverseDisplacement, InverseHalf
from jobtypes.dynamight.model.principal_motions import principal_motions
from jobtypes.dynamight.model.result import ForwardResult, HalfResult, load_centred_result
from jobtypes.dynamight.options import InverseOptions
from jobtypes.dynamight.outputs import gather_logbook
from relion_jobs.contract.errors import JobAborted, JobFailed
from relion_jobs.contract.options import Value
from relion_jobs.contract.running_job import RunningJob

_CHECKPOINT_EVERY = 20  # epochs
_STORED_DRAWS = 25
_PROBE_PAIRS = 8192
_PAIRS_PER_EPOCH = 32768


def check(values: Mapping[str, Value], job_directory: Path) -> list[str]:
    """The plan in sentences; UserError where the forward deformations are missing or another job's."""
    options = InverseOptions.from_values(values)
    _, sentence = choose_device(options.gpu_id)
    forward = load_centred_result(job_directory, options.fn_checkpoint)
    particles = {half: int((~part.held_out).sum()) for half, part in forward.halves.items()}
    return [
        sentence,
        f"Inverse deformations of {forward.path} (epoch {forward.epoch}): at most {options.nr_epochs} epochs over the latents of "
        f"{particles[1]} and {particles[2]} training particles; no image is read.",
        *(_memory_sentence(part, store_deformations=options.do_store_deform) for part in forward.halves.values()),
        f"Networks are written to {Path(job_directory) / layout.FINAL_INVERSE}.",
    ]


def run(values: Mapping[str, Value], job: RunningJob) -> None:
    """Train both halves' networks, or go on where they stopped; then judge and write them. On a CPU each half has a process."""
    options = InverseOptions.from_values(values)
    torch.set_num_threads(options.nr_threads)
    alone = torch.cuda.is_available() or options.nr_threads < len(HALVES)
    share_halves(lambda team: invert(options, job, team), job, lambda: 1 if alone else len(HALVES))


def invert(options: InverseOptions, job: RunningJob, team: Team) -> None:
    """Train as one of the processes of a team: the first two have a half each, others have nothing to do."""
    torch.set_num_threads(max(1, options.nr_threads // min(team.local_count, len(HALVES))))
    device = device_of(options.gpu_id, team, job)
    forward = load_centred_result(job.directory, options.fn_checkpoint, device)
    job.report(f"Inverse deformations of {forward.path} (epoch {forward.epoch}).")
    start = partial(
        start_training, forward, n_epochs=options.nr_epochs, store_deformations=options.do_store_deform, seed=options.seed
    )
    mine = halves_of(team) if team.rank < len(HALVES) else ()
    trainings = {half: start(forward.halves[half]) for half in mine}
    resume(trainings, forward, job, team)
    train(trainings, forward, options.nr_epochs, job, team)
    save(job.directory / layout.FINAL_INVERSE, trainings, forward, team)
    accuracy = team.merged({half: judge(training, forward.halves[half]) for half, training in trainings.items()})
    histories = team.merged({half: training.history for half, training in trainings.items()})
    if team.is_first:
        report(accuracy, histories, job)
        draw_training(histories, job.directory / layout.INVERSE_TRAINING_FIGURE)
        draw_round_trip(accuracy, job.directory / layout.ROUND_TRIP_FIGURE)
        gather_logbook(job.directory, job)


@torch.no_grad()
def start_training(
    forward: ForwardResult, part: HalfResult, *, n_epochs: int, store_deformations: bool, seed: int
) -> InverseTraining:
    """A new training of one half set, which depends on nothing of the other.

    Parameters
    ----------
    forward, part
        The forward deformations, and the half set of them.
    n_epochs
        Most epochs.
    store_deformations
        Keep deformed positions in RAM and use them in turn.
    seed
        Of the job.
    """
    seed = 2 * seed + part.half
    box_length_angstroms = forward.box * forward.pixel_size_angstroms
    trained = torch.from_numpy(~part.held_out).to(part.latent_mean.device) & part.good
    if not bool(trained.any()):
        trained = torch.ones_like(trained)
    latents = part.latent_mean[trained]
    source = PairSource(
        part.model,
        latents,
        part.latent_log_variance[trained],
        box_length_angstroms=box_length_angstroms,
        n_pairs=_PAIRS_PER_EPOCH,
        seed=seed,
    )
    motions = principal_motions(
        source.basis_at_gaussians.cpu(), part.model.gaussians.amplitudes.cpu(), part.model.field.coefficients(latents).cpu()
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = InverseDisplacement(
            n_coefficients=len(motions.mean), n_coordinates=len(motions), box_length_angstroms=box_length_angstroms
        )
    network.set_motions(motions)
    pairs = StoredPairs(source, _STORED_DRAWS, _room_for_pairs(source.device)) if store_deformations else source
    probe = source.draw(0, per_particle=-(-_PROBE_PAIRS // len(latents)))
    return InverseTraining(network.to(latents.device), pairs, probe, Schedule(n_epochs), seed=seed)


def _memory_sentence(part: HalfResult, *, store_deformations: bool) -> str:
    """What the pairs of a half set take."""
    draw = bytes_of_pairs(pairs_per_draw(int((~part.held_out).sum()), _PAIRS_PER_EPOCH), part.model.field.n_fields)
    kept = f"; of {_STORED_DRAWS} draws as many are kept as fit into a quarter of what is free" if store_deformations else ""
    return f"Memory: the pairs of an epoch of half {part.half} take {draw / 1e9:.2f} GB{kept}."


def _room_for_pairs(device: torch.device) -> int:
    """Bytes that the stored pairs of a half set may take: half of what is free, shared by both."""
    free = free_memory_bytes(device)
    return (available_memory_bytes() if free is None else free) // (2 * len(HALVES))


def resume(trainings: dict[int, InverseTraining], forward: ForwardResult, job: RunningJob, team: Team) -> None:
    """Take up an earlier run of the same forward checkpoint; move the files of another one aside."""
    if (halves := team.from_first(lambda: _earlier(forward, job))) is not None:
        for half, training in trainings.items():
            training.restore(halves[str(half)])


def _earlier(forward: ForwardResult, job: RunningJob) -> dict[str, Any] | None:
    """States of both halves of the last checkpoint of these forward deformations; None where there is none."""
    paths = [*job.directory.glob(layout.INVERSE_PATTERN), *job.directory.glob(str(layout.FINAL_INVERSE))]
    found = [(content["epoch"], path, content) for path in paths for content in [_load(path)]]
    if any(content["forward_identity"] != forward.identity for _, _, content in found):
        aside = set_aside(job.directory, [path for _, path, _ in found])
        job.report(
            "The inverse deformations that were there belong to other forward deformations, or to another consensus; they are "
            f"now in {aside}/."
        )
        return None
    found.sort(key=lambda item: (item[0], str(item[1])))
    if not found:
        return None
    epoch, path, content = found[-1]
    job.report(f"Going on after epoch {epoch}, from {path}.")
    halves: dict[str, Any] = content["halves"]
    return halves


def _load(path: Path) -> dict[str, Any]:
    return load_checkpoint(path, kind=KIND, version=FORMAT_VERSION)


def train(trainings: dict[int, InverseTraining], forward: ForwardResult, n_epochs: int, job: RunningJob, team: Team) -> None:
    """Epochs over both halves until each has converged or had the number that was asked for."""
    epochs = team.merged({half: training.epoch for half, training in trainings.items()})
    for epoch in range(min(epochs.values()) + 1, n_epochs + 1):
        is_left = not all([_run_epoch(half, training, epoch, forward, job, team) for half, training in trainings.items()])
        team.meet(job.abort_requested)
        if any(team.all_of(is_left)):
            last = max(team.all_of(max((training.epoch for training in trainings.values()), default=0)))
            save(job.directory / layout.inverse_checkpoint(last), trainings, forward, team)
            job.check_abort()
            raise JobAborted("Stopped, since another process of the job was asked to.")
        now = team.merged({half: (training.history[-1]["median"], training.finished) for half, training in trainings.items()})
        medians = {f"median_A_half{half}": median for half, (median, _) in now.items()}
        job.progress("inverse deformations", epoch, n_epochs, "epochs", **medians)
        if all(finished for _, finished in now.values()):
            break
        if epoch % _CHECKPOINT_EVERY == 0:
            save(job.directory / layout.inverse_checkpoint(epoch), trainings, forward, team)
    for said in team.merged({half: _end_in_words(half, training) for half, training in trainings.items()}).values():
        for sentence in said:
            job.report(sentence)


def _run_epoch(half: int, training: InverseTraining, epoch: int, forward: ForwardResult, job: RunningJob, team: Team) -> bool:
    """An epoch of a half that has not had it; False where it was left."""
    if training.finished or training.epoch >= epoch:
        return True
    if not training.run_epoch(lambda: team.wants_to_leave(job.abort_requested())):
        return False
    if not math.isfinite(training.history[-1]["loss"]):
        raise JobFailed(
            f"The inverse training of half {half} diverged in epoch {epoch}; look at the motions of {forward.path} first."
        )
    return True


def _end_in_words(half: int, training: InverseTraining) -> list[str]:
    """Why the training of a half ended, and what it has kept."""
    why = "it has converged" if training.schedule.converged(training.history) else "the number of epochs asked for"
    said = [f"Half {half}: ended after epoch {training.epoch}, {why}."]
    if isinstance(training.pairs, StoredPairs):
        kept = f"{training.pairs.n_kept} draws of deformed positions, {training.pairs.bytes / 1e6:.0f} MB,"
        said.append(f"Half {half}: {kept} were kept in memory.")
    return said


def save(path: Path, trainings: dict[int, InverseTraining], forward: ForwardResult, team: Team) -> None:
    """Write both halves' networks with all that a resumed run needs."""
    states = team.gathered({half: training.state() for half, training in trainings.items()})
    if states is None:
        return
    contents = {
        "forward_identity": forward.identity,
        "epoch": max(state["epoch"] for state in states.values()),
        "halves": {str(half): state for half, state in states.items()},
    }
    save_checkpoint(path, contents, kind=KIND, version=FORMAT_VERSION)


def judge(training: InverseTraining, part: HalfResult) -> Accuracy:
    """Round trip and folding of one half on pairs that did not train it."""
    return measure(InverseHalf(training.network, part.model.field), training.probe)


def report(accuracy: dict[int, Accuracy], histories: dict[int, list[dict[str, float]]], job: RunningJob) -> None:
    """Say the figures in A, and write them to accuracy.json."""
    for half, found in accuracy.items():
        at, off = found.gaussians, found.elsewhere
        job.report(
            f"Half {half}: round trip at Gaussians {at['network']}, after one Newton step {at['corrected']}, by fixed-point "
            f"inversion {at['fixed point']}; the motion itself is {found.unmoved}."
        )
        job.report(
            f"Half {half}: round trip at random points {off['network']}, after one Newton step {off['corrected']}; the forward "
            f"map folds at {100 * found.folded_gaussians:.2f} % of Gaussians and {100 * found.folded_elsewhere:.2f} % of the box."
        )
        if found.gaussians["network"].median > max(0.2, 0.1 * found.unmoved.median):
            job.warn(
                f"Half {half}: the inverse network is off by {found.gaussians['network']}; more epochs (nr_epochs) would help."
            )
    numbers = {
        f"half{half}": found.numbers() | {"epochs": len(histories[half]), "history": histories[half]}
        for half, found in accuracy.items()
    }
    with written_whole(job.directory / layout.INVERSE_ACCURACY) as temporary:
        temporary.write_text(json.dumps(numbers, indent=1))
