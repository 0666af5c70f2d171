"""What is done to the points and the Fourier terms of many particles at once, in two ways, of which the device decides once.

On a CPU these are compiled loops, on a GPU operations on whole tensors, which a CPU can do too. Both give the same numbers up to
rounding. They know no gradients: an autograd function calls an operation in its forward pass, its adjoint in the backward one.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from jobtypes.dynamight.model.compiled_loops import CompiledLoops
from jobtypes.dynamight.model.whole_tensors import WholeTensors


class Backend(Protocol):
    """Operations on b particles of n points, in single or double precision.

    A point p of a particle is seen at pixel (x, y) = turn p + shift of its image. Points are (b, 3, n), or (1, 3, n) where all
    particles have the same; turns are (b, 2, 3), shifts (b, 2), amplitudes (c, n). A point outside the image leaves no trace and
    gets no gradient; a coordinate that is not a number makes numbers that are none.
    """

    def particles_together(self, numbers: int) -> int:
        """How many particles to work on at a time, where each takes so many numbers."""

    def occupied_rows(self, points: Tensor, turns: Tensor, shifts: Tensor, size: int) -> range:
        """The rows that a splat of these points needs, in images of so many pixels per side."""

    def splat(self, points: Tensor, turns: Tensor, shifts: Tensor, amplitudes: Tensor, height: int, width: int) -> Tensor:
        """Add points, bilinearly, to the four pixels around each: images (b, c, height, width).

        Amplitudes (c, n) of all particles, or (b, c, n) of each.
        """

    def splat_adjoint(
        self, points: Tensor, turns: Tensor, shifts: Tensor, amplitudes: Tensor, images: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of points (b, 3, n) of each, turns, shifts and amplitudes from those of the images of `splat`."""

    def interpolate(self, images: Tensor, points: Tensor, turns: Tensor, shifts: Tensor) -> Tensor:
        """Bilinear value (b, n) of images (b, size, size) where points (3, n) are seen, 0 outside."""

    def pick(self, values: Tensor, index: Tensor, factor: Tensor) -> Tensor:
        """Complex values (b, c, s) at index (q,) int32, times factor (q,) real: (b, c, q)."""

    def spread(self, picked: Tensor, index: Tensor, factor: Tensor, count: int) -> Tensor:
        """Adjoint of `pick` among `count` values: (b, c, q) -> (b, c, count), zero where none is picked."""

    def change_of_length(
        self, points: Tensor, length_at_rest: Tensor, first: Tensor, second: Tensor, small: float
    ) -> tuple[Tensor, Tensor]:
        """Mean squared change of length of edges, (b,), and its slope (b, 3, e) by the first end of each edge.

        Parameters
        ----------
        points : (b, 3, n) A
            Where the points are.
        length_at_rest : (e,) A
            Before the points move.
        first, second : (e,) int32
            Points at the ends of the edges.
        small
            Added to squared lengths.
        """

    def add_forces(self, forces: Tensor, weights: Tensor, first: Tensor, second: Tensor, n: int) -> Tensor:
        """Forces (b, 3, e), times the weight (b,) of each particle, added at first ends, taken off at second ones: (b, 3, n)."""

    def weighted_power(
        self, observed: Tensor, projected: Tensor, transfer: Tensor, weights: Tensor, group: Tensor, shares: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Weighted power of the residuals observed - transfer projected.

        Parameters
        ----------
        observed, projected : (b, q) complex
            Fourier terms of images, and of projections without CTF.
        transfer : (b, q)
            CTF, real.
        weights : (groups, q)
            Of the terms, for each optics group.
        group : (b,)
            Row of the weights of each particle.
        shares : (b,)
            Of each particle in the power of its group.

        Returns
        -------
        (b,), (b, q), (groups, q)
            The weighted sum over the terms; minus half its gradient by the projected terms; sum of the power over the particles
            of each group, without weights but with shares.
        """


COMPILED_LOOPS: Backend = CompiledLoops()
WHOLE_TENSORS: Backend = WholeTensors()


def backend_for(device: torch.device) -> Backend:
    """The quickest on a device."""
    return COMPILED_LOOPS if device.type == "cpu" else WHOLE_TENSORS
