"""Noise of images: white, or coloured like that of real micrographs."""

from __future__ import annotations

import torch
from torch import Tensor

from jobtypes.common import fourier

# Coloured noise falls from low frequency to a floor, as solvent and detector make it: at the origin 1 + RISE times the floor.
RISE = 6.0
CORNER_ANGSTROMS = 30.0


def noise_filter(kind: str, box: int, pixel_size_angstroms: float) -> Tensor:
    """Factor (N, N//2+1) that turns the spectrum of white noise into that of noise of the same variance.

    Parameters
    ----------
    kind
        ``white``, or ``coloured``: power proportional to 1 + RISE / (1 + (|k| CORNER)^2).
    box, pixel_size_angstroms
        N and the pixel size.
    """
    frequency = fourier.frequencies_2d(box, pixel_size_angstroms).norm(dim=-1)
    if kind == "white":
        return torch.ones_like(frequency)
    power = 1 + RISE / (1 + (frequency * CORNER_ANGSTROMS) ** 2)
    weights = fourier.half_plane_weights(box, 2)
    return torch.sqrt(power * weights.sum() / (power * weights).sum())


def noise_images(count: int, colour: Tensor, generator: torch.Generator) -> Tensor:
    """Images (count, N, N) of noise with variance 1 whose spectrum is coloured by `noise_filter`'s factor (N, N//2+1)."""
    box = colour.shape[0]
    white = torch.randn((count, box, box), generator=generator)
    if bool((colour == 1).all()):
        return white
    return fourier.irfft2(fourier.rfft2(white) * colour, box)
