"""A half set made ready for training, and what a checkpoint must say for later tasks to rebuild its model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from jobtypes.dynamight.forward_deformations.noise import image_power
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan
from jobtypes.dynamight.forward_deformations.seeding import generator_of_half, seed_model
from jobtypes.dynamight.forward_deformations.training import HalfTraining, TrainingSettings
from jobtypes.dynamight.model.observations import Observations
from jobtypes.dynamight.model.projection import Projector
from jobtypes.dynamight.options import ForwardOptions

STIFFNESS_PER_RESIDUE = 0.15  # log-likelihood units per A^2 of mean squared change of length, at a regularization factor of 1


def prepare_half(
    half: int,
    plan: TrainingPlan,
    options: ForwardOptions,
    *,
    device: torch.device,
    scratch: Path | None,
    after_batch: Callable[[int], None],
) -> HalfTraining:
    """Read one half's images and seed its model: from them and the low-passed map, nothing else.

    Parameters
    ----------
    half
        1 or 2.
    plan, options
        Of the training.
    device
        Where the model is and batches go.
    scratch
        File that holds the images' spectra; None: they stay in memory.
    after_batch
        Called with the number of images that have been read.

    Raises
    ------
    UserError
        Images that cannot be read.
    """
    plan = replace(plan, band=plan.band.to(device))
    observations = _read_images(half, plan, device, scratch, after_batch)
    generator = generator_of_half(options.seed, half)
    projector = Projector(plan.band)
    out = torch.from_numpy(plan.held_out[plan.rows(half)])
    in_training, held_out = torch.nonzero(~out).squeeze(1), torch.nonzero(out).squeeze(1)
    model = seed_model(
        plan.seed,
        observations,
        projector,
        training=in_training,
        n_gaussians=options.nr_gaussians,
        n_widths=options.n_gaussian_widths,
        n_latent=options.n_latent_dimensions,
        n_fields=options.n_basis_fields,
        noise_power=image_power(observations, len(plan.table.optics.numbers), in_training),
        generator=generator,
    )
    return HalfTraining(
        model,
        observations,
        projector,
        training=in_training,
        held_out=held_out,
        settings=TrainingSettings(
            batch_size=options.training_batch_size,
            stiffness=STIFFNESS_PER_RESIDUE * options.reg_factor * plan.seed.n_residues,
            independent_fraction=float(plan.mask.square().mean()),
            refine_poses=options.refine_poses,
            learning_rate=options.learning_rate,
        ),
        generator=generator,
    )


def _read_images(
    half: int, plan: TrainingPlan, device: torch.device, scratch: Path | None, after_batch: Callable[[int], None]
) -> Observations:
    if scratch is not None:
        scratch.parent.mkdir(parents=True, exist_ok=True)
    observations = Observations(plan.table, plan.rows(half), plan.band, plan.mask, device=device, scratch=scratch)
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        after_batch(done)

    observations.read(plan.images, add)
    return observations


def checkpoint_settings(plan: TrainingPlan, options: ForwardOptions) -> dict[str, Any]:
    """Plain values from which later tasks rebuild the models (see `model.result`), and digests of the input files."""
    pixel_size = plan.table.pixel_size_angstroms
    return {
        "box": plan.table.box,
        "pixel_size_angstroms": pixel_size,
        "star_file": options.fn_star,
        "inputs": plan.inputs,
        "seed": options.seed,
        "particle_diameter_angstroms": plan.particle_diameter_angstroms,
        "soft_edge_angstroms": options.soft_edge,
        "n_latent": options.n_latent_dimensions,
        "n_fields": options.n_basis_fields,
    }
