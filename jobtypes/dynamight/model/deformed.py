"""Gaussians as each particle of a batch has them: positions plus a sum of basis fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Deformed:
    """Point j of particle i lies at positions_j + sum_k coefficients_ik basis_kj.

    Coordinates (b, n, 3) are made only where they are needed, and only a few particles at a time.

    Attributes
    ----------
    positions : (n, 3) A
        Where the points are before they move.
    coefficients : (b, K)
        K is 0 for a batch in which nothing moves.
    basis : (K, n, 3) A
        Quickest where it lies in memory as (K, 3, n).
    """

    positions: Tensor
    coefficients: Tensor
    basis: Tensor

    def __len__(self) -> int:
        """Particles b."""
        return len(self.coefficients)

    def first(self, count: int) -> Deformed:
        """The first particles, at most `count`."""
        return Deformed(self.positions, self.coefficients[:count], self.basis)

    def displacements(self) -> Tensor:
        """(b, n, 3) in A."""
        return combine(self.coefficients, self.basis)

    def flat(self) -> tuple[Tensor, Tensor, Tensor]:
        """Positions (3 n,), coefficients (b, K) and basis (K, 3 n), as `PointsInParts` takes them."""
        return self.positions.T.flatten(), self.coefficients, self.basis.transpose(1, 2).flatten(1)


def undeformed(positions: Tensor, b: int) -> Deformed:
    """Positions (n, 3) that are those of all b particles."""
    return Deformed(positions, positions.new_zeros(b, 0), positions.new_zeros(0, *positions.shape))


class PointsInParts:
    """Coordinates of deformed points a few particles at a time; of flat tensors, see `Deformed.flat`."""

    def __init__(self, positions: Tensor, coefficients: Tensor, basis: Tensor, count: int) -> None:
        self.positions, self.coefficients, self.basis = positions, coefficients, basis
        self.parts = [slice(first, first + count) for first in range(0, len(coefficients), count)]

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        """Particles, and their points (b', 3, n), or (1, 3, n) where nothing moves."""
        if len(self.basis) == 0:
            yield from ((part, self.positions.view(1, 3, -1)) for part in self.parts)
            return
        for part in self.parts:
            yield part, torch.addmm(self.positions, self.coefficients[part], self.basis).unflatten(1, (3, -1))


class SlopesOfParts:
    """Adjoint of `PointsInParts`."""

    def __init__(self, points: PointsInParts) -> None:
        self._points = points
        self._of_positions, self._of_basis = torch.zeros_like(points.positions), torch.zeros_like(points.basis)
        self._of_coefficients = torch.empty_like(points.coefficients)

    def add(self, part: slice, of_points: Tensor) -> None:
        """Count the gradient (b', 3, n) of the points of a part."""
        flat = of_points.flatten(1)
        self._of_positions += flat.sum(0)
        torch.mm(flat, self._points.basis.T, out=self._of_coefficients[part])
        self._of_basis.addmm_(self._points.coefficients[part].T, flat)

    def total(self) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of positions, coefficients and basis, once all parts are counted."""
        return self._of_positions, self._of_coefficients, self._of_basis


def combine(coefficients: Tensor, basis: Tensor) -> Tensor:
    """Sum of basis fields (K, m, 3) with coefficients (b, K): (b, m, 3).

    In memory the components come first, as (b, 3, m): whatever follows is several times faster along m than along 3.
    """
    k, m, _ = basis.shape
    return (coefficients @ basis.transpose(1, 2).reshape(k, 3 * m)).view(-1, 3, m).transpose(1, 2)


def mean_squared_displacement(coefficients: Tensor, basis: Tensor) -> Tensor:
    """(m,) mean over b particles of the squared length of `combine`, from the second moment of the coefficients."""
    k, m, _ = basis.shape
    fields = basis.transpose(1, 2).reshape(k, 3 * m)
    moment = coefficients.T @ coefficients / max(1, len(coefficients))
    return ((moment @ fields) * fields).sum(0).view(3, m).sum(0).clamp(min=0)
