"""Where a map gained: the correlation of half maps in a soft window around each voxel, deformed minus rigid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jobtypes.common.fourier import frequencies_3d, irfft3, rfft3

_NOTABLE = 0.05  # smaller differences of a correlation are not counted
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


@dataclass(frozen=True)
class Places:
    """Where a map gained and lost.

    Attributes
    ----------
    gained, lost
        Share of the mask in which the local correlation rose, or fell, by more than 0.05.
    best_angstroms, worst_angstroms
        Place x, y, z in A from the box centre around which it rose, or fell, most.
    """

    gained: float
    lost: float
    best_angstroms: tuple[float, ...]
    worst_angstroms: tuple[float, ...]

    def sentence(self) -> str:
        """Say it in words."""
        parts = (("rose", self.gained, self.best_angstroms), ("fell", self.lost, self.worst_angstroms))
        said = [
            f"{word} in {100 * share:.0f} % of the mask"
            + (f", most around ({_place(place)}) A from the box centre" if share > 0 else "")
            for word, share, place in parts
        ]
        return f"Where: the local correlation of the half maps {', and '.join(said)} (local_gain.mrc)."


def places(gain: Tensor, mask: Tensor, pixel_size_angstroms: float) -> Places:
    """Find where a `local_gain` (N, N, N) is notable within a mask (N, N, N)."""
    inside = mask > 0.5
    total = max(int(inside.sum()), 1)
    kept = torch.where(inside, gain, torch.zeros_like(gain))
    gained, lost = (float((sign * kept > _NOTABLE).sum()) / total for sign in (1, -1))
    return Places(
        gained, lost, *(_voxel_place(int(at), gain.shape[0], pixel_size_angstroms) for at in (kept.argmax(), kept.argmin()))
    )


def _voxel_place(flat: int, box: int, pixel_size_angstroms: float) -> tuple[float, ...]:
    return tuple((index - box // 2) * pixel_size_angstroms for index in (flat % box, flat // box % box, flat // box**2))


def _place(place: tuple[float, ...]) -> str:
    return ", ".join(f"{coordinate:.0f}" for coordinate in place)
