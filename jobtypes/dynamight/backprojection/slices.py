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

from jobtypes.common.fourier import frequencies_2d, half_plane_weights
from jobtypes.common.padded_grid import PADDING, read_at
from jobtypes.common.products import product_in_full
from jobtypes.dynamight.backprojection.backend import backend_for
from jobtypes.dynamight.backprojection.ball import ball_of
from jobtypes.dynamight.backprojection.ball_transforms import to_map


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


class SliceGrid:
    """Sum of slices on the padded grid: CTF-weighted data and squared CTFs.

    Memory: 16 bytes for each of the points of the `ball.Ball`.

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
        device = plane.cycles.device
        self.ball, self._backend = ball_of(plane.box, device), backend_for(device)
        profile = torch.ones(plane.box // 2 + 1, device=device) if profile is None else profile
        self._factors = plane.weights / _density(profile, plane.cycles.norm(dim=1) / PADDING)  # (q,)
        # of the points; half, for of a point and its mate only one is stored, but both on the plane kx = 0
        self._halved_density = 0.5 * _density(profile, self.ball.radii() / PADDING)
        self.grid = torch.zeros(len(self.ball), 3, device=device)  # real, imaginary, weight

    def clear(self) -> None:
        """Begin anew."""
        self.grid.zero_()

    def insert(self, data: Tensor, weights: Tensor, rotations: Tensor) -> None:
        """Add views.

        Parameters
        ----------
        data : (b, q) complex, CTF times the centred image
        weights : (b, q) squared CTF
        rotations : (b, 3, 3)
        """
        self._backend.insert_terms(self.grid, self.ball, data, weights, self._factors, rotations, self.plane.cycles)

    def numerator(self) -> Tensor:
        """Right-hand side a F* of the data, a map (N, N, N), but for the factor (2N)^3 that `normal_operator` lacks too."""
        data = torch.view_as_complex(self.grid[:, :2] * self._halved_density[:, None])
        plane = self.ball.of_plane(0)
        # both a place and its mate may have been chosen there
        data[plane] = data[plane] + data[self.ball.mirrored].conj()
        return to_map(data, self.ball) * self.ball.attenuation

    def weights(self) -> Tensor:
        """W (p,) in the ball, real and never negative."""
        weights = self.grid[:, 2] * self._halved_density
        plane = self.ball.of_plane(0)
        weights[plane] = weights[plane] + weights[self.ball.mirrored]
        return weights


def normal_operator(volume: Tensor, weights: Tensor) -> Tensor:
    """Apply a F* W F a to a map (N, N, N).

    Symmetric and not negative for any weights >= 0, for <V, a F* W F a V> is the sum of W |F a V|^2.

    Parameters
    ----------
    volume : (N, N, N)
    weights : (p,)
        From `SliceGrid.weights`, or a sum of such.
    """
    ball = ball_of(volume.shape[0], volume.device)
    return backend_for(volume.device).convolve(ball.attenuation * volume, weights, ball).mul_(ball.attenuation)


def read_slices(spectrum: Tensor, plane: SlicePlane, rotations: Tensor) -> Tensor:
    """Spectra of projections without CTF: (b, q) complex for views (b, 3, 3) of a map given by `padded_spectrum`."""
    places = product_in_full(plane.cycles, rotations).reshape(-1, 3)
    return read_at(spectrum, places, PADDING * plane.box).view(len(rotations), -1)


def _density(profile: Tensor, radii: Tensor) -> Tensor:
    """Expected weights in a unit of space at radii (*S) in steps of the box's grid, to a factor; slices thin out as 1 / r."""
    at = radii.clamp_max(len(profile) - 1)
    low = at.long().clamp_max(len(profile) - 2)
    return torch.lerp(profile[low], profile[low + 1], at - low) / radii.clamp_min(1.0)
