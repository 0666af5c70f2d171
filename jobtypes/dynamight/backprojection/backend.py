"""What is done to voxels and Fourier points, in two ways, of which the device decides once.

On a CPU these are compiled loops, on a GPU operations on whole tensors, which a CPU can do too. Both give the same numbers up to
rounding.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from jobtypes.dynamight.backprojection import compiled_loops, whole_tensors
from jobtypes.dynamight.backprojection.ball import Ball
from jobtypes.dynamight.backprojection.ball_planes import Keep
from jobtypes.dynamight.backprojection.whole_tensors import Order


class GridBackend(Protocol):
    """Operations on a map of a box N, at least four voxels wide, and on the points of its `ball.Ball`."""

    def read_voxels(self, support: Tensor, displacements: Tensor, volume: Tensor, *, order: Order) -> Tensor:
        """Read a map beside voxels.

        Parameters
        ----------
        support : (m,)
            Flat index of the voxels.
        displacements : (m, 3)
            x, y, z in voxels.
        volume : (N, N, N)
        order
            ``linear`` (8 neighbours) or ``cubic`` (64).

        Returns
        -------
        (m,)
        """

    def spread_voxels(self, result: Tensor, support: Tensor, displacements: Tensor, volume: Tensor, *, order: Order) -> None:
        """Add voxels of a map to a result (N, N, N) around their places: the adjoint of `read_voxels`."""

    def insert_terms(
        self, grid: Tensor, ball: Ball, data: Tensor, weights: Tensor, factors: Tensor, rotations: Tensor, cycles: Tensor
    ) -> None:
        """Add terms of slices, trilinearly, to the eight points of the ball around each.

        Parameters
        ----------
        grid : (p, 3)
            Real and imaginary part and weight of each point.
        ball
            Where they are.
        data, weights : (b, q)
            Terms, complex, and their weights.
        factors : (q,)
            Of both.
        rotations : (b, 3, 3) A of each view, r_view = A r_map
        cycles : (q, 3)
            Places of the terms in the view frame, in steps of the padded grid; the third is 0.
        """

    def convolve(self, volume: Tensor, weights: Tensor, ball: Ball) -> Tensor:
        """Convolve a map (N, N, N) with the kernel of a real spectrum (p,) in its ball, without wrapping round."""

    def inverse_transform(self, values: Tensor, ball: Ball, keep: Keep) -> Tensor:
        """Transform complex points (p,) of the ball into real space along each axis.

        `keep` says what is wanted of the lines along an axis, (..., 2N) -> (..., N), and is called once for each.

        Returns
        -------
        (N, N, N) along z, y, x
        """


def backend_for(device: torch.device) -> GridBackend:
    """The quickest on a device."""
    return compiled_loops if device.type == "cpu" else whole_tensors
