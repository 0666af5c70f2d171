"""The posterior of a latent given its image and a trained decoder: what the encoder guesses, worked out.

The encoder learns its answers on the training particles, so it is less sure-footed on others, and where the signal is low the
posterior has several maxima: an arm that swings by more than a wavelength fits at several places. So a few Gauss-Newton steps on
the log posterior bring each particle from the guess to a maximum (`ascent`), whose curvature gives a width and a weight
(Laplace's approximation). Of the states that stand for all particles (`representatives`) those are tried that are in doubt:
neither so near that they belong to the maximum, nor so far that their like weighed nothing where all were tried. Where one is
more probable than the guess, steps begin there as well; where they lead higher, the guess was wrong, and all states are tried.
The posterior mean counts what is around the maximum, which a few points tell, and the states away from it by their weights. A
latent that images tell nothing of stays as the prior has it, for its derivatives are dear, and no particle is looked for where
the decoder has learned nothing: see `told`.

Source: MacKay 2003, Information Theory, Inference, and Learning Algorithms, chapters 27 and 28, for Laplace's approximation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from jobtypes.dynamight.model.ascent import Maximum, highest_maximum
from jobtypes.dynamight.model.half_model import HalfModel, Posterior
from jobtypes.dynamight.model.likelihood import Likelihood
from jobtypes.dynamight.model.observations import ObservedBatch
from jobtypes.dynamight.model.projection import Projector
from jobtypes.dynamight.model.representatives import Representatives

# States within so many standard deviations of a maximum belong to it.
_REACH = 3.0
_TOGETHER = 256  # pairs of a particle and a state
# Where at most so many latents are told of, the posterior around a maximum is worked out at so many points, this much wider than
# Laplace's approximation.
MOST_LATENTS_BY_POINTS, POINTS, _WIDER = 2, 8, 1.2


@torch.no_grad()
def refine_posterior(
    target: Likelihood, start: Posterior, *, prior_weight: float, others: Representatives | None = None
) -> tuple[Posterior, Tensor]:
    """Work out the posterior of the latent and the most probable pose of each particle of a batch, the model fixed.

    Parameters
    ----------
    target
        Of b particles.
    start
        The encoder's posterior.
    prior_weight
        Weight of the prior of the latents, as in the training's objective.
    others
        States to try beside the start, those in doubt; None: the maximum that the start leads to is the posterior.

    Returns
    -------
    tuple
        Posterior with mean and log variance (b, d); pose corrections (b, 5) at its highest maximum.
    """
    prior = target.prior_precision(prior_weight)
    top = highest_maximum(target, target.unknowns(start.mean), prior)
    if others is None:
        r = len(target.told)
        told, variance = top.unknown[:, :r], top.covariance(r).diagonal(dim1=1, dim2=2)
    else:
        states = others.by(target.told.places)
        log_weights = _weights_beside_better_ones(target, top, states, prior)
        told, variance = _mean_over_maxima(_around(target, top, prior), states, log_weights)
    mean = target.told.put_into(told, torch.zeros_like(start.mean))
    of_prior = torch.full_like(start.mean, -math.log(prior_weight))
    log_variance = target.told.put_into(variance.clamp(min=1e-12).log(), of_prior)
    return Posterior(mean, log_variance), target.split(top.unknown)[1]


@torch.no_grad()
def told_latents(target: Likelihood, start: Posterior, *, prior_weight: float) -> Tensor:
    """How much an image tells of each latent (b, d), in natural units: half the logarithm of prior over posterior variance.

    Takes what `refine_posterior` does; all latents are among the unknowns.
    """
    prior = target.prior_precision(prior_weight)
    top = highest_maximum(target, target.unknowns(start.mean), prior)
    information: Tensor = -0.5 * (prior_weight * top.covariance(start.mean.shape[1]).diagonal(dim1=1, dim2=2)).log()
    return information


@torch.no_grad()
def weights_of_states(
    target: Likelihood, start: Posterior, others: Representatives, *, prior_weight: float
) -> tuple[Tensor, Tensor]:
    """How far each state is from the maximum of each particle, and what it weighs: for `Representatives.tried_on`.

    Takes what `refine_posterior` does.

    Returns
    -------
    (b, k), (b, k)
        Squared distances, in variances of the posterior at the maximum that the start leads to; and weights beside that maximum.
    """
    prior = target.prior_precision(prior_weight)
    top, states = highest_maximum(target, target.unknowns(start.mean), prior), others.by(target.told.places)
    log_weights = _log_weights(target, top, states, math.inf)
    return top.squared_distances(states.latents), _with_top(_by_laplace(target, top, prior), log_weights)[:, 1:]


def _weights_beside_better_ones(target: Likelihood, top: Maximum, others: Representatives, prior: Tensor) -> Tensor:
    """`_log_weights` (b, k) of states beside a maximum; beside a higher one, put in its place, where a state leads to one."""
    r = others.latents.shape[1]
    log_weights = _log_weights(target, top, others, others.doubt)
    best, state = (log_weights - others.shares.log() - _penalty(others.latents, prior)).max(1)
    tried = torch.nonzero(-best < top.begun - _penalty(target.at(top.unknown[:, :r])[:, r:], prior[r:])).squeeze(1)
    if not len(tried):
        return log_weights
    some = target.of(tried)
    found = highest_maximum(some, some.at(others.latents[state[tried]]), prior)
    higher = torch.nonzero(found.objective < top.objective[tried]).squeeze(1)
    if len(higher):  # the guess was wrong
        top.put(tried[higher], found.of(higher))
        log_weights[tried[higher]] = _log_weights(some.of(higher), found.of(higher), others, math.inf)
    return log_weights


def _log_weights(target: Likelihood, top: Maximum, others: Representatives, doubt: float) -> Tensor:
    """Logarithms of the weights (b, k) of states; of none that belongs to a maximum, or is beyond doubt.

    All are worked out at the poses of before, which favour none.
    """
    squared_distances = top.squared_distances(others.latents)
    log_weights = torch.full_like(squared_distances, -torch.inf)
    particle, state = torch.nonzero((squared_distances >= _REACH**2) & (squared_distances <= doubt**2), as_tuple=True)
    log_weights[particle, state] = others.shares[state].log() - _misfits_of_pairs(target, particle, others.latents[state])
    return log_weights


def _penalty(unknown: Tensor, prior: Tensor) -> Tensor:
    """(b,) minus the logarithm of the prior of the first unknowns (b, d), up to a constant."""
    return 0.5 * (prior[: unknown.shape[1]] * unknown.square()).sum(1)


def _misfit_at(target: Likelihood, latents: Tensor) -> Tensor:
    """(b,) minus the log likelihood at latents that are unknown, (b, r), the poses as they were."""
    return target.misfit(target.predict(target.at(latents)))


def _misfits_of_pairs(target: Likelihood, particles: Tensor, latents: Tensor) -> Tensor:
    """`_misfit_at` of particles (p,) that may come more than once, at latents (p, r), a few at a time."""
    misfits = latents.new_empty(len(particles))
    for pairs in torch.arange(len(particles), device=particles.device).split(_TOGETHER):
        if len(pairs):
            misfits[pairs] = _misfit_at(target.of(particles[pairs]), latents[pairs])
    return misfits


@dataclass(frozen=True)
class _Surroundings:
    """The posterior around a maximum: logarithm of its weight (b,), its mean and its variance (b, r)."""

    log_weight: Tensor
    mean: Tensor
    variance: Tensor


def _around(target: Likelihood, top: Maximum, prior: Tensor) -> _Surroundings:
    """The posterior around a maximum: by points, or Laplace's where there are more latents than so few can stand for."""
    return (_by_laplace if len(target.told) > MOST_LATENTS_BY_POINTS else _by_points)(target, top, prior)


