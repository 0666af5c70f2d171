"""How far both halves' models disagree about particles that neither has seen: the error estimate of their displacements.

A held-out particle trained nothing in its own half, and the other half has never had it. What is compared are the displacements
that both models give to it at the same points, the Gaussians of its own half, each about its mean over the held-out particles:
which conformation a half calls its consensus is its own choice. Nothing is learned from the comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.result import ForwardResult

FEWEST_HELD_OUT = 2  # particles of a half: one is its own mean


@dataclass(frozen=True)
class Disagreement:
    """Of both models on the held-out particles of one half.

    Attributes
    ----------
    particle_error, particle_motion : (P,)
        Rms over the Gaussians of the difference and of the mean of both models' displacements, A.
    gaussian_error, gaussian_motion : (n,)
        The same over the particles, A.
    """

    particle_error: Tensor
    particle_motion: Tensor
    gaussian_error: Tensor
    gaussian_motion: Tensor

    @property
    def rms_error_angstroms(self) -> float:
        """Rms of the disagreement over everything, A."""
        return float(self.particle_error.square().mean().sqrt())

    @property
    def rms_motion_angstroms(self) -> float:
        """Rms of the motion over everything, A."""
        return float(self.particle_motion.square().mean().sqrt())

    @property
    def correlation(self) -> float:
        """Of the two models' displacements: with a the sum and b the difference, (|a|^2 - |b|^2) / (|a|^2 + |b|^2)."""
        total, difference = 4 * self.rms_motion_angstroms**2, self.rms_error_angstroms**2
        return (total - difference) / (total + difference) if total + difference > 0 else 0.0


@dataclass(frozen=True)
class TwoMotions:
    """Displacements that two models give to the same particles at the same points, each about its mean over the particles.

    Attributes
    ----------
    coefficients, other_coefficients : (P, K), (P, L)
        Of the two models' fields, their means over the particles taken off.
    basis, other_basis : (K, n, 3), (L, n, 3) A
        The fields at the points.
    """

    coefficients: Tensor
    basis: Tensor
    other_coefficients: Tensor
    other_basis: Tensor

    def disagreement(self) -> Disagreement:
        """Difference and mean of the two, without ever making (P, n, 3) displacements."""
        basis = torch.cat((self.basis, self.other_basis)).double()
        difference = torch.cat((self.coefficients, -self.other_coefficients), dim=1).double()
        mean = 0.5 * torch.cat((self.coefficients, self.other_coefficients), dim=1).double()
        gram = torch.einsum("knc,lnc->kl", basis, basis) / basis.shape[1]

        def of_particles(coefficients: Tensor) -> Tensor:
            return ((coefficients @ gram) * coefficients).sum(1).clamp(min=0).sqrt()

        def of_gaussians(coefficients: Tensor) -> Tensor:
            covariance = coefficients.T @ coefficients / len(coefficients)
            return torch.einsum("kl,knc,lnc->n", covariance, basis, basis).clamp(min=0).sqrt()

        return Disagreement(of_particles(difference), of_particles(mean), of_gaussians(difference), of_gaussians(mean))

    def difference(self, particle: int) -> Tensor:
        """(n, 3) A between the displacements that the two give to one particle."""
        own = torch.einsum("k,knc->nc", self.coefficients[particle], self.basis)
        return own - torch.einsum("k,knc->nc", self.other_coefficients[particle], self.other_basis)


@torch.no_grad()
def held_out_motions(forward: ForwardResult, half: int) -> TwoMotions:
    """Both models' motions of the particles held out of a half, at its Gaussians in its consensus, on the CPU.

    Parameters
    ----------
    forward
        A training that has ended: `HalfResult.latent_by_other` is there.
    half
        1 or 2.
    """
    part, other = forward.halves[half], forward.halves[3 - half].model
    assert part.latent_by_other is not None
    points = part.model.gaussians.positions

    def centred(model: HalfModel, latents: Tensor) -> Tensor:
        coefficients = model.field.coefficients(latents.to(points)).cpu()
        return coefficients - coefficients.mean(0)

    return TwoMotions(
        centred(part.model, part.latent_mean[torch.from_numpy(part.held_out).to(part.latent_mean.device)]),
        part.model.field.basis_at_gaussians(points).cpu(),
        centred(other, part.latent_by_other),
        other.field.basis(points).cpu(),
    )


def held_out_errors(forward: ForwardResult, half: int) -> NDArray[np.float64]:
    """Disagreement in A about each particle (n_h,) of a half, rms over the Gaussians.

    It is nan for those that trained, and for all where the training has not ended or the half has but one held-out particle.
    """
    part = forward.halves[half]
    errors = np.full(len(part.rows), np.nan)
    if part.latent_by_other is not None and int(part.held_out.sum()) >= FEWEST_HELD_OUT:
        errors[part.held_out] = held_out_motions(forward, half).disagreement().particle_error.numpy()
    return errors
