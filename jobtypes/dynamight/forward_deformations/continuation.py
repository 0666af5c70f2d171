"""What a training goes on from: the checkpoint that is there, if options and input files allow it, or nothing.

Where "Continue!" names another STAR file of the same particles (unbinned, polished, moved), what was learned is carried over to
them: model, latents, half sets and held-out particles. What belongs to the images starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jobtypes.common.digests import digest_of_particles
from jobtypes.common.job_paths import is_same
from jobtypes.common.particle_matching import match_particles
from jobtypes.common.particles import read_particles
from jobtypes.dynamight import layout
from jobtypes.dynamight.forward_deformations.checkpointing import set_results_aside
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan
from jobtypes.dynamight.forward_deformations.seeding import fit_scale
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.result import build_model
from jobtypes.dynamight.options import FREE_ON_OTHER_PARTICLES, FREE_ON_RESUME, ForwardOptions
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.running_job import RunningJob

SHARE_DONE_AGAIN = 0.25  # of the epochs, on other images
LARGEST_ROUNDING_RADIANS, LARGEST_ROUNDING_ANGSTROMS = 1e-4, 1e-2  # of poses that are the same in two files
CARRIED_OVER = "split_is_carried_over"  # setting of a checkpoint whose split is not what its STAR file and seed would give


@dataclass(frozen=True)
class Start:
    """What a training goes on from.

    Attributes
    ----------
    checkpoint
        Content of the earlier training's; None for a fresh start.
    earlier_rows : (n,)
        Row in the earlier STAR file of each particle of another one; None where it is the same file.
    """

    checkpoint: dict[str, Any] | None = None
    earlier_rows: NDArray[np.int64] | None = None


def is_other_star(star_file: str, earlier: dict[str, Any], project: Path) -> bool:
    """Whether a STAR file is another one than the earlier training's, by whatever name of it."""
    return not is_same(project, star_file, earlier["options"]["fn_star"])


def refuse_other_options(options: ForwardOptions, earlier: dict[str, Any], job: RunningJob) -> None:
    """Refuse to go on with options that are part of what was learned.

    Raises
    ------
    UserError
        An option differs; the sentence says which may.
    """
    allowed = FREE_ON_OTHER_PARTICLES if is_other_star(options.fn_star, earlier, job.project) else FREE_ON_RESUME
    different = options.differences(earlier["options"], free=allowed, is_same_file=partial(is_same, job.project))
    if different:
        name, may = different[0], ", ".join(sorted(allowed))
        before, now = options.as_now(earlier["options"])[name], options.as_dict()
        if name not in now:
            raise UserError(
                f"The training in {job.directory} was made with option {name} ('{before}'), which this version of the program "
                "does not have; go on with the version that made it, or start a new job."
            )
        found = "empty" if now[name] is None else f"'{now[name]}'"
        expected = "without one" if before is None else f"with '{before}'"
        raise UserError(
            f"Option {name} is {found}, but the training in {job.directory} was made {expected}; of the training's options only "
            f"{may} may change when it goes on. Set it back, or start a new job."
        )


def starting_point(earlier: dict[str, Any] | None, options: ForwardOptions, plan: TrainingPlan, job: RunningJob) -> Start:
    """Settle what to go on from.

    A new job in a directory with results of other inputs, or with finished ones, sets them aside; "Continue!" refuses instead,
    or takes up another STAR file. It comes after the plan, so that bad input moves nothing.

    Raises
    ------
    UserError
        "Continue!", and the input files are not what they were, or the other STAR file is not of the same particles.
    """
    if earlier is None:
        return Start()
    if job.is_continue and is_other_star(options.fn_star, earlier, job.project):
        return _other_particles(earlier, plan, job)
    begun_with = earlier["settings"]["inputs"]
    changed = [name for name, digest in begun_with.items() if plan.inputs.get(name) != digest]
    if job.is_continue:
        if changed:
            raise UserError(
                f"The contents of {getattr(options, changed[0])} (option {changed[0]}) are not those that the training in "
                f"{job.directory} began with; restore the file or start a new job."
            )
        return Start(earlier)
    different = options.differences(earlier["options"], free=FREE_ON_RESUME, is_same_file=partial(is_same, job.project))
    reasons = [f"option {name} differs" for name in different]
    reasons += [f"the contents of {getattr(options, name)} have changed" for name in changed]
    if not reasons and not earlier["finished"]:
        return Start(earlier)
    why = reasons[0] if reasons else "it is finished"
    job.report(
        f"The training that is here is not taken up, as {why}; its results were moved to {set_results_aside(job.directory)}."
    )
    return Start()


def _other_particles(earlier: dict[str, Any], plan: TrainingPlan, job: RunningJob) -> Start:
    before = earlier["options"]["fn_star"]
    if not (job.project / before).is_file():
        raise UserError(
            f"{before}, which the training in {job.directory} was made with, is not there any more, but it says which particle "
            f"of {plan.star_file} is which; put it back."
        )
    prefix = earlier["options"].get("particle_path_prefix", "")
    table = read_particles(job.project / before, seed=earlier["settings"]["seed"], project=job.project, path_prefix=prefix)
    if digest_of_particles(table) != earlier["settings"]["inputs"]["fn_star"]:
        raise UserError(f"The contents of {before} are not those that the training in {job.directory} began with; restore it.")
    rows, how = match_particles(table, plan.table)
    job.report(
        f"Going on with {plan.star_file}: its {len(rows)} particles are those of {before}, matched by {how}. Model, latents, "
        "half sets and held-out particles are carried over; noise spectra, scale and optimisers start anew."
    )
    half = _half_sets(earlier, len(table))[rows]
    elsewhere = int(((plan.table.half != half) & (half > 0)).sum()) if plan.table.half_is_given else 0
    if elsewhere:
        job.report(
            f"{elsewhere} particles are in the other half set there (_rlnRandomSubset); each stays where a model has seen it."
        )
    return Start(earlier, rows)


