"""The likelihood of the images of a batch as a function of latents and poses, the decoder fixed, and its derivatives."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.observations import ObservedBatch
from jobtypes.dynamight.model.parts import likelihood_derivatives
from jobtypes.dynamight.model.poses import N_TURNS, corrected
from jobtypes.dynamight.model.projection import Projector
from jobtypes.dynamight.model.told import ToldLatents

# In units of the scale of each unknown, for derivatives: small against 1, large against rounding.
_DIFFERENCE = 0.05


class Likelihood:
    """Likelihood of one batch.

    The unknowns of a particle are r of its latents, those that images tell of, and, where poses move, its pose corrections in
    units of their scale, or those of its shift alone. The other latents are zero, as the prior expects them.

    Parameters
    ----------
    model, batch, projector
        The decoder, b particles, and the renderer.
    n_terms
        Leading Fourier terms to use.
    independent_fraction
        Share of the terms that are independent (mean of the squared image mask).
    move_poses, turn
        Whether poses are among the unknowns, and whether their rotations are.
    basis : (K, n, 3)
        Fields at the Gaussians, where they are at hand.
    told
        The r latents that are unknown; None: all d.

    Attributes
    ----------
    told
        The same.
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
        turn: bool = True,
        basis: Tensor | None = None,
        told: ToldLatents | None = None,
    ) -> None:
        self._model, self._projector, self._n_terms = model, projector, n_terms
        self._index, self._matrices, self._shifts, self._views = batch.index, batch.matrices, batch.shifts, batch.views
        self._fixed = 0 if move_poses and turn else N_TURNS if move_poses else model.poses.n_components  # of a pose, the first
        self._d = model.encoder.mean.out_features
        self.told = ToldLatents.everything(self._d, model.poses.scale.device) if told is None else told
        self._transfer, self._observed = model.transfer(batch, n_terms), batch.spectra[:, :n_terms]
        # of a residual r the log likelihood is - weight |r|^2
        weights = projector.band.weights[:n_terms]
        self._weight = independent_fraction * model.precision(projector.band, n_terms)[batch.group] * weights
        self._basis = model.field.basis_at_gaussians(model.gaussians.positions) if basis is None else basis

    def of(self, particles: Tensor) -> Likelihood:
        """The same of some particles of the batch, (p,) places in it, which may come more than once."""
        some = copy.copy(self)
        for name in ("_transfer", "_observed", "_weight", "_index", "_matrices", "_shifts", "_views"):
            if getattr(self, name) is not None:
                setattr(some, name, getattr(self, name)[particles])
        return some

    def prior_precision(self, prior_weight: float) -> Tensor:
        """(m,) inverse variance of the prior of each unknown."""
        poses = self._model.poses
        latent = prior_weight * torch.ones_like(self._basis[0, 0, :1]).expand(len(self.told))
        return torch.cat((latent, (poses.scale / poses.sigmas).square()[self._fixed :]))

    def unknowns(self, latent: Tensor) -> Tensor:
        """(b, m) at latents (b, d) and the present poses."""
        return self.at(latent[:, self.told.places])

    def at(self, told: Tensor) -> Tensor:
        """(b, m) at latents that are unknown, (b, r), and the present poses."""
        poses = self._model.poses
        return torch.cat((told, (poses.corrections[self._index] / poses.scale)[:, self._fixed :]), dim=1)

    def split(self, unknown: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (b, d) and pose corrections."""
        return self._split(unknown, self._index)

    def _split(self, unknown: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        poses, r = self._model.poses, len(self.told)
        moved = unknown[:, r:] * poses.scale[self._fixed :]
        latent = self.told.put_into(unknown[:, :r], unknown.new_zeros(len(unknown), self._d))
        return latent, torch.cat((poses.corrections[index][:, : self._fixed], moved), dim=1)

    def predict(self, unknown: Tensor) -> Tensor:
        """(b, q) complex prediction."""
        return self._terms(unknown, slice(None)).mul_(self._transfer)

    def _terms(self, unknown: Tensor, particles: Tensor | slice) -> Tensor:
        """(p, q) the same without CTF, of p unknowns of particles that may come more than once."""
        index = self._index[particles]
        latent, corrections = self._split(unknown, index)
        views = None if self._views is None else self._views[particles]
        matrices, shifts = corrected(corrections, self._matrices[particles], self._shifts[particles], views)
        points = self._model.deformed(latent, self._basis)
        return self._model.project_present(points, matrices, shifts, self._projector, self._n_terms, index)

    def project(self, unknown: Tensor, amplitudes: Tensor) -> Tensor:
        """(b, r, q) complex prediction for each of r choices of amplitudes (r, c, n) of the Gaussians."""
        latent, corrections = self.split(unknown)
        matrices, shifts = corrected(corrections, self._matrices, self._shifts, self._views)
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
        if self._fixed == self._model.poses.n_components:
            return self._differences(unknown, predicted, len(self.told))
        of_shifts = torch.complex(-predicted.imag, predicted.real)[:, None] * self._phases_of_shifts()  # a shift turns phases
        return torch.cat((self._differences(unknown, predicted, unknown.shape[1] - of_shifts.shape[1]), of_shifts), dim=1)

    def _phases_of_shifts(self) -> Tensor:
        """(2, q), or (b, 3, q) where there are views: by how much each component of a shift turns the phase of each term."""
        scale = self._model.poses.scale[N_TURNS:]
        if self._views is None:
            return (-2 * math.pi * self._projector.band.frequencies[: self._n_terms] * scale).T
        frequencies = -2 * math.pi * self._projector.band.of_view.frequencies[: self._n_terms // self._projector.band.n_views]
        # (b, 3, q, F): the terms of all views follow each other at every frequency
        phases: Tensor = torch.einsum("qi,bfij->bjqf", frequencies, self._views[:, :, :2] * scale).flatten(2)
        return phases

    def renew_latents(self, columns: Tensor, unknown: Tensor, predicted: Tensor) -> None:
        """Take the derivatives by latents, among columns (b, m, q) of before, anew. Those by the pose hardly change."""
        r = len(self.told)
        columns[:, :r] = self._differences(unknown, predicted, r)

    def _differences(self, unknown: Tensor, predicted: Tensor, count: int) -> Tensor:
        """(b, count, q) derivatives by the first unknowns, with all predictions at once."""
        b, m = unknown.shape
        offsets = _DIFFERENCE * torch.eye(m, dtype=unknown.dtype, device=unknown.device)[:count]
        each = torch.arange(b, device=unknown.device).repeat_interleave(count)
        moved = self._terms((unknown[:, None] + offsets).flatten(0, 1), each).view(b, count, -1)
        return moved.mul_(self._transfer[:, None]).sub_(predicted[:, None]).div_(_DIFFERENCE)

    def products(self, columns: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient (b, m) and curvature (b, m, m) of the log likelihood of predictions that change by columns (b, m, q)."""
        return likelihood_derivatives(columns, self._observed - predicted, self._weight)

    def gradient(self, columns: Tensor, predicted: Tensor) -> Tensor:
        """The first of `products` alone, (b, m)."""
        residual = torch.view_as_real(2 * self._weight * (self._observed - predicted)).flatten(1)  # (b, 2 q)
        return (torch.view_as_real(columns).flatten(2) @ residual[:, :, None])[..., 0]
