"""Preconditioned conjugate gradients for a symmetric positive operator on maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Operator = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Solution:
    """What `solve` found.

    Attributes
    ----------
    volume : same shape as the right-hand side
    iterations
        How many operator applications it took.
    residual
        Last residual over the first, in the norm of the preconditioner.
    """

    volume: Tensor
    iterations: int
    residual: float


def solve(
    operator: Operator,
    right: Tensor,
    *,
    precondition: Operator,
    start: Tensor | None = None,
    iterations: int = 10,
    tolerance: float = 1e-3,
    after_iteration: Callable[[int, float], None] | None = None,
) -> Solution:
    """Solve operator(x) = right.

    A preconditioner that maps to a subspace (such as the maps without frequencies beyond Nyquist) keeps the solution in it.

    Parameters
    ----------
    operator, precondition
        Symmetric, not negative.
    right : (*S)
        Right-hand side.
    start : (*S)
        First guess, in the range of the preconditioner; zero if not given.
    iterations, tolerance
        Stop after so many, or once the residual has fallen by this factor against that of a zero start.
    after_iteration
        Called with (iteration, relative residual).

    Source: Hestenes and Stiefel 1952; Saad, Iterative methods for sparse linear systems, algorithm 9.1.
    """
    volume = torch.zeros_like(right) if start is None else start.clone()
    residual = right - operator(volume) if start is not None else right.clone()
    descent = precondition(residual)
    rho = _dot(residual, descent)
    # the yardstick must not depend on the start, or a good start would be punished
    yardstick = rho if start is None else _dot(right, precondition(right))
    direction = descent
    done = 0
    while done < iterations and rho > tolerance**2 * yardstick and rho > 0:
        applied = operator(direction)
        curvature = _dot(direction, applied)
        if not curvature > 0:  # rounding has used up what the operator can tell
            break
        step = rho / curvature
        volume = volume + step * direction
        residual = residual - step * applied
        descent = precondition(residual)
        rho, before = _dot(residual, descent), rho
        direction = descent + (rho / before) * direction
        done += 1
        if after_iteration is not None:
            after_iteration(done, (rho / yardstick) ** 0.5 if yardstick > 0 else 0.0)
    return Solution(volume, done, (max(rho, 0.0) / yardstick) ** 0.5 if yardstick > 0 else 0.0)


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a.double() * b.double()).sum())
