"""Gaussians -> map."""

from __future__ import annotations

import torch
from torch import Tensor

from jobtypes.common.fourier import crop_spectrum_3d, frequencies_3d, irfft3, rfft3
from jobtypes.dynamight.model.gaussians import GaussianModel

_LARGEST_FINE_GRID = 320  # beyond it the splat uses the map's own grid: a finer one would take gigabytes


@torch.no_grad()
def render_density(gaussians: GaussianModel, positions: Tensor, box: int, pixel_size_angstroms: float) -> Tensor:
    """Map of the Gaussians at given positions, on the scale of the particles: its projections are what the model predicts.

    The points are splatted trilinearly on a grid twice as fine, the splat's sinc^2 is divided out, and each width's transfer
    function is applied in Fourier space, so that Gaussians narrower than a voxel come out right as well.

    Parameters
    ----------
    gaussians
        Amplitudes and widths.
    positions : (n, 3) A
        From the box centre, order x y z.
    box, pixel_size_angstroms
        Of the map.

    Returns
    -------
    (N, N, N), order z y x
    """
    fine = 2 * box if 2 * box <= _LARGEST_FINE_GRID else box
    length = box * pixel_size_angstroms
    cycles = frequencies_3d(box, 1.0, device=positions.device)  # (N, N, N // 2 + 1, 3) per voxel
    squared = (cycles.square().sum(-1) / pixel_size_angstroms**2).flatten()
    transfer = gaussians.transfer(squared)  # (c, q)
    spectrum = torch.zeros(cycles.shape[:-1], dtype=torch.complex64, device=positions.device)
    for amplitudes, factor in zip(gaussians.class_amplitudes(), transfer, strict=True):
        points = splat_points(positions * (fine / length) + fine // 2, amplitudes, fine)
        spectrum += crop_spectrum_3d(rfft3(points), box) * factor.view(spectrum.shape)
    attenuation = torch.sinc(cycles * (box / fine)).square().prod(-1)
    return irfft3(spectrum / attenuation, box)


def splat_points(xyz_voxels: Tensor, values: Tensor, size: int) -> Tensor:
    """Trilinear splat of points (m, 3), in voxels in the order x y z, with values (m,) on a grid (size, size, size) [z, y, x].

    Points outside the grid leave no trace.
    """
    corner = xyz_voxels.floor()
    fraction = xyz_voxels - corner
    corner = corner.long()
    grid = values.new_zeros(size**3)
    for dx, dy, dz in ((i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)):
        offset = torch.tensor((dx, dy, dz), device=corner.device)
        voxel = corner + offset
        weight = torch.where(offset.bool(), fraction, 1 - fraction).prod(1) * values
        inside = ((voxel >= 0) & (voxel < size)).all(1)
        index = (voxel[:, 2] * size + voxel[:, 1]) * size + voxel[:, 0]
        grid.index_add_(0, index[inside], weight[inside])
    return grid.view(size, size, size)
