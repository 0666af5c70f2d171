"""What the other half's model makes of the held-out particles of a half set, once both models are final.

The particle's own half held it out of training, and the other half has never had it. Nothing is learned from the comparison, for
which see `model.disagreement`. A job that is stopped in it begins it again: the particles are a tenth of all, and each is worked
out from one start only, so that it takes a small part of the stage before, which is saved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jobtypes.dynamight.forward_deformations.evidence import Evidence
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.model.deformed import Deformed
from jobtypes.dynamight.model.disagreement import AgreementOfMotions, TwoMotions
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.inference import evidence_of_motion, refine_posterior
from jobtypes.dynamight.model.likelihood import Likelihood
from jobtypes.dynamight.model.observations import ObservedBatch
from jobtypes.dynamight.model.poses import N_TURNS, RefinedPoses


@dataclass(frozen=True)
class SeenByOther:
    """The held-out particles of a half set under the other half's model.

    Attributes
    ----------
    latents : (m, d)
        Posterior means, on the CPU.
    evidence
        What these particles say of that model's motion.
    agreement
        Of that model and of their own on their motions.
    """

    latents: Tensor
    evidence: Evidence
    agreement: AgreementOfMotions


@torch.no_grad()
def seen_by_other(training: HalfTraining, other: HalfModel, plan: EpochPlan, after_batch: Callable[[int], None]) -> SeenByOther:
    """What the other half's model makes of the held-out particles of a half set.

    Images of something else than the molecule have no say in evidence and agreement. Poses are worked out too, from the input
    poses and under the other half's prior.

    Parameters
    ----------
    training
        The half set.
    other
        The other half's model; its poses are replaced by the input poses of these particles, its qualities by theirs.
    plan
        Of the last epoch.
    after_batch
        Hears how many particles are done, as far as this process can tell.
    """
    other.poses = _unrefined(other.poses, len(training.observations)).to(training.observations.device)
    other.quality = training.model.quality  # of these particles
    other.parts = other.parts.of_others(len(training.observations))
    n_terms = training.observations.band.n_terms(plan.resolution_angstroms)
    share, held_out = training.share, training.held_out
    basis = other.field.basis_at_gaussians(other.gaussians.positions)
    means, evidence, done = [], [], 0
    for index in share.batches(held_out, training.settings.batch_size):
        batch = training.observations.batch(index, n_terms)
        _judge_parts(training, other, batch, other.at_rest(len(index)), n_terms)
        target = Likelihood(
            other,
            batch,
            training.projector,
            n_terms=n_terms,
            independent_fraction=training.settings.independent_fraction,
            move_poses=training.settings.refine_poses,
            basis=basis,
        )
        guess = other.encode(batch, training.projector, n_terms)
        posterior, corrections = refine_posterior(target, guess, prior_weight=plan.kl_weight)
        means.append(posterior.mean)
        other.poses.corrections[batch.index] = corrections
        _judge_parts(training, other, batch, other.deformed(posterior.mean, basis), n_terms)
        evidence.append(evidence_of_motion(target, posterior, prior_weight=plan.kl_weight))
        done += len(index)
        after_batch(done * len(held_out) // len(share.of(held_out)))
    latents = share.gathered(held_out, means)
    judges = training.model.quality.is_good.cpu()[held_out]
    image = training.observations.image_of[held_out[judges]]
    motions = TwoMotions.of(training.model, training.kept(held_out[judges]).mean, other, latents[judges])
    of_judges = share.gathered(held_out, evidence)[judges]
    return SeenByOther(latents, Evidence.of(of_judges, image), motions.agreement(image))


def _judge_parts(training: HalfTraining, other: HalfModel, batch: ObservedBatch, points: Deformed, n_terms: int) -> None:
    """Work out which of another model's parts a batch of a half set has."""
    parts = other.project_batch(points, batch, training.projector, n_terms)
    fraction = training.settings.independent_fraction
    other.judge_parts(batch, parts, training.observations.band, n_terms=n_terms, independent_fraction=fraction)


def _unrefined(poses: RefinedPoses, n_particles: int) -> RefinedPoses:
    """Poses of other particles under the same prior."""
    fresh = RefinedPoses(n_particles, n_shifts=poses.n_components - N_TURNS)
    fresh.load_state_dict(poses.state_dict() | {"corrections": fresh.corrections})
    return fresh
