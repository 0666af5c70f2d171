"""The terms of the objective, each minus a log probability per particle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from jobtypes.common.autograd import apply
from jobtypes.dynamight.model.backend import Backend
from jobtypes.dynamight.model.deformed import Deformed, PointsInParts, SlopesOfParts, combine

SMALL_BATCH = 8  # particles whose edges are in memory at a time
SMALL_SQUARED_LENGTH = 1e-4  # A^2; keeps the slope finite where two Gaussians coincide


def data_misfit(
    observed: Tensor,
    projected: Tensor,
    transfer: Tensor,
    weights: Tensor,
    group: Tensor,
    shares: Tensor,
    backend: Backend,
) -> tuple[Tensor, Tensor]:
    """Minus the log likelihood of each image, up to a constant, and the power of the residuals.

    For complex normal noise of expected squared modulus s^2 the log likelihood of a residual r is -|r|^2 / s^2. A mask makes
    neighbouring Fourier terms dependent: only a share of them counts (mean of the squared mask).

    Parameters
    ----------
    observed, projected : (b, q) complex
        Fourier terms of images, and of projections without CTF; the latter are differentiated.
    transfer : (b, q)
        CTF, times the particle's scale.
    weights : (groups, q)
        Inverse noise power 1 / s^2, times that share, and 1/2 for terms whose conjugate is among the q too.
    group : (b,)
        Optics group.
    shares : (b,)
        Of each particle in the power of the residuals, 0 to 1.
    backend
        What adds up.

    Returns
    -------
    (b,), (groups, q)
        The misfit of each particle; and sums of |r|^2 over the particles of each group, each with its share.
    """
    return apply(_WeightedPower, projected, observed, transfer, weights, group, shares, backend)


def strain(points: Deformed, edges: Tensor, backend: Backend) -> Tensor:
    """Mean squared change of length of the edges, in A^2, of each particle: (b,). Rigid motions of any size cost nothing.

    Coefficients and basis are differentiated, the positions at rest are not.

    Parameters
    ----------
    points
        The Gaussians of each particle; all particles are worked out at a time, so let them be few.
    edges : (e, 2)
        Pairs of Gaussians.
    backend
        What measures.
    """
    first, second = edges.T
    at_rest = (points.positions[first] - points.positions[second]).detach().T
    length_at_rest = at_rest.square().sum(0).add(SMALL_SQUARED_LENGTH).sqrt()
    ends = first.int().contiguous(), second.int().contiguous()
    return apply(_Strain, *points.flat(), length_at_rest, *ends, backend)


def change_of_length(points: Deformed, edges: Tensor) -> Tensor:
    """(e,) A^2: squared change of length of each of the edges (e, 2), mean over the particles."""
    first, second = edges.T
    at_rest = points.positions[first] - points.positions[second]
    total = torch.zeros_like(at_rest[:, 0])
    for coefficients in points.coefficients.split(SMALL_BATCH):  # all would take much memory
        displacements = combine(coefficients, points.basis)
        lengths = (at_rest + displacements[:, first] - displacements[:, second]).norm(dim=2)
        total += (lengths - at_rest.norm(dim=1)).square().sum(0)
    return total / max(1, len(points))


class _WeightedPower(torch.autograd.Function):
    """Weighted sum of the squared moduli of residuals, and their power per group; only the projected terms are differentiated."""

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        observed: Tensor,
        transfer: Tensor,
        weights: Tensor,
        group: Tensor,
        shares: Tensor,
        backend: Backend,
    ) -> tuple[Tensor, Tensor]:
        """Return both and keep minus half the slope."""
        total, half_slope, power = backend.weighted_power(observed, projected, transfer, weights, group, shares)
        ctx.save_for_backward(half_slope)
        ctx.mark_non_differentiable(power)
        return total, power

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient (b,) of the sum -> that of the projected terms."""
        (half_slope,) = ctx.saved_tensors
        return -2 * gradient[:, None] * half_slope, None, None, None, None, None, None


class _Strain(torch.autograd.Function):
    """Mean squared change of length; the slope by each edge is kept."""

    @staticmethod
    def forward(
        ctx: Any,
        positions: Tensor,
        coefficients: Tensor,
        basis: Tensor,
        length_at_rest: Tensor,
        first: Tensor,
        second: Tensor,
        backend: Backend,
    ) -> Tensor:
        """Points as `Deformed.flat`; edges with their length (e,) at rest and both ends (e,) -> (b,)."""
        ((_, points),) = PointsInParts(positions, coefficients, basis, len(coefficients))
        points = points.expand(len(coefficients), -1, -1)  # also where nothing moves
        mean, forces = backend.change_of_length(points, length_at_rest, first, second, SMALL_SQUARED_LENGTH)
        ctx.save_for_backward(positions, coefficients, basis, forces, first, second)
        ctx.backend = backend
        return mean

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient (b,) of the means -> those of coefficients and basis."""
        positions, coefficients, basis, forces, first, second = ctx.saved_tensors
        points = PointsInParts(positions, coefficients, basis, len(forces))
        slopes = SlopesOfParts(points)
        slopes.add(points.parts[0], ctx.backend.add_forces(forces, gradient, first, second, len(positions) // 3))
        _, of_coefficients, of_basis = slopes.total()
        return None, of_coefficients, of_basis, None, None, None, None
