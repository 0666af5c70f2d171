"""The main motions of a half set: principal components of what the deformations do to the Gaussians, in A."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

ENOUGH_PARTICLES = 2000  # to choose the central one from; of more, every so manieth is looked at
SURROUNDINGS = 0.05  # share of the particles that tell how crowded a place is
_SMALLEST_SHARE = 1e-3  # a motion below this share of the whole rms displacement is rounding


@dataclass(frozen=True)
class PrincipalMotions:
    """Coordinates along the main motions.

    The distance between two states in these coordinates is the root-mean-square distance between their Gaussians, in A.

    Attributes
    ----------
    mean : (K,)
        Mean coefficients of the particles: the state with all coordinates 0.
    to_coordinates : (K, D)
        Coefficients, less their mean -> coordinates in A.
    from_coordinates : (D, K)
        The way back.
    rms_angstroms : (D,)
        Rms of the particles along each motion, largest first.
    """

    mean: Tensor
    to_coordinates: Tensor
    from_coordinates: Tensor
    rms_angstroms: Tensor

    def __len__(self) -> int:
        return len(self.rms_angstroms)

    def coordinates(self, coefficients: Tensor) -> Tensor:
        """Coordinates (b, D) in A of states with coefficients (b, K)."""
        return (coefficients - self.mean) @ self.to_coordinates

    def coefficients(self, coordinates: Tensor) -> Tensor:
        """Coefficients (b, K) of the states at coordinates (b, D) in A."""
        return self.mean + coordinates @ self.from_coordinates


def central(coefficients: Tensor, gram: Tensor) -> int:
    """The particle of p that is nearest to the mean of all, of the half of them in the most crowded places.

    What lies nearest to the mean alone need be no conformation that the molecule has: that of a domain which turns all the way
    round is the middle of the circle, where only particles are that say nothing of the turn.

    Parameters
    ----------
    coefficients : (p, K)
        Of the particles.
    gram : (K, K)
        The metric of `gram_matrix`.
    """
    values, vectors = torch.linalg.eigh(gram)
    some = enough_of(len(coefficients)).to(coefficients.device)
    coordinates = ((coefficients[some].double() @ vectors) * values.clamp(min=0).sqrt()).cpu().numpy()
    neighbours = max(1, math.ceil(SURROUNDINGS * (len(coordinates) - 1)))
    reach = cKDTree(coordinates).query(coordinates, k=[1 + neighbours], workers=torch.get_num_threads())[0][:, 0]
    from_mean = np.square(coordinates - coordinates.mean(0)).sum(1)
    return int(some[int(np.where(reach <= np.median(reach), from_mean, np.inf).argmin())])


def enough_of(count: int) -> Tensor:
    """(k,) which of so many particles are looked at where some stand for all: at most twice ENOUGH_PARTICLES, evenly."""
    return torch.arange(0, count, max(1, count // ENOUGH_PARTICLES))


def squared_lengths(coefficients: Tensor, gram: Tensor) -> Tensor:
    """(p,) float64, A^2: mean squared displacement of deformations with coefficients (p, K), by the metric (K, K)."""
    coefficients = coefficients.double()
    return ((coefficients @ gram) * coefficients).sum(1)


def gram_matrix(basis: Tensor, weights: Tensor) -> Tensor:
    """Metric of deformations, (K, K) float64: da @ gram @ da is the weighted mean squared displacement, in A^2, of da (K,).

    Parameters
    ----------
    basis : (K, n, 3) A
        Basis fields at the Gaussians.
    weights : (n,)
        Their amplitudes, or anything not negative.
    """
    fields = basis.double()
    share = (weights.double() / weights.double().sum())[:, None]
    return torch.einsum("knc,lnc->kl", fields * share, fields)


def principal_motions(basis: Tensor, weights: Tensor, coefficients: Tensor) -> PrincipalMotions:
    """Find the main motions.

    Parameters
    ----------
    basis : (K, n, 3) A
        Basis fields at the Gaussians.
    weights : (n,)
        Weight of each Gaussian, its amplitude for instance.
    coefficients : (P, K)
        Coefficients of the particles' deformations.

    Returns
    -------
    PrincipalMotions
        Of all motions above a thousandth of the whole, at least one; the largest entry of each is positive.
    """
    size, axes = torch.linalg.eigh(gram_matrix(basis, weights))
    root = size.clamp(min=0).sqrt()
    mean = coefficients.double().mean(0)
    in_angstroms = (coefficients.double() - mean) @ (axes * root)  # (P, K)
    variance, motions = torch.linalg.eigh(in_angstroms.T @ in_angstroms / max(len(coefficients), 1))
    rms = variance.clamp(min=0).sqrt().flip(0)
    count = max(1, int((rms > _SMALLEST_SHARE * rms.square().sum().sqrt()).sum()))
    motions = motions.flip(1)[:, :count]  # (K, D)
    largest = motions.abs().argmax(0)
    motions = motions * motions[largest, torch.arange(count)].sign()
    inverse_root = torch.where(root > 1e-9 * root.max(), 1 / root.clamp(min=1e-300), 0.0)
    to_coordinates = (axes * root) @ motions
    from_coordinates = motions.T @ (axes * inverse_root).T
    dtype = coefficients.dtype
    return PrincipalMotions(mean.to(dtype), to_coordinates.to(dtype), from_coordinates.to(dtype), rms[:count].to(dtype))
