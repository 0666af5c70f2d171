"""Where a map gained: the correlation of half maps in a soft window around each voxel, deformed minus rigid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jobtypes.common.fourier import frequencies_3d, irfft3, rfft3

NOTABLE = 0.05  # smaller differences of a correlation are not counted
_LONGEST_ANGSTROMS = 20.0  # features longer than this look alike in any map
WINDOW_PIXELS = 4.0


def local_correlation(
    half_1: Tensor, half_2: Tensor, *, pixel_size_angstroms: float, window_pixels: float = WINDOW_PIXELS
) -> Tensor:
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
    a, b = (detail(volume, pixel_size_angstroms) for volume in (half_1, half_2))
    cross, power_a, power_b = (window_mean(product, window_pixels) for product in (a * b, a * a, b * b))
    floor = 1e-6 * torch.maximum(power_a.max(), power_b.max())
    return cross / (power_a.clamp_min(floor) * power_b.clamp_min(floor)).sqrt().clamp_min(1e-30)


def detail(volume: Tensor, pixel_size_angstroms: float) -> Tensor:
    """What is finer than 20 A in a map (N, N, N)."""
    squared = _squared_frequencies(volume, pixel_size_angstroms)
    return irfft3(rfft3(volume) * (1 - torch.exp(-squared * _LONGEST_ANGSTROMS**2 / 2)), volume.shape[0])


def window_mean(volume: Tensor, window_pixels: float = WINDOW_PIXELS) -> Tensor:
    """Mean of a map (N, N, N) in a Gaussian window of this standard deviation around each voxel."""
    squared = _squared_frequencies(volume, 1.0)
    return irfft3(rfft3(volume) * torch.exp(-2 * torch.pi**2 * squared * window_pixels**2), volume.shape[0])


def _squared_frequencies(volume: Tensor, pixel_size_angstroms: float) -> Tensor:
    frequencies = frequencies_3d(volume.shape[0], pixel_size_angstroms, device=volume.device, dtype=volume.dtype)
    return frequencies.square().sum(-1)


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
            + (f", most around ({said_place(place)}) A from the box centre" if share > 0 else "")
            for word, share, place in parts
        ]
        return f"Where: the local correlation of the half maps {', and '.join(said)} (local_gain.mrc)."


def places(gain: Tensor, mask: Tensor, pixel_size_angstroms: float) -> Places:
    """Find where a `local_gain` (N, N, N) is notable within a mask (N, N, N)."""
    inside = mask > 0.5
    total = max(int(inside.sum()), 1)
    kept = torch.where(inside, gain, torch.zeros_like(gain))
    gained, lost = (float((sign * kept > NOTABLE).sum()) / total for sign in (1, -1))
    return Places(gained, lost, *(place_of_greatest(sign * kept, pixel_size_angstroms) for sign in (1, -1)))


def place_of_greatest(volume: Tensor, pixel_size_angstroms: float) -> tuple[float, ...]:
    """Place x, y, z in A from the box centre of the greatest value of a map (N, N, N)."""
    flat, box = int(volume.argmax()), volume.shape[0]
    return tuple((index - box // 2) * pixel_size_angstroms for index in (flat % box, flat // box % box, flat // box**2))


def said_place(place: tuple[float, ...]) -> str:
    """Say the coordinates of a place in whole A."""
    return ", ".join(f"{coordinate:.0f}" for coordinate in place)
