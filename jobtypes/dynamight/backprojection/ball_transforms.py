"""Inverse transforms of points of the ball: what they are of maps."""

from __future__ import annotations

import torch
from torch import Tensor

from jobtypes.common.fourier import rfft3
from jobtypes.dynamight.backprojection.backend import backend_for
from jobtypes.dynamight.backprojection.ball import Ball


def to_map(values: Tensor, ball: Ball) -> Tensor:
    """Inverse transform of complex points (p,) of the ball, a map (N, N, N) with its centre at voxel N // 2."""
    before = ball.box // 2

    def keep(lines: Tensor) -> Tensor:
        return torch.cat((lines[..., ball.size - before :], lines[..., : ball.box - before]), dim=-1)

    return backend_for(values.device).inverse_transform(values, ball, keep)


def optimal_circulant(weights: Tensor, ball: Ball) -> Tensor:
    """Eigenvalues (N, N, N // 2 + 1), >= 0, of the circulant on the box N that lies nearest to the convolution with weights (p,).

    Source: T. Chan 1988; along each axis c_j = ((N - j) t_j + j t_(j - N)) / N.
    """
    box = ball.box
    share = torch.arange(box, device=weights.device, dtype=torch.float64) / box

    def fold(lines: Tensor) -> Tensor:
        return torch.lerp(lines[..., :box], lines[..., box:], share.to(lines.dtype))

    values = torch.complex(weights, torch.zeros_like(weights))
    circulant = backend_for(weights.device).inverse_transform(values, ball, fold)
    return rfft3(circulant.roll((box // 2,) * 3, (0, 1, 2))).real.clamp_min(0)
