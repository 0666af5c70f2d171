"""Motions so large that hardly a particle is near the consensus: another consensus, and states found anew from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jobtypes.dynamight.forward_deformations.retracing import RESOLUTION_ANGSTROMS, SAMPLE, Retracing
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.model.inference import refine_posterior
from jobtypes.dynamight.model.likelihood import Likelihood
from jobtypes.dynamight.model.principal_motions import central, squared_lengths
from jobtypes.dynamight.model.representatives import representatives

if TYPE_CHECKING:
    from jobtypes.dynamight.forward_deformations.training import HalfTraining

# A consensus is no state of the molecule if less than this share of the particles are nearer to it, rms over the density, than
# neighbours are to each other.
FAR_ANGSTROMS, NEAR_SHARE = 3.0, 0.05
# Motions are large if this share of the Gaussians, the size of a small domain, move by more than the detail by which states are
# told apart: what is there in one state is then elsewhere in another, and something else in its place.
MOBILE_SHARE = 0.05


def follow_large_motions(training: HalfTraining, plan: EpochPlan) -> bool:
    """Where motions are large, find the states anew, and where no particle is near the consensus, make another one.

    States are found anew from a consensus that is one of them, in the first epoch that looks for parts in which that pays, see
    `retracing`; from then on that consensus stays, which the encoder has to learn to look from. Returns whether particles may be
    put into states far from their own.
    """
    if training.is_retraced:
        return True
    is_far, sample = _is_far(training), None
    if plan.looks_for_parts and (is_far or _is_large(training)):
        sample = training.good_sample(SAMPLE)
        _work_out_states(training, plan, sample)
    if is_far or sample is not None:
        _remake_consensus(training)
        training.begin_anew()
    if sample is not None and Retracing(training, sample, plan).run():
        training.is_retraced = True
        training.begin_anew()
    return is_far or training.is_retraced


@torch.no_grad()
def _is_far(training: HalfTraining) -> bool:
    """Whether hardly a training particle is near the consensus."""
    model = training.model
    latents = training.kept(model.quality.good(training.training)).mean
    squared = squared_lengths(model.field.coefficients(latents), model.metric())
    return float((squared < FAR_ANGSTROMS**2).double().mean()) < NEAR_SHARE


def _is_large(training: HalfTraining) -> bool:
    return float(training.motion_power.quantile(1 - MOBILE_SHARE)) > RESOLUTION_ANGSTROMS**2


@torch.no_grad()
def _work_out_states(training: HalfTraining, plan: EpochPlan, sample: Tensor) -> None:
    """Find the latents of a sample by all states that there are: the encoder, which has to guess, errs in large motions."""
    model, n_terms = training.model, training.observations.band.n_terms(plan.resolution_angstroms)
    states, basis = representatives(training.kept(sample).mean), model.field.basis_at_gaussians(model.gaussians.positions)
    for index in training.share.batches(sample, training.settings.batch_size):
        target = Likelihood(
            model,
            training.observations.batch(index, n_terms),
            training.projector,
            n_terms=n_terms,
            independent_fraction=training.settings.independent_fraction,
            move_poses=False,
            turn=False,
            basis=basis,
        )
        posterior, _ = refine_posterior(target, training.kept(index), prior_weight=plan.kl_weight, others=states)
        training.keep(index, posterior)
    training.exchange()


@torch.no_grad()
def _remake_consensus(training: HalfTraining) -> None:
    """Make the central state of the training particles the consensus."""
    model = training.model
    latents = training.kept(model.quality.good(training.training)).mean
    chosen = latents[central(model.field.coefficients(latents), model.metric())].clone()
    model.make_anew(chosen)
    training.latent_mean -= chosen
