"""Soft masks with a raised-cosine edge, centred at pixel N // 2."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def soft_circle(
    box: int,
    radius_pixels: float,
    edge_pixels: float,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Circle in an image: (N, N), 1 up to the radius, falling to 0 over `edge_pixels` beyond it."""
    return _soft_ball(box, radius_pixels, edge_pixels, ndim=2, device=device, dtype=dtype)


def soft_sphere(
    box: int,
    radius_pixels: float,
    edge_pixels: float,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Sphere in a volume: (N, N, N), 1 up to the radius, falling to 0 over `edge_pixels` beyond it."""
    return _soft_ball(box, radius_pixels, edge_pixels, ndim=3, device=device, dtype=dtype)


def raised_cosine(distances: Tensor, radius: float, edge: float) -> Tensor:
    """Profile 1 for distance <= radius, 0 for distance >= radius + edge, (1 + cos(pi (distance - radius) / edge)) / 2 between."""
    if edge <= 0:
        return (distances <= radius).to(distances.dtype)
    fall = ((distances - radius) / edge).clamp(0, 1)
    return 0.5 + 0.5 * torch.cos(math.pi * fall)


def _soft_ball(
    box: int, radius: float, edge: float, *, ndim: int, device: torch.device | str | None, dtype: torch.dtype
) -> Tensor:
    axis = torch.arange(box, device=device, dtype=dtype) - box // 2
    squares = torch.stack(torch.meshgrid(*(axis,) * ndim, indexing="ij")).square().sum(0)
    return raised_cosine(squares.sqrt(), radius, edge)
