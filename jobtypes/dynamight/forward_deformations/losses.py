"""The terms of the objective, each minus a log probability per particle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from jobtypes.dynamight.model import loops
from jobtypes.dynamight.model.deformed import Deformed, PointsInParts, SlopesOfParts

PARTICLES_IN_CACHE = 16  # of a few thousand points
SMALL_SQUARED_LENGTH = 1e-4  # A^2; keeps the slope finite where two Gaussians coincide


def data_misfit(observed: Tensor, projected: Tensor, transfer: Tensor, weights: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Minus the log likelihood of each image, up to a constant, and the power of the residuals.

    For complex normal noise of expected squared modulus s^2 the log likelihood of a residual r is -|r|^2 / s^2. A mask makes
    neighbouring Fourier terms dependent: only a share of them counts (mean of the squared mask).

    Parameters
    ----------
    observed, projected
        (b, q) complex Fourier terms of images, and of projections without CTF; the latter are differentiated.
    transfer
        (b, q) CTF.
    weights
        (groups, q) inverse noise power 1 / s^2, times that share, and 1/2 for terms whose conjugate is among the q too.
    group
        (b,) optics group.

    Returns
    -------
    tuple
        (b,); and (groups, q) sums of |r|^2 over the particles of each group.
    """
    return _WeightedPower.apply(projected, observed, transfer, weights, group)  # type: ignore[no-untyped-call,no-any-return]


def strain(points: Deformed, edges: Tensor) -> Tensor:
    """Mean squared change of length of the edges, in A^2, of each particle: (b,). Rigid motions of any size cost nothing.

    Coefficients and basis are differentiated, the positions at rest are not.

    Parameters
    ----------
    points
        The Gaussians of each particle.
    edges
        (e, 2) pairs of Gaussians.
    """
    first, second = edges.T
    length_at_rest = _length((points.positions[first] - points.positions[second]).detach().T)
    if edges.device.type == "cpu":
        ends = first.int().contiguous(), second.int().contiguous()
        return _Strain.apply(*points.flat(), length_at_rest, *ends)  # type: ignore[no-untyped-call]
    components = (points.positions.detach() + points.displacements()).transpose(1, 2)  # (b, 3, n)
    stretched = components.index_select(2, first) - components.index_select(2, second)
    return (_length(stretched) - length_at_rest).square().sum(-1) / max(1, len(edges))


class _WeightedPower(torch.autograd.Function):
    """Weighted sum of the squared moduli of residuals, and their power per group; only the projected terms are differentiated."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, observed: Tensor, transfer: Tensor, weights: Tensor, group: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return both and keep minus half the slope."""
        if projected.device.type == "cpu":
            parts = [torch.view_as_real(terms.resolve_conj().contiguous()) for terms in (observed, projected)]
            total, half_slope = transfer.new_empty(len(parts[0])), torch.empty_like(projected)
            particles = (*parts, transfer, group, total, torch.view_as_real(half_slope))
            shares = loops.over_particles(loops.weighted_power, particles, weights, len(weights))
            power = torch.from_numpy(sum(shares))
        else:
            residual = observed - transfer * projected
            squared = residual.real.square() + residual.imag.square()
            weight = weights[group]
            total, half_slope = (weight * squared).sum(1), weight * transfer * residual
            power = torch.zeros_like(weights).index_add_(0, group, squared)
        ctx.save_for_backward(half_slope)
        ctx.mark_non_differentiable(power)
        return total, power

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient (b,) of the sum -> that of the projected terms."""
        (half_slope,) = ctx.saved_tensors
        return -2 * gradient[:, None] * half_slope, None, None, None, None


class _Strain(torch.autograd.Function):
    """The same in compiled loops, a few particles at a time; the slope by each edge is kept."""

    @staticmethod
    def forward(
        ctx: Any,
        positions: Tensor,
        coefficients: Tensor,
        basis: Tensor,
        length_at_rest: Tensor,
        first: Tensor,
        second: Tensor,
    ) -> Tensor:
        """Points as `Deformed.flat`; edges with their length (e,) at rest and both ends (e,) -> (b,)."""
        mean, forces = coefficients.new_empty(len(coefficients)), coefficients.new_empty(len(coefficients), 3, len(first))
        for part, points in PointsInParts(positions, coefficients, basis, PARTICLES_IN_CACHE):
            common = length_at_rest, first, second, SMALL_SQUARED_LENGTH
            loops.over_particles(loops.change_of_length, (points, mean[part], forces[part]), *common)
        ctx.save_for_backward(positions, coefficients, basis, forces, first, second)
        return mean

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient (b,) of the means -> those of coefficients and basis."""
        *flat, forces, first, second = ctx.saved_tensors
        points = PointsInParts(*flat, PARTICLES_IN_CACHE)
        slopes = SlopesOfParts(points)
        for part in points.parts:
            of_points = forces.new_empty(len(forces[part]), 3, len(flat[0]) // 3)
            loops.over_particles(loops.add_forces, (forces[part], gradient[part], of_points), first, second)
            slopes.add(part, of_points)
        _, of_coefficients, of_basis = slopes.total()
        return None, of_coefficients, of_basis, None, None, None


def _length(vectors: Tensor) -> Tensor:
    """Length of vectors (..., 3, e): (..., e)."""
    return vectors.square().sum(-2).add(SMALL_SQUARED_LENGTH).sqrt()
