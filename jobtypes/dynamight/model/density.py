"""Gaussians -> map."""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor

from jobtypes.common.fourier import crop_spectrum_3d, frequencies_3d, irfft3, rfft3
from jobtypes.dynamight.model.gaussians import GaussianModel

_LARGEST_FINE_GRID = 320  # beyond it the splat uses the map's own grid: a finer one would take gigabytes


class DensityRenderer:
    """Map of Gaussians at given positions, on the scale of the particles: its projections are what the model predicts.

    The points are splatted, on a grid twice as fine where memory allows, the splat's attenuation is divided out, and each
    width's transfer function is applied in Fourier space, so that Gaussians narrower than a voxel come out right as well.
    What does not depend on the positions is computed once, for whoever renders many states.

    Parameters
    ----------
    gaussians
        Amplitudes and widths.
    box, pixel_size_angstroms
        Of the map.
    least_width_angstroms
        Narrower Gaussians are drawn with this standard deviation.
    oversampling
        1 splats on the map's own grid: several times faster, with aliases where Gaussians are narrower than a voxel.
    """

    @torch.no_grad()
    def __init__(
        self,
        gaussians: GaussianModel,
        box: int,
        pixel_size_angstroms: float,
        *,
        least_width_angstroms: float = 0.0,
        oversampling: int = 2,
    ) -> None:
        self.gaussians, self.box = gaussians, box
        self.fine = oversampling * box if oversampling * box <= _LARGEST_FINE_GRID else box
        self.length = box * pixel_size_angstroms
        cycles = frequencies_3d(box, 1.0, device=gaussians.positions.device)  # (N, N, N // 2 + 1, 3) per voxel
        squared = (cycles.square().sum(-1) / pixel_size_angstroms**2).flatten()
        missing = (least_width_angstroms**2 - gaussians.widths_angstroms.square()).clamp(min=0)  # (c,)
        transfer = gaussians.transfer(squared) * torch.exp(-2 * math.pi**2 * missing[:, None] * squared)  # (c, q)
        attenuation = torch.sinc(cycles * (box / self.fine)).pow(4).prod(-1)
        self.factors = transfer.view(-1, *attenuation.shape) / attenuation  # (c, N, N, N // 2 + 1)

    @torch.no_grad()
    def __call__(self, positions: Tensor, shares: Tensor | None = None) -> Tensor:
        """Map (N, N, N), order z y x, of the Gaussians at positions (n, 3) A from the box centre, order x y z.

        `shares` (n,): of each Gaussian's amplitude that is there; None: all of it.
        """
        voxels = positions * (self.fine / self.length) + self.fine // 2
        spectrum = torch.zeros(self.factors.shape[1:], dtype=torch.complex64, device=positions.device)
        for amplitudes, factor in zip(self.gaussians.class_amplitudes(), self.factors, strict=True):
            values = amplitudes if shares is None else amplitudes * shares
            points = splat_points(voxels, values, self.fine, cubic=True)
            spectrum += crop_spectrum_3d(rfft3(points), self.box) * factor
        return irfft3(spectrum, self.box)


def render_density(gaussians: GaussianModel, positions: Tensor, box: int, pixel_size_angstroms: float) -> Tensor:
    """Map (N, N, N) of the Gaussians at positions (n, 3) A, once; see `DensityRenderer`."""
    return DensityRenderer(gaussians, box, pixel_size_angstroms)(positions)


def splat_points(xyz_voxels: Tensor, values: Tensor, size: int, *, cubic: bool = False) -> Tensor:
    """Splat of points (m, 3), in voxels in the order x y z, with values (m,) on a grid (size, size, size) [z, y, x].

    Trilinear, or with cubic B-splines, whose Fourier transform is sinc^4 along each axis and whose aliases are ten times weaker.
    What falls outside the grid leaves no trace.
    """
    corner = xyz_voxels.floor()
    weights = _spline_weights(xyz_voxels - corner, cubic=cubic)  # (m, 3, w)
    steps = torch.arange(weights.shape[2], device=corner.device) - (1 if cubic else 0)
    voxels = corner.long()[:, :, None] + steps
    # neighbours outside count nothing, wherever they are put: to leave them out would take a mask for each place in the cube
    weights = weights.where((voxels >= 0) & (voxels < size), 0)
    (x, y, z), (along_x, along_y, along_z) = (
        of_axes.permute(1, 2, 0).contiguous()  # (3, w, m)
        for of_axes in (voxels.clamp(0, size - 1), weights)
    )
    grid = values.new_zeros(size**3)
    for dx, dy, dz in product(range(len(steps)), repeat=3):
        index = (z[dz] * size + y[dy]) * size + x[dx]
        grid.index_add_(0, index, along_x[dx] * along_y[dy] * along_z[dz] * values)
    return grid.view(size, size, size)


def _spline_weights(t: Tensor, *, cubic: bool) -> Tensor:
    """Weights (..., 2 or 4) of the neighbouring voxels of points at fractions t (...) of a voxel."""
    if not cubic:
        return torch.stack((1 - t, t), dim=-1)
    inner, outer = (3 * t**3 - 6 * t**2 + 4) / 6, (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6
    return torch.stack(((1 - t) ** 3 / 6, inner, outer, t**3 / 6), dim=-1)
