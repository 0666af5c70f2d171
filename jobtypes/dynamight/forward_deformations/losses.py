"""The terms of the objective, each minus a log probability per particle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from jobtypes.dynamight.model.half_model import combine

PARTICLES_IN_CACHE = 16  # of a few thousand edges


def data_misfit(observed: Tensor, predicted: Tensor, precision: Tensor, weights: Tensor, independent_fraction: float) -> Tensor:
    """Minus the log likelihood of each image, up to a constant: (b,).

    For complex normal noise of expected squared modulus s^2 the log likelihood of a residual r is -|r|^2 / s^2. A mask makes
    neighbouring Fourier terms dependent: of `q` terms only the share `independent_fraction` (mean of the squared mask) counts.

    Parameters
    ----------
    observed, predicted
        (b, q) complex Fourier terms.
    precision
        (b, q) inverse noise power 1 / s^2.
    weights
        (q,) 1, or 1/2 for terms whose conjugate is among the q too.
    """
    return _WeightedPower.apply(observed - predicted, precision * (independent_fraction * weights))  # type: ignore[no-untyped-call]


def strain(coefficients: Tensor, basis: Tensor, positions: Tensor, edges: Tensor) -> Tensor:
    """Mean squared change of length of the edges, in A^2, of each particle: (b,). Rigid motions of any size cost nothing.

    Parameters
    ----------
    coefficients
        (b, K).
    basis
        (K, n, 3) fields at the Gaussians.
    positions
        (n, 3) in A.
    edges
        (e, 2) pairs of Gaussians.
    """
    first, second = edges.T
    rows = basis.transpose(0, 1).flatten(1)  # (n, 3 K): picked, and added to in the backward pass, many numbers at a time
    difference = rows.index_select(0, first) - rows.index_select(0, second)
    stretch = combine(coefficients, difference.unflatten(1, (-1, 3)).transpose(0, 1))  # (b, e, 3)
    rest = (positions[first] - positions[second]).detach()  # (e, 3)
    return _ChangeOfLength.apply(stretch, rest)  # type: ignore[no-untyped-call]


class _WeightedPower(torch.autograd.Function):
    """Weighted sum of squared moduli of residuals (b, q), weights (b, q): (b,); the weights are constants."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, weights: Tensor) -> Tensor:
        """Return the sum and keep half of its slope."""
        half_slope = residual * weights
        ctx.save_for_backward(half_slope)
        return (torch.view_as_real(residual) * torch.view_as_real(half_slope)).sum((1, 2))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Gradient (b,) of the sum -> that of the residuals."""
        (half_slope,) = ctx.saved_tensors
        return 2 * gradient[:, None] * half_slope, None


class _ChangeOfLength(torch.autograd.Function):
    """Mean squared change of length of edges (e, 3) that are stretched by (b, e, 3): (b,).

    The slope is worked out at once, a few particles at a time, so that one array of (b, e, 3) is kept instead of six.
    """

    @staticmethod
    def forward(ctx: Any, stretch: Tensor, rest: Tensor) -> Tensor:
        """Return the mean (b,) and keep its slope."""
        b, e, _ = stretch.shape
        rest = rest.T.contiguous()
        length_at_rest = _length(*rest)
        slope = stretch.new_empty(b, 3, e)
        mean = stretch.new_empty(b)
        share = PARTICLES_IN_CACHE if stretch.device.type == "cpu" else b
        for part, edge, mean_of_part in zip(stretch.split(share), slope.split(share), mean.split(share), strict=True):
            torch.add(part.transpose(1, 2), rest, out=edge)
            length = _length(*edge.unbind(1))
            change = length - length_at_rest
            torch.mean(change.square(), dim=1, out=mean_of_part)
            edge.mul_(change.div_(length).mul_(2 / max(1, e))[:, None])
        ctx.save_for_backward(slope)
        return mean

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Gradient (b,) of the mean -> that of the stretch."""
        (slope,) = ctx.saved_tensors
        return (gradient[:, None, None] * slope).transpose(1, 2), None


def _length(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Length of vectors; the small constant keeps its slope finite where two Gaussians coincide."""
    return x.square().addcmul_(y, y).addcmul_(z, z).add_(1e-4).sqrt_()