def with_split(plan: TrainingPlan, start: Start) -> TrainingPlan:
    """The plan with the half sets and held-out particles of the training that goes on.

    Raises
    ------
    UserError
        A half set would be left without particles to train on or to hold out.
    """
    checkpoint, rows = start.checkpoint, start.earlier_rows
    if checkpoint is None or (rows is None and not checkpoint["settings"].get(CARRIED_OVER)):
        return plan
    rows = np.arange(len(plan.table)) if rows is None else rows
    last = max(int(state["rows"].max()) for state in checkpoint["halves"].values())
    half = _half_sets(checkpoint, max(last, int(rows.max())) + 1)
    out = np.zeros(len(half), dtype=bool)
    for state in checkpoint["halves"].values():
        out[state["rows"].numpy()] = state["held_out"].numpy()
    for number in checkpoint["halves"]:
        if not {True, False} <= set(out[rows][half[rows] == number].tolist()):
            raise UserError(
                f"{plan.table.path} leaves half {number} of the earlier training without particles to train on or to hold out; "
                "give more of its particles."
            )
    return replace(plan, table=replace(plan.table, half=half[rows]), held_out=out[rows], split_is_carried_over=True)


def _half_sets(checkpoint: dict[str, Any], n_rows: int) -> NDArray[np.int64]:
    """(n_rows,) half set of each particle of the STAR file that a checkpoint was trained on; 0 of one that took no part."""
    half = np.zeros(n_rows, dtype=np.int64)
    for number, state in checkpoint["halves"].items():
        half[state["rows"].numpy()] = number
    return half


def carry_over(training: HalfTraining, state: dict[str, Any], start: Start, plan: TrainingPlan) -> tuple[HalfTraining, int]:
    """Make the training of a half set of other images from what was learned before, and say how many poses keep their refinement.

    A pose that is the same in both STAR files keeps its refinement; another one is taken from the new file as it is.

    Parameters
    ----------
    training
        Freshly seeded on the new images.
    state
        `HalfTraining.state` of the earlier one.
    start, plan
        Of this training.
    """
    assert start.checkpoint is not None
    assert start.earlier_rows is not None
    rows_before = state["rows"].numpy()
    places = torch.from_numpy(np.searchsorted(rows_before, start.earlier_rows[training.observations.rows]))
    device = training.observations.device
    of_images = ("poses.corrections", "noise_power", "field.mask", "quality.")
    seeded = {name: value.cpu() for name, value in training.model.state_dict().items() if name.startswith(of_images)}
    seeded["parts.presence"] = state["model"]["parts.presence"][places]  # of the particles, whatever their images are
    model = build_model(state["model"] | seeded, start.checkpoint["settings"]).to(device)
    same = _same_poses(training, state, places)
    model.poses.corrections[same.to(device)] = state["model"]["poses.corrections"][places[same]].to(device)
    fit_scale(model, training.observations, training.projector, training.training)
    now = _with_model(training, model)
    now.latent_mean.copy_(state["latent_mean"][places])
    now.latent_log_variance.copy_(state["latent_log_variance"][places])
    now.motion_power.copy_(state["motion_power"])
    now.restore_findings(state)
    now.epochs_done = max(0, state["epochs_done"] - now.pace.carried_over(state["pace"], SHARE_DONE_AGAIN))
    return now, int(same.sum())


def gone_on(training: HalfTraining, state: dict[str, Any], settings: dict[str, Any]) -> HalfTraining:
    """Take a half set up exactly where it was left."""
    # it has the sizes that it was seeded with, on other images or on a computer that rounds otherwise
    training = _with_model(training, build_model(state["model"], settings).to(training.observations.device))
    training.restore(state)
    return training


def _with_model(training: HalfTraining, model: HalfModel) -> HalfTraining:
    """The same particles, to be trained from their beginning with another model."""
    return HalfTraining(
        model,
        training.observations,
        training.projector,
        training=training.training,
        held_out=training.held_out,
        settings=training.settings,
        generator=training.generator,
    )


def _same_poses(training: HalfTraining, state: dict[str, Any], places: torch.Tensor) -> torch.Tensor:
    """(n_h,) whether the input pose is that of the earlier file."""
    turned = (training.observations.matrices - state["input_matrices"][places]).abs().amax((1, 2))
    moved = (training.observations.shifts - state["input_shifts"][places]).abs().amax(1)
    same: torch.Tensor = (turned < LARGEST_ROUNDING_RADIANS) & (moved < LARGEST_ROUNDING_ANGSTROMS)
    return same


def set_earlier_aside(job_directory: Path) -> Path:
    """Move the results of the earlier training out of the way, but not the scratch files of this one."""
    return set_results_aside(job_directory, keep=set(job_directory.glob(layout.SPECTRA_PATTERN)))
