"""Points with amplitudes -> Fourier transforms of their projections."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from jobtypes.common.autograd import apply
from jobtypes.common.fourier import fast_size, irfft2_columns, rfft2_columns
from jobtypes.dynamight.model.backend import Backend, backend_for
from jobtypes.dynamight.model.deformed import Deformed, PointsInParts, SlopesOfParts
from jobtypes.dynamight.model.observations import Band


class _Render(torch.autograd.Function):
    """Fourier terms of bilinear splats of deformed points, with a hand-written backward pass (a gather at the same four pixels).

    Points and images exist for a few particles at a time only, and nothing is kept for the backward pass but what came in;
    autograd through index arithmetic and a half-plane transform would keep a dozen arrays of (b, n) and run full complex
    transforms.
    """

    @staticmethod
    def forward(
        ctx: Any,
        positions: Tensor,
        coefficients: Tensor,
        basis: Tensor,
        turns: Tensor,
        shifts: Tensor,
        amplitudes: Tensor,
        grid: RenderGrid,
    ) -> Tensor:
        """Points as `Deformed.flat`, at pixels turns (b F, 2, 3) p + shifts (b F, 2), amplitudes (c, n) -> (b F, c, q).

        Each particle is seen in F views. Amplitudes (b F, c, n) of each have no gradient.
        """
        ctx.save_for_backward(positions, coefficients, basis, turns, shifts, amplitudes)
        ctx.grid = grid
        terms = []
        for part, seen in _SeenInParts(positions, coefficients, basis, turns, grid.particles_together(amplitudes)):
            rows = grid.backend.occupied_rows(seen, turns[part], shifts[part], grid.size)
            seen_from = turns[part], _from_row(shifts[part], rows)
            heights = amplitudes if amplitudes.ndim == 2 else amplitudes[part]
            terms.append(grid.terms(grid.backend.splat(seen, *seen_from, heights, len(rows), grid.size), rows.start))
        return torch.cat(terms)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient (b F, c, q) of the terms -> gradients of all that came in."""
        positions, coefficients, basis, turns, shifts, amplitudes = ctx.saved_tensors
        grid: RenderGrid = ctx.grid
        points = _SeenInParts(positions, coefficients, basis, turns, grid.particles_together(amplitudes))
        of_turns, of_shifts, of_amplitudes = torch.empty_like(turns), torch.empty_like(shifts), torch.zeros_like(amplitudes)
        for part, seen in points:
            rows = grid.backend.occupied_rows(seen, turns[part], shifts[part], grid.size)
            seen_from, images = (turns[part], _from_row(shifts[part], rows)), grid.images(gradient[part], rows)
            of_points, of_turns[part], of_shifts[part], of_part = grid.backend.splat_adjoint(seen, *seen_from, amplitudes, images)
            of_amplitudes += of_part
            points.add_slope(part, of_points)
        return *points.slopes.total(), of_turns, of_shifts, of_amplitudes, None


