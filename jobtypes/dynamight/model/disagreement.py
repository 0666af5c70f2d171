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

from jobtypes.common.copies import share_of_image
from jobtypes.dynamight.model.displacement import before_displacement
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.principal_motions import squared_lengths
from jobtypes.dynamight.model.result import ForwardResult

FEWEST_HELD_OUT = 2  # particles of a half: one is its own mean
# What makes sure that models agree: a correlation of so many standard deviations by chance, and of so much in any case, since the
# noise of an image, which both models fit a little, makes a few hundredths.
SURE_DEVIATIONS, LEAST_CORRELATION = 3.0, 0.2


@dataclass(frozen=True)
class AgreementOfMotions:
    """How alike the displacements are that two models give to the same particles.

    Attributes
    ----------
    correlation
        Of the displacements, each about its mean over the particles.
    chance
        Standard deviation of what it is where the images of one model are exchanged at random; at most that, where images have
        copies.
    """

    correlation: float
    chance: float

    @property
    def is_sure(self) -> bool:
        """Whether the models agree by more than chance and the noise that they share."""
        return self.correlation >= max(LEAST_CORRELATION, SURE_DEVIATIONS * self.chance)

    def __str__(self) -> str:
        """The correlation and what chance makes of it."""
        return f"{self.correlation:.2f} (by chance ± {self.chance:.2f})"


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

    @classmethod
    @torch.no_grad()
    def of(cls, model: HalfModel, latents: Tensor, other: HalfModel, other_latents: Tensor) -> TwoMotions:
        """Of particles with latents (P, d) under a model, and others under another, at the first one's Gaussians; on the CPU."""
        points = model.gaussians.positions
        coefficients, basis = model.field.coefficients(latents.to(points)), model.field.basis_at_gaussians(points)
        other_coefficients = other.field.coefficients(other_latents.to(points))
        other_basis = other.field.basis(_in_other_consensus(points, coefficients, basis, other, other_coefficients))

        def centred(of_particles: Tensor) -> Tensor:
            return of_particles.cpu() - of_particles.cpu().mean(0)

        return cls(centred(coefficients), basis.cpu(), centred(other_coefficients), other_basis.cpu())

    def disagreement(self) -> Disagreement:
        """Difference and mean of the two, without ever making (P, n, 3) displacements."""
        basis = torch.cat((self.basis, self.other_basis)).double()
        difference = torch.cat((self.coefficients, -self.other_coefficients), dim=1).double()
        mean = 0.5 * torch.cat((self.coefficients, self.other_coefficients), dim=1).double()
        gram = torch.einsum("knc,lnc->kl", basis, basis) / basis.shape[1]

        def of_particles(coefficients: Tensor) -> Tensor:
            return squared_lengths(coefficients, gram).clamp(min=0).sqrt()

        def of_gaussians(coefficients: Tensor) -> Tensor:
            covariance = coefficients.T @ coefficients / len(coefficients)
            return torch.einsum("kl,knc,lnc->n", covariance, basis, basis).clamp(min=0).sqrt()

        return Disagreement(of_particles(difference), of_particles(mean), of_gaussians(difference), of_gaussians(mean))

    def agreement(self, image: Tensor) -> AgreementOfMotions:
        """Correlation of the two, and its standard deviation over all orders of the images, worked out, not drawn.

        Copies of an image, `image` (P,), count as one particle together, and are taken to say all the same: then the deviation is
        largest. Where they say different things it is smaller by up to the root of their number.

        Source: Hoeffding 1951, A combinatorial central limit theorem, for the variance of a sum over a random order.
        """
        images, points = len(image.unique()), self.basis.shape[1]
        if images < FEWEST_HELD_OUT:
            return AgreementOfMotions(0.0, 0.0)
        first, other = (_counted_once(part.double(), image) for part in (self.coefficients, self.other_coefficients))
        flat, other_flat = self.basis.double().flatten(1), self.other_basis.double().flatten(1)
        across = flat @ other_flat.T / points  # (K, L): of particles i and j the product is first_i @ across @ other_j, A^2
        powers = [
            float(squared_lengths(part, fields @ fields.T / points).sum())
            for part, fields in ((first, flat), (other, other_flat))
        ]
        scale = (powers[0] * powers[1]) ** 0.5
        if scale == 0:
            return AgreementOfMotions(0.0, 0.0)
        same = float(((first @ across) * other).sum())
        squares = float(((first.T @ first @ across) * (across @ (other.T @ other))).sum())  # over all pairs, without listing them
        return AgreementOfMotions(same / scale, max(0.0, squares / (images - 1)) ** 0.5 / scale)

    def difference(self, particle: int) -> Tensor:
        """(n, 3) A between the displacements that the two give to one particle."""
        own = torch.einsum("k,knc->nc", self.coefficients[particle], self.basis)
        return own - torch.einsum("k,knc->nc", self.other_coefficients[particle], self.other_basis)


def _counted_once(coefficients: Tensor, image: Tensor) -> Tensor:
    """Coefficients (P, K) about the mean over images, so weighted that the copies of an image weigh as much as one particle."""
    share = share_of_image(image)[:, None]
    return share.sqrt() * (coefficients - (share * coefficients).sum(0) / share.sum())


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
    own_latents = part.latent_mean[torch.from_numpy(part.held_out).to(part.latent_mean.device)]
    return TwoMotions.of(part.model, own_latents, other, part.latent_by_other)


def _in_other_consensus(
    points: Tensor, coefficients: Tensor, basis: Tensor, other: HalfModel, other_coefficients: Tensor
) -> Tensor:
    """Where points (n, 3) A of a model are in the consensus of another one, which may be another conformation.

    Both know the particle that lies nearest to the other consensus: the points are brought to its state, and from there back.
    """
    if not len(coefficients):
        return points
    nearest = int(squared_lengths(other_coefficients, other.metric()).argmin())
    there = points + torch.einsum("k,knc->nc", coefficients[nearest], basis)
    return before_displacement(there, other_coefficients[nearest], other.field.basis, other.gaussians.positions)


def held_out_errors(forward: ForwardResult, half: int) -> NDArray[np.float64]:
    """Disagreement in A about each particle (n_h,) of a half, rms over the Gaussians.

    It is nan for those that trained, and for all where the training has not ended or the half has but one held-out particle.
    """
    part = forward.halves[half]
    errors = np.full(len(part.rows), np.nan)
    if part.latent_by_other is not None and int(part.held_out.sum()) >= FEWEST_HELD_OUT:
        errors[part.held_out] = held_out_motions(forward, half).disagreement().particle_error.numpy()
    return errors
