"""Pairs of consensus and deformed positions, made from the forward field: no image is needed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.inverse_displacement import basis_gradients, pair_jacobians

# Shares of the pairs at Gaussians, near them and anywhere in the box, and how much a pair counts in the loss. Where solvent is
# folded over the molecule an inverse cannot serve both; the molecule wins.
_SHARE_GAUSSIANS, _SHARE_NEAR = 0.6, 0.25
_WEIGHT_GAUSSIAN, _WEIGHT_ELSEWHERE = 1.0, 0.2
_NEAR_ANGSTROMS = 8.0
_POOL = 2048  # points off the Gaussians per draw
_CHUNK = 65536  # pairs worked out at once
_FOLDED = 0.1  # a volume shrunk to less than this counts as folded in the training


@dataclass(frozen=True)
class Pairs:
    """Positions before and after the deformation.

    Attributes
    ----------
    consensus, deformed : (m, 3) A
    coefficients : (m, K)
        Of the state of each pair.
    weight : (m,)
        In the loss; 0 where the forward map folds.
    at_gaussian : (m,) bool
    determinant : (m,)
        Local change of volume; negative where the map folds.
    """

    consensus: Tensor
    deformed: Tensor
    coefficients: Tensor
    weight: Tensor
    at_gaussian: Tensor
    determinant: Tensor

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def bytes(self) -> int:
        """Memory that the pairs take."""
        return sum(t.numel() * t.element_size() for t in vars(self).values())


def pairs_per_draw(n_particles: int, wanted: int) -> int:
    """Pairs of a draw: as many as wanted, rounded up to a whole number for each particle."""
    return n_particles * -(-wanted // n_particles)


def bytes_of_pairs(count: int, n_fields: int) -> int:
    """`Pairs.bytes` of so many pairs."""
    return count * (4 * (3 + 3 + n_fields + 1 + 1) + 1)


class PairSource:
    """Draws pairs for one half set; the same key always gives the same pairs.

    Parameters
    ----------
    model
        The half's forward model.
    latent_mean, latent_log_variance : (P, d)
        Posterior of the half's training particles.
    box_length_angstroms
        Side of the cube that random points fill.
    n_pairs
        Pairs per draw, rounded up to a whole number per particle.
    seed
        Of all draws of this half.
    """

    def __init__(
        self,
        model: HalfModel,
        latent_mean: Tensor,
        latent_log_variance: Tensor,
        *,
        box_length_angstroms: float,
        n_pairs: int = 32768,
        seed: int = 1,
    ) -> None:
        self.field = model.field
        self.positions = model.gaussians.positions.detach()
        self.chance = model.gaussians.amplitudes.detach().cpu().double()
        self.latent_mean = latent_mean
        self.latent_deviation = (0.5 * latent_log_variance).exp()
        self.box_length_angstroms = box_length_angstroms
        self.per_particle = pairs_per_draw(len(latent_mean), n_pairs) // len(latent_mean)
        self.seed = seed
        self.basis_at_gaussians = self.field.basis(self.positions)  # (K, n, 3)
        self.gradients_at_gaussians = basis_gradients(self.field, self.positions)  # (K, n, 3, 3)

    def draw(self, key: int, *, per_particle: int | None = None) -> Pairs:
        """Pairs of every particle, in random order of the particles; those at Gaussians come first."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + key)
        device = self.positions.device
        noise = torch.randn(self.latent_mean.shape, generator=generator).to(device)
        states = self.field.coefficients(self.latent_mean + noise * self.latent_deviation)  # (P, K)
        particles = torch.arange(len(states)).repeat(per_particle or self.per_particle)
        particles = particles[torch.randperm(len(particles), generator=generator)].to(device)
        coefficients = states[particles]  # (m, K)
        n_gaussian = round(_SHARE_GAUSSIANS * len(particles))
        parts = (
            self._at_gaussians(coefficients[:n_gaussian], generator),
            self._elsewhere(coefficients[n_gaussian:], generator),
        )
        consensus, displacement, determinant, weight = (torch.cat(both) for both in zip(*parts, strict=True))
        at_gaussian = torch.arange(len(particles), device=device) < n_gaussian
        return Pairs(consensus, consensus + displacement, coefficients, weight, at_gaussian, determinant)

    def _at_gaussians(self, coefficients: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Consensus, displacement, change of volume and weight at Gaussians, drawn by amplitude."""
        chosen = torch.multinomial(self.chance, len(coefficients), replacement=True, generator=generator).to(coefficients.device)
        displacement, determinant = _moved(self.basis_at_gaussians, self.gradients_at_gaussians, chosen, coefficients)
        return self.positions[chosen], displacement, determinant, torch.full_like(determinant, _WEIGHT_GAUSSIAN)

    def _elsewhere(self, coefficients: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """The same at points near the Gaussians and anywhere in the box."""
        pool = self.random_points(_POOL, generator)
        chosen = torch.randint(_POOL, (len(coefficients),), generator=generator).to(coefficients.device)
        displacement, determinant = _moved(self.field.basis(pool), basis_gradients(self.field, pool), chosen, coefficients)
        return pool[chosen], displacement, determinant, _WEIGHT_ELSEWHERE * (determinant > _FOLDED).float()

    def random_points(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, 3) A: points near Gaussians and points anywhere in the box."""
        near = round(count * _SHARE_NEAR / (1 - _SHARE_GAUSSIANS))
        chosen = torch.multinomial(self.chance, near, replacement=True, generator=generator)
        around = self.positions.cpu()[chosen] + _NEAR_ANGSTROMS * torch.randn(near, 3, generator=generator)
        anywhere = (torch.rand(count - near, 3, generator=generator) - 0.5) * self.box_length_angstroms
        return torch.cat((around, anywhere)).to(self.positions.device)

    @property
    def device(self) -> torch.device:
        """Where pairs are made."""
        return self.positions.device


def _moved(basis: Tensor, gradients: Tensor, chosen: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Displacement (m, 3) A and change of volume (m,) of pairs.

    Parameters
    ----------
    basis : (K, n, 3) A; gradients : (K, n, 3, 3)
        At n points.
    chosen : (m,)
        The point of each pair.
    coefficients : (m, K)
        Of the state of each.
    """
    displacements, determinants = [coefficients.new_zeros(0, 3)], [coefficients.new_zeros(0)]
    for points, states in zip(chosen.split(_CHUNK), coefficients.split(_CHUNK), strict=True):
        displacements.append(torch.einsum("mk,kmc->mc", states, basis[:, points]))
        determinants.append(torch.linalg.det(pair_jacobians(gradients[:, points], states)))
    return torch.cat(displacements), torch.cat(determinants)