class _SeenInParts:
    """Points of a few particles at a time, for each of their views (b F, 2, 3), and the adjoint of that."""

    def __init__(self, positions: Tensor, coefficients: Tensor, basis: Tensor, turns: Tensor, images_together: int) -> None:
        self.n_views = len(turns) // max(1, len(coefficients))
        self._points = PointsInParts(positions, coefficients, basis, max(1, images_together // max(1, self.n_views)))
        self.slopes = SlopesOfParts(self._points)

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        """Views, and the points (b', 3, n) of each, or (1, 3, n) where nothing moves."""
        for part, points in self._points:
            if self.n_views == 1:
                yield part, points
            else:
                points = points if len(points) == 1 else points.repeat_interleave(self.n_views, 0)
                yield slice(part.start * self.n_views, part.stop * self.n_views), points

    def add_slope(self, views: slice, of_points: Tensor) -> None:
        """Count the gradient (b', 3, n) of the points of some views."""
        if self.n_views == 1:
            self.slopes.add(views, of_points)
        else:
            part = slice(views.start // self.n_views, views.stop // self.n_views)
            self.slopes.add(part, of_points.unflatten(0, (-1, self.n_views)).sum(1))


def _from_row(shifts: Tensor, rows: range) -> Tensor:
    """Shifts (b, 2) that count y from the first of some rows."""
    return shifts - shifts.new_tensor((0, rows.start)) if rows.start else shifts


class RenderGrid:
    """The pixel grid that projections to a number of terms are rendered on.

    Attributes
    ----------
    size
        Pixels per side, even and quick to transform. The box centre is at pixel size // 2.
    n_columns
        Columns kx = 0 .. of its transform that hold terms.
    index : (q,)
        Place of each term among these columns, (size, n_columns) flattened.
    factor : (q,)
        Undoes the attenuation of the splat and counts phases from the box centre.
    backend
        What renders.
    """

    def __init__(self, band: Band, n_terms: int, oversampling: float, backend: Backend) -> None:
        self.backend = backend
        band, n_terms = band.of_view, n_terms // band.n_views
        harmonics = band.harmonics[:n_terms]  # (q, 2) integer kx, ky
        highest = band.highest(n_terms)
        self.size = fast_size(math.ceil(2 * oversampling * (highest + 1)))
        self.n_columns = highest + 1
        self.index = (harmonics[:, 1] % self.size * self.n_columns + harmonics[:, 0]).int()
        attenuation = torch.sinc(harmonics.double() / self.size).square().prod(dim=1)
        sign = 1 - 2 * (harmonics.sum(1) % 2)  # exp(pi i (kx + ky)): half the size is the centre
        self.factor = (sign / attenuation).to(band.frequencies.dtype)
        # `irfft2_columns` adds the conjugate of every column but the first
        self._adjoint_factor = torch.where(harmonics[:, 0] > 0, 0.5, 1.0).to(self.factor) * self.factor

    def particles_together(self, amplitudes: Tensor) -> int:
        """How many particles with points of amplitudes (..., c, n) to render at a time."""
        return self.backend.particles_together(self.size**2 + 6 * amplitudes.shape[-1])

    def terms(self, images: Tensor, first_row: int) -> Tensor:
        """Terms (b, c, q) of images of which some rows are given, (b, c, rows, size), and the others are empty."""
        columns = rfft2_columns(images, self.n_columns, first_row).flatten(-2)
        return self.backend.pick(columns, self.index, self.factor)

    def images(self, terms: Tensor, rows: range) -> Tensor:
        """Adjoint of `terms`: (b, c, q) -> some rows of the images, (b, c, rows, size)."""
        columns = self.backend.spread(terms, self.index, self._adjoint_factor, self.size * self.n_columns)
        return irfft2_columns(columns.unflatten(-1, (self.size, self.n_columns)), self.size, slice(rows.start, rows.stop))


class Projector:
    """Fourier transforms of projected points, at the frequencies of a band.

    The points are splatted bilinearly on a grid that is twice as fine as the band needs, and the splat's sinc^2 is divided
    out: the aliases that are left are below 11 % of a point's amplitude at the edge of the band and 2 % at half of it.

    Parameters
    ----------
    band
        The frequencies, in order of their radius.
    oversampling
        Nyquist frequency of the render grid over the band limit.
    backend
        What renders; None: what is quickest where the band is.

    Attributes
    ----------
    backend
        The same, for all else that is done to the particles.
    """

    def __init__(self, band: Band, oversampling: float = 2.0, backend: Backend | None = None) -> None:
        self.band = band
        self.oversampling = oversampling
        self.backend = backend or backend_for(band.frequencies.device)
        self._grids: dict[int, RenderGrid] = {}

    def grid(self, n_terms: int) -> RenderGrid:
        """The grid for the first `n_terms` of the band."""
        if n_terms not in self._grids:
            self._grids[n_terms] = RenderGrid(self.band, n_terms, self.oversampling, self.backend)
        return self._grids[n_terms]

    def __call__(self, points: Deformed, matrices: Tensor, shifts: Tensor, amplitudes: Tensor, n_terms: int) -> Tensor:
        """Fourier terms of the projections of points.

        Parameters
        ----------
        points
            n of each of b particles, in A from the box centre.
        matrices : (b, 3, 3) or (b, F, 3, 3)
            A point p projects to the first two components of matrix p, plus the shift; in each of F views.
        shifts : (b, 2) or (b, F, 2) A
            Added to that.
        amplitudes : (c, n)
            Of the points, in each channel; or (b, c, n) of each particle, through which no gradient flows.
        n_terms
            The first q terms of the band.

        Returns
        -------
        (b, c, q) complex
            Sum_j amplitude_j exp(-2 pi i k x_j), as an unnormalised Fourier transform with its phase origin at the box centre.
        """
        grid = self.grid(n_terms)
        pixels_per_angstrom = grid.size / self.band.box_length_angstroms
        turns, origins = matrices[..., :2, :] * pixels_per_angstrom, shifts * pixels_per_angstrom + grid.size // 2
        if matrices.ndim == 3:
            return apply(_Render, *points.flat(), turns, origins, amplitudes, grid)
        if amplitudes.ndim == 3:
            amplitudes = amplitudes.repeat_interleave(matrices.shape[1], 0)
        each: Tensor = apply(_Render, *points.flat(), turns.flatten(0, 1), origins.flatten(0, 1), amplitudes, grid)
        side_by_side: Tensor = each.unflatten(0, matrices.shape[:2]).permute(0, 2, 3, 1).flatten(2)
        return side_by_side
