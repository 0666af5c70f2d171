"""The posterior of a latent given its image and a trained decoder: what the encoder guesses, worked out.

The encoder learns its answers on the training particles, so it is less sure-footed on others, and where the signal is low the
posterior has several maxima: an arm that swings by more than a wavelength fits at several places. So each particle tries the
states that stand for all of them, a few Gauss-Newton steps on the log posterior bring it from the best to the highest maximum,
whose curvature gives a width and a weight (Laplace's approximation), and the posterior mean counts that maximum and the states
away from it by their weights.

Source: Levenberg 1944 and Marquardt 1963 for the damping; MacKay 2003, Information Theory, Inference, and Learning Algorithms,
chapters 27 and 28, for Laplace's approximation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from jobtypes.dynamight.model.half_model import HalfModel, Posterior
from jobtypes.dynamight.model.observations import ObservedBatch
from jobtypes.dynamight.model.parts import likelihood_derivatives
from jobtypes.dynamight.model.poses import corrected
from jobtypes.dynamight.model.projection import Projector

STEPS = 5
REPRESENTATIVES = 32
# In units of the scale of each unknown, for derivatives: small against 1, large against rounding.
_DIFFERENCE = 0.05
_LONGEST_STEP = 1.0
# States within so many standard deviations of a maximum belong to it.
_REACH = 3.0


@dataclass(frozen=True)
class Representatives:
    """States that stand for those of many particles.

    Attributes
    ----------
    latents : (k, d)
        Of the states.
    shares : (k,)
        Share of the particles that each stands for.
    """

    latents: Tensor
    shares: Tensor


def representatives(latents: Tensor, count: int = REPRESENTATIVES) -> Representatives:
    """At most `count` states that stand for the latents (p, d) of many particles: the centres of their clusters (k-means)."""
    clusters = KMeans(min(count, len(latents)), n_init=1, random_state=0).fit(latents.cpu().double().numpy())
    centres = torch.from_numpy(clusters.cluster_centers_).to(latents)
    members = torch.bincount(torch.from_numpy(clusters.labels_).long(), minlength=len(centres)).to(latents)
    return Representatives(centres, members / len(latents))


@torch.no_grad()
def refine_posterior(
    model: HalfModel,
    batch: ObservedBatch,
    start: Posterior,
    projector: Projector,
    *,
    n_terms: int,
    independent_fraction: float,
    prior_weight: float,
    move_poses: bool,
    others: Representatives | None = None,
) -> tuple[Posterior, Tensor]:
    """Work out the posterior of the latent and the most probable pose of each particle of a batch, the model fixed.

    Parameters
    ----------
    model, batch, projector
        The decoder, b particles, and the renderer.
    start
        The encoder's posterior.
    n_terms
        Leading Fourier terms to use.
    independent_fraction
        Share of the terms that are independent (mean of the squared image mask).
    prior_weight
        Weight of the prior of the latents, as in the training's objective.
    move_poses
        False: poses stay as they are.
    others
        States to try beside the start; None: the maximum that the start leads to is the posterior.

    Returns
    -------
    tuple
        Posterior with mean and log variance (b, d); pose corrections (b, 5) at its highest maximum.
    """
    target = _Target(model, batch, projector, n_terms=n_terms, independent_fraction=independent_fraction, move_poses=move_poses)
    prior = target.prior_precision(prior_weight)
    begin = start.mean
    if others is not None:
        misfits = torch.stack([target.misfit(target.predict(target.unknowns(z.expand_as(begin)))) for z in others.latents], dim=1)
        lowest, best = (misfits + 0.5 * prior_weight * others.latents.square().sum(1)).min(dim=1)
        better = lowest < target.objective(target.unknowns(begin), prior)
        begin = torch.where(better[:, None], others.latents[best], begin)
    unknown, curvature = _highest_maximum(target, target.unknowns(begin), prior)
    latent, corrections = target.split(unknown)
    covariance = torch.linalg.inv(curvature)[:, : latent.shape[1], : latent.shape[1]]
    variance = covariance.diagonal(dim1=1, dim2=2)
    if others is not None:
        # all weights at the pose of the beginning, which favours none
        misfit = target.misfit(target.predict(target.unknowns(latent)))
        log_weight = -misfit - 0.5 * prior_weight * latent.square().sum(1) + 0.5 * torch.logdet(prior_weight * covariance)
        latent, variance = _mean_over_maxima(latent, covariance, log_weight, others, others.shares.log() - misfits)
    return Posterior(latent, variance.clamp(min=1e-12).log()), corrections


def _highest_maximum(target: _Target, unknown: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    """The maximum that damped Gauss-Newton steps lead to (b, m), nowhere less probable than their start, and its curvature."""
    predicted = target.predict(unknown)
    best = target.misfit(predicted) + 0.5 * (prior * unknown.square()).sum(1)
    damping = torch.zeros_like(best)
    for _ in range(STEPS):
        gradient, curvature = target.derivatives(unknown, predicted)
        gradient, curvature = gradient - prior * unknown, curvature + torch.diag(prior)
        damped = curvature + torch.diag_embed(damping[:, None] * curvature.diagonal(dim1=1, dim2=2))
        step = torch.linalg.solve(damped, gradient[..., None])[..., 0]
        step = step * (_LONGEST_STEP / step.norm(dim=1).clamp(min=_LONGEST_STEP))[:, None]
        trial = target.predict(unknown + step)
        objective = target.misfit(trial) + 0.5 * (prior * (unknown + step).square()).sum(1)
        better = objective < best
        unknown = torch.where(better[:, None], unknown + step, unknown)
        predicted = torch.where(better[:, None], trial, predicted)
        best = torch.where(better, objective, best)
        damping = torch.where(better, damping / 4, damping * 4 + 1)  # Levenberg and Marquardt
    _, curvature = target.derivatives(unknown, predicted)  # where the last step has led
    return unknown, curvature + torch.diag(prior)


def _mean_over_maxima(
    latent: Tensor, covariance: Tensor, log_weight: Tensor, others: Representatives, log_weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and variance (b, d) of a mixture of a maximum and the states away from it.

    Parameters
    ----------
    latent : (b, d); covariance : (b, d, d); log_weight : (b,)
        Of the maximum.
    others, log_weights : k states, (b, k)
        States, and the logarithms of their weights; those within reach of the maximum are part of it.
    """
    away = others.latents - latent[:, None]  # (b, k, d)
    squared_distance = (torch.linalg.solve(covariance, away.transpose(1, 2)).transpose(1, 2) * away).sum(2)
    log_weights = torch.where(squared_distance < _REACH**2, log_weights.new_tensor(-torch.inf), log_weights)
    weights = torch.cat((log_weight[:, None], log_weights), dim=1).softmax(dim=1)
    shift = torch.einsum("bk,bkd->bd", weights[:, 1:], away)
    spread = torch.einsum("bk,bkd->bd", weights[:, 1:], away.square()) - shift.square()
    return latent + shift, weights[:, :1] * covariance.diagonal(dim1=1, dim2=2) + spread