def _by_laplace(target: Likelihood, top: Maximum, prior: Tensor) -> _Surroundings:
    """A Gaussian of the maximum's curvature."""
    r = len(target.told)
    latent, covariance = top.unknown[:, :r], top.covariance(r)
    volume = 0.5 * torch.logdet(prior[:r, None] * covariance)  # how much of the prior of the latents it takes
    log_weight = volume - _penalty(latent, prior) - _misfit_at(target, latent)
    return _Surroundings(log_weight, latent, covariance.diagonal(dim1=1, dim2=2))


def _by_points(target: Likelihood, top: Maximum, prior: Tensor) -> _Surroundings:
    """What is no Gaussian, by points that are spread a little wider than Laplace's, each by its weight."""
    r = len(target.told)
    variances, axes = torch.linalg.eigh(top.covariance(r))
    widths = _WIDER * variances.clamp(min=1e-12).sqrt()  # (b, r)
    deviates = _spread_evenly(r).to(widths)  # (p, r)
    away = torch.einsum("pr,br,bcr->bpc", deviates, widths, axes)
    points = target.told.within(top.unknown[:, None, :r] + away)  # (b, p, r)
    particles = torch.arange(len(points), device=points.device).repeat_interleave(len(deviates))
    misfit = _misfits_of_pairs(target, particles, points.flatten(0, 1)).view(len(points), -1)
    log_density = 0.5 * prior[:r].log().sum() - 0.5 * (prior[:r] * points.square()).sum(2) - misfit
    log_spread = -0.5 * deviates.square().sum(1) - widths.log().sum(1, keepdim=True)
    log_weights = log_density - log_spread
    weights = log_weights.softmax(1)
    mean = torch.einsum("bp,bpr->br", weights, points)
    variance = torch.einsum("bp,bpr->br", weights, (points - mean[:, None]).square())
    return _Surroundings(log_weights.logsumexp(1) - math.log(len(deviates)), mean, variance)


@cache
def _spread_evenly(r: int) -> Tensor:
    """(p, r) points that are spread as a normal distribution in one or two dimensions is, of mean zero and variance one.

    Source: Vogel 1979, A better way to construct the sunflower head, for the angles.
    """
    number = np.arange(POINTS)
    share = (number + 0.5) / POINTS
    if r == 1:
        points = ndtri(share)[:, None]
    else:
        angle = number * math.pi * (3 - math.sqrt(5))
        points = np.sqrt(-2 * np.log(1 - share))[:, None] * np.stack((np.cos(angle), np.sin(angle)), axis=1)
    points -= points.mean(0)
    root = np.linalg.cholesky(points.T @ points / POINTS)
    return torch.from_numpy(np.linalg.solve(root, points.T).T)


