"""How long a training takes with its last stage, told before it starts: measured on first batches, with what they tell else."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from jobtypes.common.conventions import HALVES
from jobtypes.common.devices import forget_peak_memory, peak_memory_bytes, wait_for
from jobtypes.common.durations import duration_in_words
from jobtypes.common.particle_images import ParticleImages
from jobtypes.dynamight.forward_deformations.enough_particles import SignalOfPart, signal_of_part
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan
from jobtypes.dynamight.forward_deformations.posteriors import PosteriorStage, particles_together
from jobtypes.dynamight.forward_deformations.preparation import prepare_half
from jobtypes.dynamight.forward_deformations.training import POSE_PRIOR_VISITS
from relion_jobs.contract.errors import UserError

MEASURED_STEPS = 4
FEWEST_PARTICLES = 256  # the scale of the images is found from so many
HELD_OUT_SHARE = 0.5  # of a training step's time, for as many held-out particles; some epochs ask them of the stiffness too


@dataclass(frozen=True)
class FirstSteps:
    """What a few steps on the first particles of half 1 tell.

    Attributes
    ----------
    beginning, step, states, posteriors
        Seconds that an epoch takes to begin, with the poses' prior, of a step, that the last stage takes to find states and which
        of them are in doubt, and of one of its batches.
    peak_memory_bytes
        Of the GPU; None on a CPU.
    signal
        What an image tells of a part of the molecule.
    """

    beginning: float
    step: float
    states: float
    posteriors: float
    peak_memory_bytes: int | None
    signal: SignalOfPart


def take_first_steps(plan: TrainingPlan, device: torch.device) -> FirstSteps:
    """Take a few steps on the first particles of half 1, with a model that is thrown away. Writes nothing.

    Parameters
    ----------
    plan
        Of the training.
    device
        Where half 1 is trained.

    Raises
    ------
    UserError
        The GPU's memory does not hold a step; or an image cannot be read.
    """
    forget_peak_memory(device)
    try:
        return _measure(plan, device)
    except torch.cuda.OutOfMemoryError as error:
        free, everything = torch.cuda.mem_get_info(device)
        raise UserError(
            f"A batch of {plan.settings.batch_size} particles with {plan.size.n_gaussians} Gaussians does not fit on the GPU, "
            f"of whose {everything / 1e9:.0f} GB {free / 1e9:.1f} GB are free; take a smaller training_batch_size."
        ) from error


def time_sentence(plan: TrainingPlan, first: FirstSteps, *, side_by_side: bool, processes: int = 1) -> str:
    """Time per epoch and in total, in words.

    `side_by_side` says whether both halves train at once, `processes` how many share the work on each.
    """
    batch, step = plan.settings.batch_size, first.step / processes
    halves, ends = [], []
    for out in _held_out(plan):
        # what is learned of the poses at the beginning of some epochs is nearly all that a beginning takes
        share = min(1.0, float((~out).sum()) / POSE_PRIOR_VISITS)
        halves.append(
            share * first.beginning / processes + step * (_batches(~out, batch) + HELD_OUT_SHARE * _batches(out, batch))
        )
        # the other half's model works held-out particles out once more
        together = particles_together(plan.settings, plan.band)
        ends.append((first.states + first.posteriors * (math.ceil(len(out) / together) + _batches(out, together))) / processes)
    epoch, end = (max(parts) if side_by_side else sum(parts) for parts in (halves, ends))
    peak = first.peak_memory_bytes
    memory = f" A batch takes {peak / 1e9:.2f} GB of the GPU's memory." if peak else ""
    epochs, most = plan.n_epochs * epoch, plan.settings.most_epochs * epoch
    longer = "" if most == epochs else f" ({duration_in_words(most + end)} where motions are found slowly)"
    return (
        f"Time: {1000 * step:.0f} ms for a step at full resolution, measured on first batches; about {duration_in_words(epoch)} "
        f"for an epoch, {duration_in_words(epochs)} for all {plan.n_epochs}, and then {duration_in_words(end)} for the latents "
        f"of all particles: {duration_in_words(epochs + end)} together{longer}.{memory}"
    )


def _measure(plan: TrainingPlan, device: torch.device) -> FirstSteps:
    """First steps; each time is the least of a few."""
    batch_size = plan.settings.batch_size
    n_particles = max(MEASURED_STEPS * batch_size, FEWEST_PARTICLES)
    rows = np.flatnonzero((plan.table.half == HALVES[0]) & ~plan.held_out)[:n_particles]
    table = plan.table.select(rows)
    few = replace(
        plan, table=table, images=ParticleImages(table, plan.images.project), held_out=np.zeros(len(rows), dtype=np.bool_)
    )
    training = prepare_half(HALVES[0], few, device=device, scratch=None, after_batch=lambda done: None)
    last = plan.last_epoch
    training.run_epoch(last, lambda: True)  # the first call of everything takes longer
    signal = signal_of_part(training, plan, training.observations.band.n_terms(last.resolution_angstroms))
    training.progress, training.pose_prior_is_due = None, True
    clock = _Clock(device)
    training.run_epoch(last, lambda: clock.after_batch() >= MEASURED_STEPS)
    step = min(clock.batches[1:] or clock.batches)
    beginning = max(0.0, clock.batches[0] - step)
    stage, clock = PosteriorStage(training), _Clock(device)
    together = particles_together(plan.settings, plan.band)
    stage.run(last, lambda: clock.after_batch() > 0 and stage.refined > together)
    encoded = math.ceil(stage.encoded / together)
    refined = min(clock.batches[encoded:])
    states = clock.batches[encoded] - refined
    return FirstSteps(beginning, step, states, min(clock.batches[:encoded]) + refined, peak_memory_bytes(device), signal)


class _Clock:
    """Takes the time of batches, one after the other.

    Attributes
    ----------
    batches
        Seconds of each.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self.batches = device, list[float]()
        self._last = time.perf_counter()

    def after_batch(self) -> int:
        """Take the time of the batch that has just ended; returns how many there were."""
        wait_for(self._device)
        now = time.perf_counter()
        self.batches.append(now - self._last)
        self._last = now
        return len(self.batches)


def _held_out(plan: TrainingPlan) -> list[np.ndarray]:
    """For each half, which of its particles are held out, (n_h,)."""
    return [plan.held_out[plan.rows(half)] for half in HALVES]


def _batches(chosen: np.ndarray, batch_size: int) -> int:
    return math.ceil(int(chosen.sum()) / batch_size)
