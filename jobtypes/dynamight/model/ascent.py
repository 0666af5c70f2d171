"""From a guess to the nearest maximum of the posterior of latents and poses: damped Gauss-Newton steps.

Derivatives are what takes the time: a prediction for each unknown. Near a maximum they hardly change, so that a step, its check
and a last small step that needs none are taken with the same. What each check says of them is put right along the step, for
nothing, and only particles that have not arrived after `LIFETIME` steps get new ones.

Source: Levenberg 1944 and Marquardt 1963 for the damping; Broyden 1965 for derivatives that are put right by a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jobtypes.dynamight.model.likelihood import Likelihood

STEPS = 6
# Of derivatives, in steps.
LIFETIME = 3
# What shorter steps do to a prediction is lost in its rounding, and says little of the derivatives.
SHORTEST_STEP = 1e-3
# In log-likelihood units, that a step promises to gain: it is taken unchecked, and is the last. 0.045 of a standard deviation.
ENOUGH = 0.001
_LONGEST_STEP = 1.0


@dataclass(frozen=True)
class Maximum:
    """Where steps have led.

    Attributes
    ----------
    unknown : (b, m)
        See `Likelihood`.
    objective : (b,)
        Minus the log posterior, up to a constant.
    curvature : (b, m, m)
        Of the log posterior.
    begun : (b,)
        The objective where the steps began.
    """

    unknown: Tensor
    objective: Tensor
    curvature: Tensor
    begun: Tensor

    def covariance(self, n: int) -> Tensor:
        """(b, n, n) of the first n unknowns, by Laplace's approximation."""
        covariance: Tensor = torch.linalg.inv(self.curvature)[:, :n, :n]
        return covariance

    def squared_distances(self, latents: Tensor) -> Tensor:
        """(b, k) of states (k, r), by the latents that are unknown, from the maximum, in variances."""
        r = latents.shape[1]
        away = latents - self.unknown[:, None, :r]  # (b, k, r)
        squared: Tensor = (torch.linalg.solve(self.covariance(r), away.transpose(1, 2)).transpose(1, 2) * away).sum(2)
        return squared

    def of(self, particles: Tensor) -> Maximum:
        """Those of some particles (p,)."""
        of_all = (self.unknown, self.objective, self.curvature, self.begun)
        return Maximum(*(values[particles] for values in of_all))

    def put(self, particles: Tensor, other: Maximum) -> None:
        """Set those of some particles (p,)."""
        self.unknown[particles], self.objective[particles] = other.unknown, other.objective
        self.curvature[particles], self.begun[particles] = other.curvature, other.begun


def highest_maximum(target: Likelihood, start: Tensor, prior: Tensor) -> Maximum:
    """The maximum that steps lead to from a start (b, m), with a prior of precision (m,)."""
    climb = _Climb(target, start, prior)
    top = climb.step()
    left = torch.arange(len(start), device=start.device)
    for taken in range(1, STEPS):
        left = left[climb.leave_behind()]
        if not len(left):
            break
        if taken % LIFETIME == 0:
            climb.renew()
        top.put(left, climb.step())
    return top


class _Climb:
    """Particles on their way."""

    def __init__(self, target: Likelihood, start: Tensor, prior: Tensor) -> None:
        self._target, self._prior, self._unknown = target, prior, start
        self._predicted = target.predict(start)
        self._objective = self._minus_log_posterior(start, self._predicted)
        self._damping = torch.zeros_like(self._objective)
        self._columns = target.columns(start, self._predicted)
        self._begun = self._promised = self._objective

    def step(self) -> Maximum:
        """Take one step each, checked and damped, and one more where it is the last; `leave_behind` those."""
        gradient, curvature = self._target.products(self._columns, self._predicted)
        curvature = curvature + torch.diag(self._prior)
        self._checked_step(gradient - self._prior * self._unknown, curvature)
        gradient = self._target.gradient(self._columns, self._predicted) - self._prior * self._unknown
        last = torch.linalg.solve(curvature, gradient[..., None])[..., 0]
        self._promised = 0.5 * (last * gradient).sum(1)
        is_last = (self._promised <= ENOUGH)[:, None]
        reached = self._target.told.within(self._unknown + torch.where(is_last, last, 0.0))
        return Maximum(reached, self._objective, curvature, self._begun)

    def _checked_step(self, gradient: Tensor, curvature: Tensor) -> None:
        damped = curvature + torch.diag_embed(self._damping[:, None] * curvature.diagonal(dim1=1, dim2=2))
        step = torch.linalg.solve(damped, gradient[..., None])[..., 0]
        step = step * (_LONGEST_STEP / step.norm(dim=1).clamp(min=_LONGEST_STEP))[:, None]
        step = self._target.told.within(self._unknown + step) - self._unknown
        trial = self._target.predict(self._unknown + step)
        self._put_right(step, trial - self._predicted)
        objective = self._minus_log_posterior(self._unknown + step, trial)
        better = objective < self._objective
        self._unknown = torch.where(better[:, None], self._unknown + step, self._unknown)
        self._predicted = torch.where(better[:, None], trial, self._predicted)
        self._objective = torch.where(better, objective, self._objective)
        self._damping = torch.where(better, self._damping / 4, self._damping * 4 + 1)  # Levenberg and Marquardt

    def _put_right(self, step: Tensor, change: Tensor) -> None:
        """Let the derivatives say of a step (b, m) that it changes the predictions by as much as it does, (b, q)."""
        along = step / (step.square().sum(1, keepdim=True) + SHORTEST_STEP**2)
        missed = change - torch.einsum("bm,bmq->bq", step.to(change), self._columns)
        self._columns += along[:, :, None] * missed[:, None]

    def renew(self) -> None:
        """Take the derivatives by latents anew."""
        self._target.renew_latents(self._columns, self._unknown, self._predicted)

    def leave_behind(self) -> Tensor:
        """Leave behind who has arrived: the others' places among those of before, (p,)."""
        left = torch.nonzero(self._promised > ENOUGH).squeeze(1)
        for name in ("_unknown", "_predicted", "_objective", "_damping", "_columns", "_begun"):
            setattr(self, name, getattr(self, name)[left])
        if len(left):
            self._target = self._target.of(left)
        return left

    def _minus_log_posterior(self, unknown: Tensor, predicted: Tensor) -> Tensor:
        return self._target.misfit(predicted) + 0.5 * (self._prior * unknown.square()).sum(1)
