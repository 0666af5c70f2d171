"""Preconditioned conjugate gradients for a symmetric positive operator on maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Operator = Callable[[Tensor], Tensor]


# A curvature below this share of the first is rounding of float32: a positive operator with a prior has none so small.
_LEAST_CURVATURE = 1e-6
# The norm of the residual may rise on the way, but not so far above its least where the operator is positive.
_MOST_GROWTH = 10.0


@dataclass(frozen=True)
class Solution:
    """What `solve` found.

    Attributes
    ----------
    volume : same shape as the right-hand side
        The iterate with the least residual.
    iterations
        How many operator applications it took.
    residual
        Its residual over that of a zero start, in the norm of the preconditioner.
    reached
        Whether that is within the tolerance, so that the start and the number of iterations no longer matter.
    """

    volume: Tensor
    iterations: int
    residual: float
    reached: bool


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

    A preconditioner that maps to a subspace (such as the maps without frequencies beyond Nyquist) keeps the solution in it. The
    best of all iterates is returned. The search ends early where it goes astray: where the residual has grown to ten times its
    least, or the curvature along the direction of search has fallen to rounding.

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
    search = _Search(operator, precondition, torch.zeros_like(right), right)
    yardstick = search.rho  # must not depend on the start, or a good start would be punished
    if start is not None and (warm := _Search(operator, precondition, start, right - operator(start))).rho < yardstick:
        search = warm
    best, least, done = search.volume, search.rho, 0
    while done < iterations and tolerance**2 * yardstick < search.rho <= _MOST_GROWTH**2 * least and search.step():
        done += 1
        if search.rho < least:
            best, least = search.volume, search.rho
        if after_iteration is not None:
            after_iteration(done, _relative(search.rho, yardstick))
    return Solution(best, done, _relative(least, yardstick), least <= tolerance**2 * yardstick)


class _Search:
    """An iterate (*S), its residual, and where to go from there; rho is the residual's squared norm."""

    def __init__(self, operator: Operator, precondition: Operator, volume: Tensor, residual: Tensor) -> None:
        self._operator, self._precondition = operator, precondition
        self.volume, self._residual = volume, residual
        self._direction = precondition(residual)
        self.rho = _dot(residual, self._direction)
        self._length = self.rho  # of the direction, squared, in the norm of the preconditioner
        self._first_curvature: float | None = None

    def step(self) -> bool:
        """Go on by one iteration; False where the operator says no more about the direction than rounding does."""
        applied = self._operator(self._direction)
        along = _dot(self._direction, applied)
        curvature = along / self._length
        if self._first_curvature is None:
            self._first_curvature = curvature
        if not curvature > max(_LEAST_CURVATURE * self._first_curvature, 0.0):
            return False
        step = self.rho / along
        self.volume = self.volume + step * self._direction
        self._residual = self._residual - step * applied
        descent = self._precondition(self._residual)
        self.rho, before = _dot(self._residual, descent), self.rho
        ratio = self.rho / before
        self._direction, self._length = descent + ratio * self._direction, self.rho + ratio**2 * self._length
        return True


def _relative(rho: float, yardstick: float) -> float:
    return (max(rho, 0.0) / yardstick) ** 0.5 if yardstick > 0 else 0.0


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a.double() * b.double()).sum())
