"""The posterior of a latent given its image and a trained decoder: what the encoder guesses, worked out.

The encoder learns its answers on the training particles, so it is less sure-footed on others, and where the signal is low it
puts some particles at a wrong maximum of the posterior: an arm that swings by more than a wavelength fits at several places. So
each particle tries the states that stand for all of them, and a few Gauss-Newton steps on the log posterior itself bring it from
the best to the maximum; the curvature there gives its variance (Laplace's approximation).

Source: Levenberg 1944 and Marquardt 1963 for the damping; MacKay 2003, Information Theory, Inference, and Learning Algorithms,
chapter 27, for Laplace's approximation.
"""

from __future__ import annotations

import math

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from jobtypes.dynamight.model.half_model import HalfModel, Posterior, combine
from jobtypes.dynamight.model.observations import ObservedBatch
from jobtypes.dynamight.model.poses import corrected
from jobtypes.dynamight.model.projection import Projector

STEPS = 4
CANDIDATES = 32
_DIFFERENCE = 0.05  # of a latent, or of a rotation in units of its scale, for derivatives: small against 1, large against rounding
_LONGEST_STEP = 1.0


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
    candidates: Tensor | None = None,
) -> tuple[Posterior, Tensor]:
    """Maximise the posterior of the latent and the pose of each particle of a batch, the model fixed.

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
    candidates
        (k, d) latents to set out from instead, where one of them is more probable than the start at the present pose.

    Returns
    -------
    tuple
        Posterior with mean (b, d), nowhere less probable than that of the start, and log variance (b, d) from the Gauss-Newton
        curvature where the last step set out; pose corrections (b, 5).
    """
    target = _Target(model, batch, projector, n_terms=n_terms, independent_fraction=independent_fraction, move_poses=move_poses)
    prior = target.prior_precision(prior_weight)
    unknown = target.unknowns(start.mean)
    predicted = target.predict(unknown)
    best = target.misfit(predicted) + 0.5 * (prior * unknown.square()).sum(1)
    for candidate in () if candidates is None else candidates:
        other = target.unknowns(candidate.expand_as(start.mean))
        trial = target.predict(other)
        objective = target.misfit(trial) + 0.5 * (prior * other.square()).sum(1)
        better = objective < best
        unknown = torch.where(better[:, None], other, unknown)
        predicted = torch.where(better[:, None], trial, predicted)
        best = torch.where(better, objective, best)
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
    variance = torch.linalg.inv(curvature).diagonal(dim1=1, dim2=2)[:, : start.mean.shape[1]]
    latent, corrections = target.split(unknown)
    return Posterior(latent, variance.clamp(min=1e-12).log()), corrections


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


def representative_latents(latents: Tensor, count: int = CANDIDATES) -> Tensor:
    """At most `count` latents (k, d) that stand for all of many (p, d): the centres of their clusters (k-means)."""
    clusters = KMeans(min(count, len(latents)), n_init=1, random_state=0).fit(latents.cpu().double().numpy())
    return torch.from_numpy(clusters.cluster_centers_).to(latents)


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
        self._ctf, self._observed = batch.ctf[:, :n_terms], batch.spectra[:, :n_terms]
        # of a residual r the log likelihood is - weight |r|^2
        weights = projector.band.weights[:n_terms]
        self._weight = independent_fraction * model.precision(batch, projector.band, n_terms) * weights
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
        positions = self._model.gaussians.positions + combine(self._model.field.coefficients(latent), self._basis)
        return self._ctf * self._model.project(positions, matrices, shifts, self._projector, self._n_terms)

    def misfit(self, predicted: Tensor) -> Tensor:
        """(b,) minus the log likelihood, up to a constant."""
        residual = self._observed - predicted
        power = residual.real.square() + residual.imag.square()
        return (self._weight * power).sum(1)

    def derivatives(self, unknown: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient (b, m) of the log likelihood and its Gauss-Newton curvature (b, m, m), by differences but for the shifts."""
        differences = unknown.shape[1] - 2 * self._move_poses
        offsets = _DIFFERENCE * torch.eye(unknown.shape[1], dtype=unknown.dtype, device=unknown.device)[:differences]
        columns = [(self.predict(unknown + offset) - predicted) / _DIFFERENCE for offset in offsets]
        if self._move_poses:  # a shift turns phases
            turns = -2 * math.pi * self._projector.band.frequencies[: self._n_terms] * self._model.poses.scale[3:]  # (q, 2)
            columns += [torch.complex(-predicted.imag, predicted.real) * turn for turn in turns.T]
        jacobian = torch.stack(columns, dim=1)  # (b, m, q)
        weighted = (2 * self._weight[:, None] * jacobian).conj()
        gradient = torch.einsum("bmq,bq->bm", weighted, self._observed - predicted).real
        return gradient, torch.einsum("bmq,bnq->bmn", weighted, jacobian).real
