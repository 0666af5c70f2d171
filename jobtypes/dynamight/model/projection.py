"""Points with amplitudes -> Fourier transforms of their projections."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from jobtypes.common.fourier import fast_size, rfft2_columns, rfft2_columns_adjoint
from jobtypes.dynamight.model.observations import Band

# A few images are rendered at a time: about as many numbers as stay in a core's own cache.
NUMBERS_IN_CACHE = 1 << 18


class _Render(torch.autograd.Function):
    """Fourier terms of bilinear splats of points, with a hand-written backward pass (a gather at the same four pixels).

    The images exist for a few particles at a time only, and all that is kept for the backward pass are the coordinates; autograd
    through index arithmetic and a half-plane transform would keep a dozen arrays of (b, n) and run full complex transforms.
    """

    @staticmethod
    def forward(ctx: Any, xy: Tensor, amplitudes: Tensor, grid: RenderGrid) -> Tensor:
        """Points (b, n, 2) in pixels, amplitudes (c, n) -> (b, c, q)."""
        ctx.save_for_backward(xy, amplitudes)
        ctx.grid = grid
        return torch.cat([grid.terms(_splat(part, amplitudes, grid.size)) for part in xy.split(_share(xy, grid))])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """Gradient (b, c, q) of the terms -> gradients of coordinates and amplitudes."""
        xy, amplitudes = ctx.saved_tensors
        grid, count = ctx.grid, _share(xy, ctx.grid)
        gradient_xy = xy.new_empty(len(xy), 2, xy.shape[1])
        gradient_amplitudes = torch.zeros_like(amplitudes) if ctx.needs_input_grad[1] else None
        parts = zip(xy.split(count), gradient.split(count), gradient_xy.split(count), strict=True)
        for points, of_terms, of_points in parts:
            _splat_backward(points, amplitudes, grid.images(of_terms), of_points, gradient_amplitudes)
        return gradient_xy.transpose(1, 2), gradient_amplitudes, None


def _share(xy: Tensor, grid: RenderGrid) -> int:
    """Images to render at a time: all at once on a GPU, where every call costs the same."""
    return max(1, NUMBERS_IN_CACHE // (grid.size**2 + xy.shape[1])) if xy.device.type == "cpu" else len(xy)


def _splat(xy: Tensor, amplitudes: Tensor, size: int) -> Tensor:
    """Add points (b, n, 2) in pixels with amplitudes (c, n) to images: (b, c, size, size)."""
    first, fx, fy, inside = _corners(xy, size)
    image = xy.new_zeros(len(xy), len(amplitudes), size * size)
    for k, weights in enumerate(amplitudes):
        weight = weights * inside
        high = weight * fy
        for row, share in ((0, weight.sub_(high)), (size, high)):
            right = share * fx
            # one index serves all four pixels, in views that begin 0, 1, a row, and a row and 1 later
            image[:, k, row + 1 :].scatter_add_(1, first, right)
            image[:, k, row:].scatter_add_(1, first, share.sub_(right))
    return image.unflatten(-1, (size, size))


def _splat_backward(xy: Tensor, amplitudes: Tensor, images: Tensor, of_points: Tensor, of_amplitudes: Tensor | None) -> None:
    """Adjoint of `_splat`: gradients (b, c, size, size) of images -> those of points (b, 2, n), and added to (c, n)."""
    size = images.shape[-1]
    first, fx, fy, inside = _corners(xy, size)
    flat = images.flatten(-2)
    of_points.zero_()
    for k, weights in enumerate(amplitudes):
        at = [flat[:, k, start:].gather(1, first) for start in (0, 1, size, size + 1)]
        low_slope, high_slope = at[1].sub_(at[0]), at[3].sub_(at[2])  # along x in the two rows
        low, high = at[0].addcmul_(fx, low_slope), at[2].addcmul_(fx, high_slope)
        slope_y = high.sub_(low)
        weight = weights * inside
        of_points[:, 0].addcmul_(weight, torch.lerp(low_slope, high_slope, fy))
        of_points[:, 1].addcmul_(weight, slope_y)
        if of_amplitudes is not None:
            of_amplitudes[k] += low.addcmul_(fy, slope_y).mul_(inside).sum(0)


def _corners(xy: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Index (b, n) of the upper left of the four pixels around each point, the rest of x and y, and 1 inside the image, or 0."""
    x, y = (part.contiguous() for part in xy.unbind(-1))
    x0, y0 = x.floor().clamp_(0, size - 2), y.floor().clamp_(0, size - 2)
    fx, fy = x - x0, y - y0
    # a point outside the image leaves no trace, and gets no gradient
    inside = torch.minimum(fx * (1 - fx), fy * (1 - fy)) >= 0
    # a coordinate that is not a number has no index, but makes a weight that is none
    first = y0.mul_(size).add_(x0).long().clamp_(0, size * size - size - 2)
    return first, fx, fy, inside.to(xy.dtype)


