"""Where a map gained: the correlation of half maps in a soft window around each voxel, deformed minus rigid."""

from __future__ import annotations

import torch
from torch import Tensor

from jobtypes.common.fourier import frequencies_3d, irfft3, rfft3

_LONGEST_ANGSTROMS = 20.0  # features longer than this look alike in any map


def local_correlation(half_1: Tensor, half_2: Tensor, *, pixel_size_angstroms: float, window_pixels: float = 4.0) -> Tensor:
    """Correlation of half maps within a Gaussian window around each voxel, over details finer than 20 A.

    Parameters
    ----------
    half_1, half_2 : (N, N, N)
    pixel_size_angstroms
        Voxel size.
    window_pixels
        Standard deviation of the window.

    Returns
    -------
    (N, N, N) in -1 .. 1
    """
    box = half_1.shape[0]
    squared = frequencies_3d(box, pixel_size_angstroms, device=half_1.device, dtype=half_1.dtype).square().sum(-1)
    detail = 1 - torch.exp(-squared * _LONGEST_ANGSTROMS**2 / 2)
    window = torch.exp(-2 * torch.pi**2 * squared * (window_pixels * pixel_size_angstroms) ** 2)
    a, b = (irfft3(rfft3(volume) * detail, box) for volume in (half_1, half_2))
    cross, power_a, power_b = (irfft3(rfft3(product) * window, box) for product in (a * b, a * a, b * b))
    floor = 1e-6 * torch.maximum(power_a.max(), power_b.max())
    return cross / (power_a.clamp_min(floor) * power_b.clamp_min(floor)).sqrt().clamp_min(1e-30)


def local_gain(
    rigid: tuple[Tensor, Tensor], deformed: tuple[Tensor, Tensor], mask: Tensor, *, pixel_size_angstroms: float
) -> Tensor:
    """Local correlation of the deformed half maps minus that of the rigid ones, within the mask: (N, N, N)."""
    gain = local_correlation(*deformed, pixel_size_angstroms=pixel_size_angstroms) - local_correlation(
        *rigid, pixel_size_angstroms=pixel_size_angstroms
    )
    return gain * mask
