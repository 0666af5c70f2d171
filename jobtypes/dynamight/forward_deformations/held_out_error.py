"""How far both halves' models disagree about a particle that neither has seen: the error estimate of its displacements.

The particle's own half held it out of training, and the other half has never had it. Nothing is learned from the comparison.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.inference import refine_posterior
from jobtypes.dynamight.model.poses import RefinedPoses

NOT_HELD_OUT = -1.0


@torch.no_grad()
def held_out_errors(training: HalfTraining, other: HalfModel, plan: EpochPlan, after_batch: Callable[[int], None]) -> Tensor:
    """Rms disagreement (n_h,) in A over the Gaussians of a half set, `NOT_HELD_OUT` for particles that trained.

    Compared are displacements at this half's Gaussians, each about its mean over the particles: which conformation a half calls
    its consensus is its own choice.

    Parameters
    ----------
    training
        The half set, its latents final (`HalfTraining.encode_all`).
    other
        The other half's model; its poses are replaced by the input poses of these particles.
    plan
        Of the last epoch.
    after_batch
        Hears how many particles are done.
    """
    other.poses = _unrefined(other.poses, len(training.observations)).to(training.observations.device)
    theirs = _latents_under(other, training, plan, after_batch)
    own = training.latent_mean[training.held_out].to(theirs)
    points, field = training.model.gaussians.positions, training.model.field
    basis = torch.cat((field.basis_at_gaussians(points), other.field.basis(points))).flatten(1)  # (2 K, 3 n)
    coefficients = torch.cat((field.coefficients(own), -other.field.coefficients(theirs)), dim=1)  # (m, 2 K)
    away = (coefficients - coefficients.mean(0)).double()
    gram = (basis @ basis.T).double() / len(points)
    errors = torch.full((len(training.observations),), NOT_HELD_OUT)
    errors[training.held_out] = ((away @ gram) * away).sum(1).clamp(min=0).sqrt().float().cpu()
    return errors


def _latents_under(model: HalfModel, training: HalfTraining, plan: EpochPlan, after_batch: Callable[[int], None]) -> Tensor:
    """Posterior means (m, d) of the held-out particles under a model."""
    n_terms = training.observations.band.n_terms(plan.resolution_angstroms)
    means, done = [], 0
    for index in training.held_out.split(training.settings.batch_size):
        batch = training.observations.batch(index, n_terms)
        posterior, _ = refine_posterior(
            model,
            batch,
            model.encode(batch, training.projector, n_terms),
            training.projector,
            n_terms=n_terms,
            independent_fraction=training.settings.independent_fraction,
            prior_weight=plan.kl_weight,
            move_poses=training.settings.refine_poses,
        )
        means.append(posterior.mean)
        done += len(index)
        after_batch(done)
    return torch.cat(means)


def _unrefined(poses: RefinedPoses, n_particles: int) -> RefinedPoses:
    """Poses of other particles under the same prior."""
    fresh = RefinedPoses(n_particles)
    fresh.load_state_dict(poses.state_dict() | {"corrections": fresh.corrections})
    return fresh
