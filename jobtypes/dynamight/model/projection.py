"""Points with amplitudes -> Fourier transforms of their projections."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from jobtypes.common.fourier import rfft2
from jobtypes.dynamight.model.observations import Band


class _Splat(torch.autograd.Function):
    """Bilinear splat of points onto pixel grids, with a hand-written backward pass (a gather at the same four pixels).

    Autograd through index arithmetic would keep about ten arrays of (b, n) alive; this keeps three.
    """

    @staticmethod
    def forward(ctx: Any, xy: Tensor, amplitudes: Tensor, size: int) -> Tensor:
        """Splat (b, n, 2) pixel coordinates with (c, n) amplitudes -> (b, c, size, size)."""
        b = len(xy)
        c = len(amplitudes)
        corner = xy.detach().floor().nan_to_num_().clamp_(0, size - 2)
        fraction = (xy.detach() - corner).clamp_(-1, 2)
        inside = ((fraction >= 0) & (fraction <= 1)).all(-1)  # a point outside the image leaves no trace
        corner = corner.long()
        first = corner[..., 1] * size + corner[..., 0]  # (b, n) flat index of the upper left pixel
        image = xy.new_zeros(b * c, size * size)
        image_of = torch.arange(b, device=xy.device)[:, None] * (c * size * size)
        fx, fy = fraction[..., 0], fraction[..., 1]
        for k in range(c):
            weight = amplitudes[k].detach() * inside
            low, high = weight * (1 - fy), weight * fy
            target = (image_of + k * size * size + first).flatten()
            flat = image.view(-1)
            flat.index_add_(0, target, (low * (1 - fx)).flatten())
            flat.index_add_(0, target + 1, (low * fx).flatten())
            flat.index_add_(0, target + size, (high * (1 - fx)).flatten())
            flat.index_add_(0, target + size + 1, (high * fx).flatten())
        ctx.save_for_backward(first, fraction, inside, amplitudes)
        ctx.size = size
        return image.view(b, c, size, size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradient (b, c, size, size) of the images -> gradients of coordinates and amplitudes."""
        first, fraction, inside, amplitudes = ctx.saved_tensors
        size = ctx.size
        b, c = gradient.shape[:2]
        fx, fy = fraction[..., 0], fraction[..., 1]
        gradient_xy = torch.zeros_like(fraction)
        gradient_amplitudes = torch.empty_like(amplitudes)
        for k in range(c):
            flat = gradient[:, k].reshape(b, -1)
            g00, g01 = flat.gather(1, first), flat.gather(1, first + 1)
            g10, g11 = flat.gather(1, first + size), flat.gather(1, first + size + 1)
            low, high = g00 + fx * (g01 - g00), g10 + fx * (g11 - g10)  # along x in the two rows
            weight = amplitudes[k] * inside
            gradient_xy[..., 0] += weight * ((1 - fy) * (g01 - g00) + fy * (g11 - g10))
            gradient_xy[..., 1] += weight * (high - low)
            gradient_amplitudes[k] = ((low + fy * (high - low)) * inside).sum(0)
        return gradient_xy, gradient_amplitudes, None


def splat(xy: Tensor, amplitudes: Tensor, size: int) -> Tensor:
    """Bilinear splat of points onto images.

    Parameters
    ----------
    xy
        (b, n, 2) coordinates in pixels, pixel 0 at 0.
    amplitudes
        (c, n) amplitudes, one image for each of c classes.
    size
        Pixels per side. Points outside the image leave no trace.

    Returns
    -------
    Tensor
        (b, c, size, size), order y x.
    """
    return _Splat.apply(xy, amplitudes, size)  # type: ignore[no-untyped-call]


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
        self._plans: dict[int, tuple[int, Tensor, Tensor]] = {}

    def _plan(self, n_terms: int) -> tuple[int, Tensor, Tensor]:
        """(pixels of the render grid, index of each frequency in its half plane, correction of the splat's attenuation)."""
        if n_terms not in self._plans:
            harmonics = self.band.harmonics[:n_terms]  # (q, 2) integer kx, ky
            highest = int(harmonics.abs().max())
            size = 2 * math.ceil(self.oversampling * (highest + 1))
            index = (harmonics[:, 1] % size) * (size // 2 + 1) + harmonics[:, 0]
            attenuation = torch.sinc(harmonics.double() / size).square().prod(dim=1)
            self._plans[n_terms] = (size, index, (1 / attenuation).to(self.band.frequencies.dtype))
        return self._plans[n_terms]

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
        size, index, correction = self._plan(n_terms)
        xy = xy_angstroms * (size / self.band.box_length_angstroms) + size // 2
        spectrum = rfft2(splat(xy, amplitudes, size)).flatten(-2)  # (b, c, size * (size // 2 + 1))
        return spectrum.index_select(-1, index) * correction