class RenderGrid:
    """The pixel grid that projections to a number of terms are rendered on.

    Attributes
    ----------
    size
        Pixels per side, even and quick to transform. The box centre is at pixel size // 2.
    n_columns
        Columns kx = 0 .. of its transform that hold terms.
    index
        (q,) place of each term among these columns, (size, n_columns) flattened.
    factor
        (q,) complex: undoes the attenuation of the splat and counts phases from the box centre.
    """

    def __init__(self, band: Band, n_terms: int, oversampling: float) -> None:
        harmonics = band.harmonics[:n_terms]  # (q, 2) integer kx, ky
        highest = int(harmonics.abs().max())
        self.size = fast_size(math.ceil(2 * oversampling * (highest + 1)))
        self.n_columns = highest + 1
        self.index = harmonics[:, 1] % self.size * self.n_columns + harmonics[:, 0]
        attenuation = torch.sinc(harmonics.double() / self.size).square().prod(dim=1)
        sign = 1 - 2 * (harmonics.sum(1) % 2)  # exp(pi i (kx + ky)): half the size is the centre
        self.factor = torch.complex(sign / attenuation, torch.zeros_like(attenuation)).to(band.frequencies.dtype.to_complex())

    def terms(self, images: Tensor) -> Tensor:
        """Terms (b, c, q) of images (b, c, size, size)."""
        return rfft2_columns(images, self.n_columns).flatten(-2).index_select(-1, self.index).mul_(self.factor)

    def images(self, terms: Tensor) -> Tensor:
        """Adjoint of `terms`: (b, c, q) -> (b, c, size, size)."""
        columns = terms.new_zeros(*terms.shape[:-1], self.size * self.n_columns)
        columns.index_copy_(-1, self.index, terms * self.factor)
        return rfft2_columns_adjoint(columns.unflatten(-1, (self.size, self.n_columns)), self.size)


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
    """

    def __init__(self, band: Band, oversampling: float = 2.0) -> None:
        self.band = band
        self.oversampling = oversampling
        self._grids: dict[int, RenderGrid] = {}

    def grid(self, n_terms: int) -> RenderGrid:
        """The grid for the first `n_terms` of the band."""
        if n_terms not in self._grids:
            self._grids[n_terms] = RenderGrid(self.band, n_terms, self.oversampling)
        return self._grids[n_terms]

    def __call__(self, xy_angstroms: Tensor, amplitudes: Tensor, n_terms: int) -> Tensor:
        """Fourier terms of the projections of points.

        Parameters
        ----------
        xy_angstroms
            (b, n, 2) positions in the image plane, A from the box centre.
        amplitudes
            (c, n).
        n_terms
            The first q frequencies of the band.

        Returns
        -------
        Tensor
            (b, c, q) complex: sum_j amplitude_j exp(-2 pi i k x_j), as an unnormalised Fourier transform with its phase origin
            at the box centre.
        """
        grid = self.grid(n_terms)
        xy = xy_angstroms * (grid.size / self.band.box_length_angstroms) + grid.size // 2
        return _Render.apply(xy, amplitudes, grid)  # type: ignore[no-untyped-call]
