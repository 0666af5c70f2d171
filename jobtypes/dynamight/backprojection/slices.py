"""Fourier slices: where the pixels of a view lie in a padded Fourier grid, putting them in and reading them out.

A view's spectrum is a central slice of the map's (projection slice theorem), perpendicular to the viewing direction. On a grid
padded twice the slice is put in and read out trilinearly. What the triangle of this interpolation does in real space, a factor
sinc(x / 2N)^2 along each axis (`attenuation`), is divided out of a map whose slices are read.

What is put in are the normal equations of a least-squares problem: each term d of a slice, of weight w, speaks with its trilinear
shares t for the eight grid points k around it. The map V sought is that with the least sum of w t |d - S(k)|^2, where S is the
padded spectrum of the attenuated map a V: the attenuation stands with the map, for the shares smooth S as they smooth the data.
So the normal operator is a F* W F a with W(k) the sum of all w t: no weight is negative, hence the operator is not, whatever
views there are and however they leave gaps. To divide the attenuation out of W's kernel instead would describe projections more
closely where views are dense, but of few views it makes weights of either sign.

Where weights change fast from shell to shell, as squared CTFs do at low resolution, the terms around a grid point would lean to
the side of the greater weights. So t is a share times the expected density of weights at the grid point over that at the term.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jobtypes.common.fourier import convolve_padded, frequencies_2d, half_plane_weights, irfft3
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

    Parameters
    ----------
    plane
        Where terms lie.
    profile : (N // 2 + 1,)
        Expected weight of a term of each shell, above 0, such as the mean squared CTF; 1 if not given. All sums that belong
        together must have the same.
    """

    def __init__(self, plane: SlicePlane, profile: Tensor | None = None) -> None:
        self.plane = plane
        self._profile = torch.ones(plane.box // 2 + 1, device=plane.cycles.device) if profile is None else profile
        self._density = _density(self._profile, plane.cycles.norm(dim=1) / PADDING)  # (q,)
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
        multiplicity = self.plane.weights / self._density
        data = (data * multiplicity).flatten()
        data = torch.where(mate, data.conj(), data)
        rows = torch.stack((data.real, data.imag, (weights * multiplicity).flatten()), dim=1)  # (b q, 3)
        for index, share in trilinear(places, self.size):
            self.grid.index_add_(0, index, rows * share[:, None])
        self.n_images += len(rotations)

    def numerator(self) -> Tensor:
        """Right-hand side a F* of the data, a map (N, N, N), but for the factor (2N)^3 that `normal_operator` lacks too."""
        spectrum = _hermitian(torch.view_as_complex(self.grid[:, :2].contiguous()), self.size) * self._density_of_points()
        n = self.plane.box
        start = self.size // 2 - n // 2
        inner = slice(start, start + n)
        return irfft3(spectrum, self.size)[inner, inner, inner] * attenuation(n, self.grid.device)

    def weights(self) -> Tensor:
        """W (2N, 2N, N + 1), real and never negative."""
        return _hermitian(self.grid[:, 2], self.size) * self._density_of_points()

    def _density_of_points(self) -> Tensor:
        """(2N, 2N, N + 1)."""
        cycles = frequencies_2d(self.size, 1.0 / self.plane.box, device=self.grid.device)  # in steps of the box's grid
        squared, along_z = cycles.square().sum(-1), cycles[:, 0, 1]
        # plane by plane, for a grid of integers would be the largest thing in memory
        return torch.stack([_density(self._profile, (squared + z**2).sqrt()) for z in along_z])


def normal_operator(volume: Tensor, weights: Tensor) -> Tensor:
    """Apply a F* W F a to a map (N, N, N).

    Symmetric and not negative for any weights >= 0, for <V, a F* W F a V> is the sum of W |F a V|^2.

    Parameters
    ----------
    volume : (N, N, N)
    weights : (2N, 2N, N + 1)
        From `SliceGrid.weights`, or a sum of such.
    """
    attenuated = attenuation(volume.shape[0], volume.device)
    return attenuated * convolve_padded(attenuated * volume, weights)


def read_slices(spectrum: Tensor, plane: SlicePlane, rotations: Tensor) -> Tensor:
    """Spectra of projections without CTF: (b, q) complex for views (b, 3, 3) of a map given by `padded_spectrum`."""
    places = (plane.cycles @ rotations).reshape(-1, 3)
    return read_at(spectrum, places, PADDING * plane.box).view(len(rotations), -1)


def _density(profile: Tensor, radii: Tensor) -> Tensor:
    """Expected weights in a unit of space at radii (*S) in steps of the box's grid, to a factor; slices thin out as 1 / r."""
    at = radii.clamp_max(len(profile) - 1)
    low = at.long().clamp_max(len(profile) - 2)
    return torch.lerp(profile[low], profile[low + 1], at - low) / radii.clamp_min(1.0)


def _hermitian(flat: Tensor, size: int) -> Tensor:
    """Spectrum of the real part of what was inserted into the half space: (size, size, size // 2 + 1)."""
    half = flat.view(size, size, size // 2 + 1) * 0.5
    plane = half[:, :, 0]
    # on the plane x = 0 both a place and its mate may have been chosen
    half[:, :, 0] = plane + plane.flip((0, 1)).roll((1, 1), (0, 1)).conj()
    return half
