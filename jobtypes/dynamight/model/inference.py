"""The posterior of a latent given its image and a trained decoder: what the encoder guesses, worked out.

The encoder learns its answers on the training particles, so it is less sure-footed on others. A few Gauss-Newton steps on the
log posterior itself, the prior at its full weight, bring every particle, held-out or new, to its maximum; the curvature there
gives its variance (Laplace's approximation).

Source: Levenberg 1944 and Marquardt 1963 for the damping; MacKay 2003, Information Theory, Inference, and Learning Algorithms,
chapter 27, for Laplace's approximation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jobtypes.dynamight.model.half_model import HalfModel, Posterior, combine
from jobtypes.dynamight.model.observations import ObservedBatch
from jobtypes.dynamight.model.projection import Projector

STEPS = 4
_DIFFERENCE = 0.05  # of a latent, for derivatives: small against the prior's width of 1, large against rounding
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
) -> Posterior:
    """Maximise the posterior of each latent of a batch, the model and the poses fixed.

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

    Returns
    -------
    Posterior
        Mean (b, d), nowhere less probable than that of the start; log variance (b, d) from the Gauss-Newton curvature where the
        last step set out.
    """
    target = _Target(model, batch, projector, n_terms, independent_fraction)
    latent = start.mean
    predicted = target.predict(latent)
    best = target.objective(latent, predicted)
    damping = torch.zeros_like(best)
    for _ in range(STEPS):
        gradient, curvature = target.derivatives(latent, predicted)
        damped = curvature + torch.diag_embed(damping[:, None] * curvature.diagonal(dim1=1, dim2=2))
        step = torch.linalg.solve(damped, gradient[..., None])[..., 0]
        step = step * (_LONGEST_STEP / step.norm(dim=1).clamp(min=_LONGEST_STEP))[:, None]
        trial = target.predict(latent + step)
        objective = target.objective(latent + step, trial)
        better = objective < best
        latent = torch.where(better[:, None], latent + step, latent)
        predicted = torch.where(better[:, None], trial, predicted)
        best = torch.where(better, objective, best)
        damping = torch.where(better, damping / 4, damping * 4 + 1)  # Levenberg and Marquardt
    variance = torch.linalg.inv(curvature).diagonal(dim1=1, dim2=2)
    return Posterior(latent, variance.clamp(min=1e-12).log())


class _Target:
    """Minus the log posterior of the latents of one batch, and its derivatives by finite differences of the prediction."""

    def __init__(
        self, model: HalfModel, batch: ObservedBatch, projector: Projector, n_terms: int, independent_fraction: float
    ) -> None:
        self._model, self._projector, self._n_terms = model, projector, n_terms
        self._matrices, self._shifts, _ = model.poses(batch.index, batch.matrices, batch.shifts)
        self._ctf, self._observed = batch.ctf[:, :n_terms], batch.spectra[:, :n_terms]
        # of a residual r the log likelihood is - weight |r|^2
        weights = projector.band.weights[:n_terms]
        self._weight = independent_fraction * model.precision(batch, projector.band, n_terms) * weights
        self._basis = model.field.basis_at_gaussians(model.gaussians.positions)

    def predict(self, latent: Tensor) -> Tensor:
        """(b, q) complex prediction."""
        moved = combine(self._model.field.coefficients(latent), self._basis)
        positions = self._model.gaussians.positions + moved
        return self._ctf * self._model.project(positions, self._matrices, self._shifts, self._projector, self._n_terms)

    def objective(self, latent: Tensor, predicted: Tensor) -> Tensor:
        """(b,) minus the log posterior, up to a constant."""
        residual = self._observed - predicted
        power = residual.real.square() + residual.imag.square()
        return (self._weight * power).sum(1) + 0.5 * latent.square().sum(1)

    def derivatives(self, latent: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient (b, d) of the log posterior and its Gauss-Newton curvature (b, d, d)."""
        offsets = _DIFFERENCE * torch.eye(latent.shape[1], dtype=latent.dtype, device=latent.device)
        jacobian = torch.stack([(self.predict(latent + offset) - predicted) / _DIFFERENCE for offset in offsets], dim=1)
        weighted = 2 * self._weight[:, None] * jacobian  # (b, d, q)
        residual = self._observed - predicted
        gradient = torch.einsum("bdq,bq->bd", weighted.conj(), residual).real - latent
        curvature = torch.einsum("bdq,beq->bde", weighted.conj(), jacobian).real
        return gradient, curvature + torch.eye(latent.shape[1], dtype=latent.dtype, device=latent.device)
