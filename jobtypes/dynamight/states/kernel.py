"""What each particle counts for a state: a kernel over deformations, averaged over the posterior of the particle.

Deformations are compared by what they do to the density: along the main motions distances are rms displacements in A. A particle
is known as a normal distribution there, with mean m and covariance S. A Gaussian kernel of width h around a state s has over that
distribution the mean

    |h^2 I|^(1/2) |S + h^2 I|^(-1/2) exp(-(m - s)^T (S + h^2 I)^(-1) (m - s) / 2),

so that a particle which may be anywhere counts for little, and one that is surely at the state for 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from jobtypes.dynamight.model.principal_motions import PrincipalMotions
from jobtypes.dynamight.model.result import HalfResult

_LEAST_WEIGHT = 1e-3  # of the greatest: what counts for less is left out, as it takes as long as any other
_PARTICLES_PER_PIXEL = 3  # of the box: fewer leave gaps between their views
_LEAST_SHARE = 0.25  # of the particles: the narrowest kernel has to leave out most of them, or widths could not be told apart
_NARROWEST, _BISECTIONS = 1e-3, 40  # of the rms motion; halvings of a logarithm


@dataclass(frozen=True)
class ParticleStates:
    """Where the particles of a half set are, and how surely.

    Attributes
    ----------
    means : (P, D) float64, A
        Along the main motions.
    axes, variances : (P, D, D), (P, D) float64, A^2
        Of the covariance of each: its axes in columns, and the variances along them.
    rms_angstroms
        Of all particles about their mean.
    """

    means: Tensor
    axes: Tensor
    variances: Tensor
    rms_angstroms: float

    @classmethod
    @torch.no_grad()
    def of(cls, result: HalfResult, motions: PrincipalMotions) -> ParticleStates:
        """Those of a half set; what a standard deviation of each latent does is looked up on both sides of the mean."""
        means = motions.coordinates(result.model.field.coefficients(result.latent_mean).cpu()).double()
        to_coordinates = motions.to_coordinates.double()
        columns = [coefficients.cpu().double() @ to_coordinates for coefficients in result.uncertain_by()]
        spreads = torch.stack(columns, dim=2)  # (P, D, d)
        variances, axes = torch.linalg.eigh(spreads @ spreads.transpose(1, 2))
        return cls(means, axes, variances.clamp(min=0), float(motions.rms_angstroms.double().norm()))

    def weights(self, state: Tensor, width_angstroms: float) -> Tensor:
        """What each particle counts for the state at (D,) A: (P,) float64, at most 1; all alike where the width is infinite."""
        if math.isinf(width_angstroms):
            return torch.ones(len(self.means), dtype=torch.float64)
        away = torch.einsum("pij,pi->pj", self.axes, self.means - state.double())
        total = self.variances + width_angstroms**2
        log = -0.5 * (away.square() / total + (total / width_angstroms**2).log()).sum(1)
        weights = (log - log.max()).exp()
        return torch.where(weights < _LEAST_WEIGHT, 0.0, weights)


def effective_number(weights: Tensor, image: Tensor) -> float:
    """How many images of weight 1 would be as much: (sum w)^2 / sum w^2, copies of an image (P,) together as one. Kish 1965."""
    _, place = torch.unique(image, return_inverse=True)
    of_image = weights.new_zeros(int(place.max()) + 1).index_add(0, place, weights)
    return float(of_image.sum().square() / of_image.square().sum().clamp_min(1e-300))


def candidate_widths(states: ParticleStates, state: Tensor, quality: Tensor, image: Tensor, box: int) -> list[float]:
    """Widths in A to choose from, the widest first: all particles, half of them, a quarter ..., as far as a map can be made.

    Parameters
    ----------
    states, state : P particles, (D,) A
    quality : (P,)
        What each counts in any map.
    image : (P,)
        The image that each is of, as in `ParticleTable.copy_of`.
    box
        N of the maps, which says how few are too few.
    """
    quality = quality.double().cpu()
    everything = effective_number(quality, image)
    least = _least_number(everything, box)

    def number(log_width: float) -> float:
        return effective_number(states.weights(state, math.exp(log_width)) * quality, image)

    widths, wanted = [math.inf], everything / 2
    lowest = math.log(max(_NARROWEST * states.rms_angstroms, 1e-9))
    while wanted >= least and states.rms_angstroms > 0 and number(lowest) < wanted:
        low, high = lowest, math.log(100 * states.rms_angstroms)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if number(middle) < wanted else (low, middle)
        widths.append(math.exp(high))
        wanted /= 2
    return widths


def most_widths(particles: int, box: int) -> int:
    """How many `candidate_widths` there may be for so many particles."""
    return 1 + int(math.log2(particles / _least_number(particles, box)))


def _least_number(everything: float, box: int) -> float:
    """How many particles the narrowest kernel must leave, of so many in all."""
    return min(_PARTICLES_PER_PIXEL * box, _LEAST_SHARE * everything)


def in_words(*widths_angstroms: float) -> str:
    """Say the width of a kernel, or those of both halves, in words."""
    if all(map(math.isinf, widths_angstroms)):
        return "all particles alike"
    return f"kernel of {' and '.join(f'{width:.1f}' for width in widths_angstroms)} A"
