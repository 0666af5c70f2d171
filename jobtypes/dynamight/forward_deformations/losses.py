"""The terms of the objective, each minus a log probability per particle."""

from __future__ import annotations

from torch import Tensor

from jobtypes.dynamight.model.half_model import combine


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
    residual = observed - predicted
    power = residual.real.square() + residual.imag.square()
    return independent_fraction * (power * precision * weights).sum(1)


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
    stretch = combine(coefficients, basis[:, first] - basis[:, second])  # (b, e, 3)
    rest = (positions[first] - positions[second]).detach()  # (e, 3)
    # the small constant keeps the gradient of the root finite where two Gaussians coincide
    change = (rest + stretch).square().sum(2).add(1e-4).sqrt() - rest.square().sum(1).add(1e-4).sqrt()
    return change.square().mean(1)
