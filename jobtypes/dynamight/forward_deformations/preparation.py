"""A half set made ready for training, and what a checkpoint must say for later tasks to rebuild its model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from jobtypes.common.share import Share
from jobtypes.common.team import ALONE, Crew
from jobtypes.dynamight.forward_deformations.dealing import dealt_share
from jobtypes.dynamight.forward_deformations.noise import image_power
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan
from jobtypes.dynamight.forward_deformations.seeding import generator_of_half, seed_model
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.model.observations import Observations
from jobtypes.dynamight.model.projection import Projector


def prepare_half(
    half: int,
    plan: TrainingPlan,
    *,
    device: torch.device,
    scratch: Path | None,
    after_batch: Callable[[int], None],
    crew: Crew = ALONE,
) -> HalfTraining:
    """Read one half's images and seed its model: from them and the low-passed map, nothing else.

    Parameters
    ----------
    half
        1 or 2.
    plan
        Of the training.
    device
        Where the model is and batches go.
    scratch
        File that holds the images' spectra; None: they stay in memory.
    after_batch
        Called with the number of images that have been read, as far as this process can tell.
    crew
        The processes that share the half set; each reads the images of its own particles.

    Raises
    ------
    UserError
        Images that cannot be read.
    """
    plan = replace(plan, band=plan.band.to(device))
    out = torch.from_numpy(plan.held_out[plan.rows(half)])
    in_training, held_out = torch.nonzero(~out).squeeze(1), torch.nonzero(out).squeeze(1)
    share = dealt_share(crew, plan.settings.batch_size, in_training, held_out)
    observations = _read_images(half, plan, device, scratch, after_batch, share)
    generator = generator_of_half(plan.random_seed, half)
    projector = Projector(plan.band)
    model = seed_model(
        plan.seed,
        observations,
        projector,
        training=in_training,
        size=plan.size,
        noise_power=image_power(observations, len(plan.table.optics.numbers), in_training),
        generator=generator,
    )
    return HalfTraining(
        model,
        observations,
        projector,
        training=in_training,
        held_out=held_out,
        settings=plan.settings,
        generator=generator,
    )


def _read_images(
    half: int, plan: TrainingPlan, device: torch.device, scratch: Path | None, after_batch: Callable[[int], None], share: Share
) -> Observations:
    if scratch is not None:
        scratch.parent.mkdir(parents=True, exist_ok=True)
    observations = Observations(plan.table, plan.rows(half), plan.band, plan.mask, device=device, scratch=scratch, share=share)
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        after_batch(share.of_all(done))

    observations.read(plan.images, add)
    return observations


def checkpoint_settings(plan: TrainingPlan) -> dict[str, Any]:
    """Plain values from which later tasks rebuild the models (see `model.result`), and digests of the input files."""
    pixel_size_angstroms = plan.table.pixel_size_angstroms
    return {
        "box": plan.table.box,
        "pixel_size_angstroms": pixel_size_angstroms,
        "star_file": plan.star_file,
        "path_prefix": plan.path_prefix,
        "inputs": plan.inputs,
        "seed": plan.random_seed,
        "particle_diameter_angstroms": plan.particle_diameter_angstroms,
        "soft_edge_angstroms": plan.soft_edge_angstroms,
        "n_latent": plan.size.n_latent,
        "n_fields": plan.size.n_fields,
        "phase_flipped": plan.table.optics.phase_flipped.tolist(),
        "input_warnings": list(plan.input_warnings),
    }
