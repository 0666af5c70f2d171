"""How stiff the molecule is: held-out particles say whether the strain weighs too much or too little.

With too little weight the fields follow the noise of the images that train them; with too much they hold motions back. Which of
the two it is shows in particles that train nothing. Once motions are found, at the end of an epoch the fields are moved a little
down the slope of the strain, as the optimiser would move them, and as far up. Where held-out particles are explained better by
the fields that strain the molecule less, the strain is given more weight, else less, and the more so the surer they are. So it
weighs more while the learning rate is high and fields tremble, and less when they come to rest.

Source: the slope of a held-out error by a hyper-parameter (Larsen et al. 1996; Bengio 2000), of which the sign counts and how
sure it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jobtypes.common.devices import copied_to
from jobtypes.common.durations import two_figures
from jobtypes.dynamight.forward_deformations.evidence import Evidence
from jobtypes.dynamight.forward_deformations.losses import strain
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.model.half_model import Posterior

if TYPE_CHECKING:
    from jobtypes.dynamight.forward_deformations.training import HalfTraining

# Training particles whose deformations tell the slope of the strain, and how many of them at once.
SAMPLE, TOGETHER = 128, 16
# Fewer held-out images do not tell how sure they are.
FEWEST_IMAGES = 10
# Of the strain, to first order: what a trial takes away or adds.
TRIAL_SHARE = 0.1
# Standard errors of the difference between the trials that change the weight by all that one epoch may, and that change, of the
# logarithm.
SURE_ERRORS, LONGEST_STEP = 2.0, 0.5


def learn_stiffness(training: HalfTraining, plan: EpochPlan) -> None:
    """Change the weight of the strain as held-out particles, whose posteriors are those of the present model, ask for.

    To be called by all processes of the half set. A handful of held-out images changes nothing.
    """
    if not _can_say(training):
        return
    image = training.observations.image_of[training.held_out]
    trunk = list(training.model.field.trunk.parameters())
    stretched, slope = _strain_and_slope(training, trunk)
    way = _as_optimiser(training, trunk, slope)
    steepness = float(sum((one * other).sum() for one, other in zip(slope, way, strict=True)))
    if not steepness > 0:  # nothing is strained
        return
    length = TRIAL_SHARE * stretched / steepness
    noise = _noise(training, len(training.held_out))  # the same for both trials
    misfits = []
    for signed_length in (-length, length):
        with _moved(trunk, way, signed_length):
            misfits.append(_held_out_misfits(training, plan, noise))
    less_strained, more_strained = misfits
    gain = Evidence.of(more_strained - less_strained, image)
    if gain.error > 0:
        sureness = max(-1.0, min(1.0, gain.mean / (SURE_ERRORS * gain.error)))
        training.learned_stiffness *= math.exp(LONGEST_STEP * sureness)


def sentence(training: HalfTraining) -> str:
    """What the strain weighs in the end, in words."""
    if not training.settings.learns_stiffness:
        return "The strain weighs what reg_factor says."
    if training.learned_stiffness == 1 and not _can_say(training):
        return (
            f"The strain weighs what is usual: fewer than {FEWEST_IMAGES} images are held out, too few to ask for another weight."
        )
    return f"The strain weighs {two_figures(training.learned_stiffness)} times what is usual, as held-out particles ask for."


def _can_say(training: HalfTraining) -> bool:
    """Whether there are enough held-out images."""
    return len(training.observations.image_of[training.held_out].unique()) >= FEWEST_IMAGES


def _strain_and_slope(training: HalfTraining, trunk: Sequence[Tensor]) -> tuple[float, list[Tensor]]:
    """Mean strain of training particles, A^2, and its slope by the values of the control points."""
    model, sample = training.model, training.good_sample(SAMPLE)
    stretched, slope = torch.zeros((), device=trunk[0].device), [torch.zeros_like(values) for values in trunk]
    for index in sample.split(TOGETHER):
        points = model.deformed(_drawn(training.kept(index), _noise(training, len(index))))
        of_some = strain(points, training.graph.drawn(training.generator), training.projector.backend)
        mean = of_some.sum() / len(sample)
        stretched += mean.detach()
        for total, part in zip(slope, torch.autograd.grad(mean, trunk), strict=True):
            total += part
    return float(stretched), slope


def _noise(training: HalfTraining, count: int) -> Tensor:
    return torch.randn(count, training.latent_mean.shape[1], generator=training.generator)


def _drawn(posterior: Posterior, noise: Tensor) -> Tensor:
    return posterior.sample(copied_to(noise, posterior.mean.device))


def _as_optimiser(training: HalfTraining, trunk: Sequence[Tensor], slope: Sequence[Tensor]) -> list[Tensor]:
    """A slope, each number over the size that slopes of the objective have there (Kingma and Ba 2015)."""
    states = [training.networks.state[values] for values in trunk]
    return [part / (state["exp_avg_sq"].sqrt() + 1e-8) for part, state in zip(slope, states, strict=True)]


@contextmanager
def _moved(trunk: Sequence[Tensor], way: Sequence[Tensor], length: float) -> Iterator[None]:
    """Control points with other values, which they lose again."""
    before = [values.detach().clone() for values in trunk]
    with torch.no_grad():
        for values, part in zip(trunk, way, strict=True):
            values.add_(part, alpha=length)
    try:
        yield
    finally:
        with torch.no_grad():
            for values, kept in zip(trunk, before, strict=True):
                values.copy_(kept)


@torch.no_grad()
def _held_out_misfits(training: HalfTraining, plan: EpochPlan, noise: Tensor) -> Tensor:
    """(m,) minus the log likelihood of held-out particles, each by its quality, at draws from their posteriors; on the CPU."""
    model, n_terms = training.model, training.observations.band.n_terms(plan.resolution_angstroms)
    basis, share = model.field.basis_at_gaussians(model.gaussians.positions), training.share
    size, misfits = training.settings.batch_size, []
    own_noise = noise[share.places(training.held_out)].split(size)
    for index, of_index in zip(share.batches(training.held_out, size), own_noise, strict=False):  # without own ones, none
        points = model.deformed(_drawn(training.kept(index), of_index), basis)
        misfits.append(training.weighted_misfit(points, training.observations.batch(index, n_terms), n_terms))
    return share.gathered(training.held_out, misfits)
