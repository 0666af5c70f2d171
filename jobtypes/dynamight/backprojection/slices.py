"""Fourier slices: where the pixels of a view lie in a padded Fourier grid, putting them in and reading them out.

A view's spectrum is a central slice of the map's (projection slice theorem), perpendicular to the viewing direction. On a grid
padded twice the slice is put in and read out trilinearly; what the triangle of this interpolation does in real space is divided
out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jobtypes.common.fourier import frequencies_2d, half_plane_weights, irfft3, rfft3
from jobtypes.common.padded_grid import PADDING, attenuation, read_at, trilinear


class SlicePlane:
    """The Fourier pixels of an image that lie inside the sphere that every view can fill.

    Parameters
    ----------
    box
        N.
    device
        Where everything is kept.

    Attributes
    ----------
    index : (q,) flat index of the pixels in the half plane (N, N // 2 + 1)
    cycles : (q, 3) their place in the view frame, in steps of the padded grid
    weights : (q,) how many terms of the full plane each stands for
    shells : (q,) their shell
    """

    def __init__(self, box: int, *, device: torch.device | str = "cpu") -> None:
        self.box = box
        cycles = frequencies_2d(box, 1.0 / box, device=device)  # (N, N // 2 + 1, 2) whole numbers
        radius = cycles.norm(dim=-1)
        # the Nyquist shell of an even box is not a full circle, so it stays out
        self.index = torch.nonzero((2 * radius < box).flatten()).squeeze(1)
        kept = cycles.reshape(-1, 2)[self.index] * PADDING
        self.cycles = torch.cat((kept, torch.zeros_like(kept[:, :1])), dim=1)  # (q, 3)
        self.weights = half_plane_weights(box, 2, device=device).flatten()[self.index]
        self.shells = radius.flatten()[self.index].round().long()

    def __len__(self) -> int:
        return len(self.index)

    def take(self, spectra: Tensor) -> Tensor:
        """(b, N, N // 2 + 1) -> (b, q)."""
        return spectra.flatten(1).index_select(1, self.index)

    def places(self, rotations: Tensor) -> tuple[Tensor, Tensor]:
        """Places of the pixels of views in the padded half space.

        Parameters
        ----------
        rotations : (b, 3, 3) A of each view, r_view = A r_map

        Returns
        -------
        tuple
            (b q, 3) coordinates x, y, z in steps of the padded grid, x >= 0; (b q,) bool, True where the Friedel mate is meant.
        """
        at = (self.cycles @ rotations).reshape(-1, 3)  # row vectors: (A^T k)^T = k^T A
        mate = at[:, 0] < 0
        return torch.where(mate[:, None], -at, at), mate


class SliceGrid:
    """Sum of slices on the padded grid: CTF-weighted data and squared CTFs.

    Memory: 12 bytes for each of the 2N * 2N * (N + 1) grid points.
    """

    def __init__(self, plane: SlicePlane) -> None:
        self.plane = plane
        self.size = PADDING * plane.box
        device = plane.cycles.device
        self.grid = torch.zeros(self.size * self.size * (self.size // 2 + 1), 3, device=device)  # real, imaginary, weight
        self.n_images = 0

    def insert(self, data: Tensor, weights: Tensor, rotations: Tensor) -> None:
        """Add views.

        Parameters
        ----------
        data : (b, q) complex, CTF times the centred image
        weights : (b, q) squared CTF
        rotations : (b, 3, 3)
        """
        places, mate = self.plane.places(rotations)
        data = (data * self.plane.weights).flatten()
        data = torch.where(mate, data.conj(), data)
        rows = torch.stack((data.real, data.imag, (weights * self.plane.weights).flatten()), dim=1)  # (b q, 3)
        for index, share in trilinear(places, self.size):
            self.grid.index_add_(0, index, rows * share[:, None])
        self.n_images += len(rotations)

    def numerator(self) -> Tensor:
        """Return b = sum P* C y as a map (N, N, N), but for the factor (2N)^3 that `kernel` lacks too."""
        spectrum = _hermitian(torch.view_as_complex(self.grid[:, :2].contiguous()), self.size)
        n = self.plane.box
        start = self.size // 2 - n // 2
        inner = slice(start, start + n)
        return irfft3(spectrum, self.size)[inner, inner, inner] / attenuation(self.size, self.grid.device)[inner, inner, inner]

    def kernel(self) -> Tensor:
        """Spectrum (2N, 2N, N + 1), real, of the kernel with which sum P* C^2 P convolves a map.

        Towards the corners of the doubled box the kernel is not known well (the interpolation's aliases are as large as
        the kernel itself), and there it only joins voxels at opposite ends of the box: it is faded out.
        """
        spectrum = _hermitian(self.grid[:, 2].to(torch.complex64), self.size)
        kernel = irfft3(spectrum, self.size)
        kernel = kernel / attenuation(self.size, kernel.device) * _fade(self.size, kernel.device)
        return rfft3(kernel).real.contiguous()


def read_slices(spectrum: Tensor, plane: SlicePlane, rotations: Tensor) -> Tensor:
    """Spectra of projections without CTF: (b, q) complex for views (b, 3, 3) of a map given by `padded_spectrum`."""
    places = (plane.cycles @ rotations).reshape(-1, 3)
    return read_at(spectrum, places, PADDING * plane.box).view(len(rotations), -1)


def _fade(size: int, device: torch.device | str) -> Tensor:
    """1 up to 3/8 of the grid from its centre along each axis, falling to 0 at its faces as a raised cosine."""
    distance = (torch.arange(size, device=device) - size // 2).abs() / size
    axis = 0.5 + 0.5 * torch.cos(torch.pi * ((distance - 0.375) / 0.125).clamp(0, 1))
    return axis[:, None, None] * axis[:, None] * axis


def _hermitian(flat: Tensor, size: int) -> Tensor:
    """Spectrum of the real part of what was inserted into the half space: (size, size, size // 2 + 1)."""
    half = flat.view(size, size, size // 2 + 1) * 0.5
    plane = half[:, :, 0]
    # on the plane x = 0 both a place and its mate may have been chosen
    half[:, :, 0] = plane + plane.flip((0, 1)).roll((1, 1), (0, 1)).conj()
    return half