@torch.no_grad()
def evidence_of_motion(
    model: HalfModel,
    batch: ObservedBatch,
    posterior: Posterior,
    projector: Projector,
    *,
    n_terms: int,
    independent_fraction: float,
    prior_weight: float,
) -> Tensor:
    """Log evidence of each particle for a state of its own against that of latent zero (b,), by Laplace's approximation.

    What a latent gains by fitting the noise is paid for by the width of its posterior (MacKay 2003, chapter 28): without motion
    the mean over particles that trained nothing is zero or less.
    """
    target = _Target(model, batch, projector, n_terms=n_terms, independent_fraction=independent_fraction, move_poses=False)
    at_mean = target.misfit(target.predict(posterior.mean)) + 0.5 * prior_weight * posterior.mean.square().sum(1)
    at_zero = target.misfit(target.predict(torch.zeros_like(posterior.mean)))
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
    target = _Target(model, batch, projector, n_terms=n_terms, independent_fraction=independent_fraction, move_poses=True)
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
    target = _Target(model, batch, projector, n_terms=n_terms, independent_fraction=independent_fraction, move_poses=True)
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


class _Target:
    """Likelihood of one batch as a function of latents and poses, and its derivatives.

    The unknowns of a particle are its latent (d) and, where poses move, its five pose corrections in units of their scale.
    """

    def __init__(
        self,
        model: HalfModel,
        batch: ObservedBatch,
        projector: Projector,
        *,
        n_terms: int,
        independent_fraction: float,
        move_poses: bool,
    ) -> None:
        self._model, self._batch, self._projector, self._n_terms = model, batch, projector, n_terms
        self._move_poses = move_poses
        self._n_latent = model.encoder.mean.out_features
        self._transfer, self._observed = model.transfer(batch, n_terms), batch.spectra[:, :n_terms]
        # of a residual r the log likelihood is - weight |r|^2
        weights = projector.band.weights[:n_terms]
        self._weight = independent_fraction * model.precision(projector.band, n_terms)[batch.group] * weights
        self._basis = model.field.basis_at_gaussians(model.gaussians.positions)

    def prior_precision(self, prior_weight: float) -> Tensor:
        """(d or d + 5,) inverse variance of the prior of each unknown."""
        poses = self._model.poses
        latent = prior_weight * torch.ones_like(self._basis[0, 0, :1]).expand(self._n_latent)
        return torch.cat((latent, (poses.scale / poses.sigmas).square())) if self._move_poses else latent.clone()

    def unknowns(self, latent: Tensor) -> Tensor:
        """(b, d or d + 5) at latents (b, d) and the present poses."""
        poses = self._model.poses
        return torch.cat((latent, poses.corrections[self._batch.index] / poses.scale), dim=1) if self._move_poses else latent

    def split(self, unknown: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (b, d) and pose corrections (b, 5)."""
        poses = self._model.poses
        if not self._move_poses:
            return unknown, poses.corrections[self._batch.index]
        return unknown[:, : self._n_latent], unknown[:, self._n_latent :] * poses.scale

    def predict(self, unknown: Tensor) -> Tensor:
        """(b, q) complex prediction."""
        latent, corrections = self.split(unknown)
        matrices, shifts = corrected(corrections, self._batch.matrices, self._batch.shifts)
        points = self._model.deformed(latent, self._basis)
        terms = self._model.project_parts(points, matrices, shifts, self._projector, self._n_terms)
        return self._transfer * self._model.parts.assembled(terms, self._batch.index)

    def project(self, unknown: Tensor, amplitudes: Tensor) -> Tensor:
        """(b, r, q) complex prediction for each of r choices of amplitudes (r, c, n) of the Gaussians."""
        latent, corrections = self.split(unknown)
        matrices, shifts = corrected(corrections, self._batch.matrices, self._batch.shifts)
        points = self._model.deformed(latent, self._basis)
        terms = self._model.project_as(amplitudes, points, matrices, shifts, self._projector, self._n_terms)
        return self._transfer[:, None] * terms

    def misfit(self, predicted: Tensor) -> Tensor:
        """(b,) minus the log likelihood, up to a constant."""
        residual = self._observed - predicted
        power = residual.real.square() + residual.imag.square()
        return (self._weight * power).sum(1)

    def objective(self, unknown: Tensor, prior: Tensor) -> Tensor:
        """(b,) minus the log posterior with a prior of precision (m,), up to a constant."""
        return self.misfit(self.predict(unknown)) + 0.5 * (prior * unknown.square()).sum(1)

    def derivatives(self, unknown: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient (b, m) of the log likelihood and its Gauss-Newton curvature (b, m, m)."""
        return self.products(self.columns(unknown, predicted), predicted)

    def columns(self, unknown: Tensor, predicted: Tensor) -> Tensor:
        """Derivatives (b, m, q) of the prediction, by differences but for the shifts."""
        differences = unknown.shape[1] - 2 * self._move_poses
        offsets = _DIFFERENCE * torch.eye(unknown.shape[1], dtype=unknown.dtype, device=unknown.device)[:differences]
        columns = [(self.predict(unknown + offset) - predicted) / _DIFFERENCE for offset in offsets]
        if self._move_poses:  # a shift turns phases
            turns = -2 * math.pi * self._projector.band.frequencies[: self._n_terms] * self._model.poses.scale[3:]  # (q, 2)
            columns += [torch.complex(-predicted.imag, predicted.real) * turn for turn in turns.T]
        return torch.stack(columns, dim=1)

    def products(self, columns: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient (b, m) and curvature (b, m, m) of the log likelihood of predictions that change by columns (b, m, q)."""
        return likelihood_derivatives(columns, self._observed - predicted, self._weight)