def _with_top(top: _Surroundings, log_weights: Tensor) -> Tensor:
    """Weights (b, 1 + k) of what is around a maximum and of states, from the logarithms (b, k) of the states'."""
    return torch.cat((top.log_weight[:, None], log_weights), dim=1).softmax(1)


def _mean_over_maxima(top: _Surroundings, others: Representatives, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (b, r) of a mixture of what is around a maximum and states, of weights (b, k)."""
    weights = _with_top(top, log_weights)
    away = others.latents - top.mean[:, None]  # (b, k, r)
    shift = torch.einsum("bk,bkr->br", weights[:, 1:], away)
    spread = torch.einsum("bk,bkr->br", weights[:, 1:], away.square()) - shift.square()
    return top.mean + shift, weights[:, :1] * top.variance + spread


@torch.no_grad()
def evidence_of_motion(target: Likelihood, posterior: Posterior, *, prior_weight: float) -> Tensor:
    """Log evidence of each particle for a state of its own against that of latent zero (b,), by Laplace's approximation.

    What a latent gains by fitting the noise is paid for by the width of its posterior (MacKay 2003, chapter 28): without motion
    the mean over particles that trained nothing is zero or less. Poses stay as they are.
    """
    told = posterior.mean[:, target.told.places]
    at_mean = _misfit_at(target, told) + 0.5 * prior_weight * told.square().sum(1)
    at_zero = _misfit_at(target, torch.zeros_like(told))
    occam = 0.5 * (posterior.log_variance + math.log(prior_weight)).sum(1)
    return at_zero - at_mean + occam


@torch.no_grad()
def estimate_poses(
    model: HalfModel,
    batch: ObservedBatch,
    latent: Tensor,
    projector: Projector,
    *,
    n_terms: int,
    independent_fraction: float,
    prior_weight: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Poses by likelihood alone, one Gauss-Newton step from the present ones; what the latents leave open is uncertain too.

    Returns
    -------
    tuple
        Corrections (b, 5), their variances (b, 5), and the curvature (b, 5, 5) of minus the log likelihood at fixed latents;
        all in units of the poses' scale.
    """
    target = Likelihood(model, batch, projector, n_terms=n_terms, independent_fraction=independent_fraction, move_poses=True)
    unknown = target.unknowns(latent)
    gradient, curvature = target.derivatives(unknown, target.predict(unknown))
    d = latent.shape[1]
    prior = target.prior_precision(prior_weight)
    prior[d:] = 1e-3  # what an image says nothing about stays finite
    covariance = torch.linalg.inv(curvature + torch.diag(prior))
    gradient = gradient - torch.cat((prior[:d] * latent, torch.zeros_like(gradient[:, d:])), dim=1)
    estimate = unknown[:, d:] + (covariance @ gradient[..., None])[:, d:, 0].clamp(-3, 3)
    return estimate, covariance.diagonal(dim1=1, dim2=2)[:, d:], curvature[:, d:, d:]


@torch.no_grad()
def responses_of_amplitudes(
    model: HalfModel,
    batch: ObservedBatch,
    latent: Tensor,
    projector: Projector,
    members: Tensor,
    *,
    n_terms: int,
    independent_fraction: float,
    prior_weight: float,
) -> tuple[Tensor, Tensor]:
    """How the log likelihood of each particle depends, to second order, on amplitudes of groups of Gaussians.

    Latents (b, d), poses and scales make the best of each change, as far as their priors let them.

    Parameters
    ----------
    members : (C, n)
        Share of each Gaussian in each group.

    Returns
    -------
    (b, C), (b, C, C)
        Gradient and curvature by a relative change of the groups' amplitudes.
    """
    target = Likelihood(model, batch, projector, n_terms=n_terms, independent_fraction=independent_fraction, move_poses=True)
    unknown = target.unknowns(latent)
    predicted = target.predict(unknown)
    amplitudes = model.gaussians.class_amplitudes() * members[:, None]
    groups = target.project(unknown, amplitudes)
    gradient, curvature = target.products(
        torch.cat((target.columns(unknown, predicted), predicted[:, None], groups), dim=1), predicted
    )
    n = unknown.shape[1] + 1  # with the scale
    prior = torch.cat((target.prior_precision(prior_weight), model.quality.scale_spread[None] ** -2))
    at = torch.cat((unknown, torch.zeros_like(unknown[:, :1])), dim=1)
    settled = torch.linalg.solve(
        curvature[:, :n, :n] + torch.diag(prior),
        torch.cat((curvature[:, :n, n:], (gradient[:, :n] - prior * at)[..., None]), dim=2),
    )
    rest = torch.cat((curvature[:, n:, n:], gradient[:, n:, None]), dim=2) - curvature[:, n:, :n] @ settled
    return rest[:, :, -1], rest[:, :, :-1]
