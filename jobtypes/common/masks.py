"""A soft mask with a raised-cosine edge, centred at pixel N // 2."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def soft_circle(box: int, radius_pixels: float, edge_pixels: float) -> Tensor:
    """Circle in an image: (N, N), 1 up to the radius, falling to 0 over `edge_pixels` beyond it."""
    axis = torch.arange(box, dtype=torch.float32) - box // 2
    return raised_cosine((axis[:, None].square() + axis.square()).sqrt(), radius_pixels, edge_pixels)


def raised_cosine(distances: Tensor, radius: float, edge: float) -> Tensor:
    """Profile 1 for distance <= radius, 0 for distance >= radius + edge, (1 + cos(pi (distance - radius) / edge)) / 2 between."""
    if edge <= 0:
        return (distances <= radius).to(distances.dtype)
    fall = ((distances - radius) / edge).clamp(0, 1)
    return 0.5 + 0.5 * torch.cos(math.pi * fall)
