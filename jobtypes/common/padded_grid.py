"""Reading and writing between the points of a Fourier grid that is padded twice.

What the triangle of the trilinear interpolation does in real space, a factor sinc(x / 2N)^2 along each axis, is `attenuation`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jobtypes.common.fourier import fft_lines, rfft_lines

PADDING = 2
_PLANES = 8  # so many complex numbers fill a line of the cache


def trilinear(places: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """Find the eight grid points around each place and its share in them.

    Parameters
    ----------
    places : (m, 3) x, y, z in grid steps; x in 0 .. size / 2, y and z in +- size / 2
    size
        Side of the full grid; the half space has size // 2 + 1 points along x.

    Returns
    -------
    list
        Eight pairs: (m,) flat index, (m,) share; the shares of a place sum to 1.
    """
    low = places.floor()
    high_share = places - low
    low_index = low.long()
    half = size // 2 + 1
    corners = []
    for dz in (0, 1):
        z = (low_index[:, 2] + dz) % size * (size * half)
        share_z = high_share[:, 2] if dz else 1 - high_share[:, 2]
        for dy in (0, 1):
            zy = z + (low_index[:, 1] + dy) % size * half
            share_zy = share_z * (high_share[:, 1] if dy else 1 - high_share[:, 1])
            for dx in (0, 1):
                share = share_zy * (high_share[:, 0] if dx else 1 - high_share[:, 0])
                corners.append((zy + (low_index[:, 0] + dx).clamp_max(half - 1), share))
    return corners


def read_at(spectrum: Tensor, places: Tensor, size: int) -> Tensor:
    """Values (m,) of a half space (size * size * (size // 2 + 1),) at places (m, 3) x, y, z in grid steps, x of either sign."""
    mate = places[:, 0] < 0
    total = torch.zeros(len(places), dtype=spectrum.dtype, device=spectrum.device)
    for index, share in trilinear(torch.where(mate[:, None], -places, places), size):
        total += spectrum[index] * share
    return torch.where(mate, total.conj(), total)


def attenuation(box: int, device: torch.device | str) -> Tensor:
    """Return what trilinear interpolation on the padded grid does to a map in real space: (N, N, N), 1 in the centre."""
    axis = torch.sinc((torch.arange(box, device=device) - box // 2) / (PADDING * box)).square()
    return axis[:, None, None] * axis[:, None] * axis


def padded_spectrum(volume: Tensor) -> Tensor:
    """Return the spectrum of a map (N, N, N), ready for `read_at`: flat (2N * 2N * (N + 1),) complex."""
    box = volume.shape[-1]
    size = PADDING * box
    lines = rfft_lines(_around_zero(volume / attenuation(box, volume.device), size), size)  # (N, N, N + 1)
    spectrum = lines.new_empty(size, size, box + 1)
    # a few planes of equal kx at a time, which stay in the processor's cache, and no transform of what is only padding
    for first in range(0, box + 1, _PLANES):
        planes = lines[..., first : first + _PLANES].permute(2, 0, 1).contiguous()
        planes = fft_lines(_around_zero(planes, size), size).transpose(1, 2)
        spectrum[..., first : first + _PLANES] = fft_lines(_around_zero(planes, size), size).permute(2, 1, 0)
    return spectrum.flatten()


def _around_zero(lines: Tensor, size: int) -> Tensor:
    """Lines (..., n) with their centre at n // 2 on longer ones (..., size) with their centre at 0, 0 elsewhere."""
    before = lines.shape[-1] // 2
    longer = lines.new_zeros(*lines.shape[:-1], size)
    longer[..., size - before :] = lines[..., :before]
    longer[..., : lines.shape[-1] - before] = lines[..., before:]
    return longer
