"""Transforms plane by plane against whole transforms in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from jobtypes.common.fourier import irfft3
from jobtypes.dynamight.backprojection.ball import Ball
from jobtypes.dynamight.backprojection.ball_transforms import optimal_circulant, to_map

BOXES = [4, 7, 12]


def random_values(ball: Ball, dtype: torch.dtype) -> Tensor:
    return torch.randn(len(ball), generator=torch.Generator().manual_seed(0), dtype=dtype)


def even_weights(ball: Ball) -> Tensor:
    """Weights as of slices: those of opposite points are the same."""
    weights = random_values(ball, torch.float64).abs()
    weights[ball.of_plane(0)] += weights[ball.mirrored]
    return weights


@pytest.mark.parametrize("box", BOXES)
def test_a_map_of_points_is_the_middle_of_the_whole_inverse_transform(box):
    ball = Ball(box)
    values = random_values(ball, torch.complex128)
    inner = slice(box - box // 2, 2 * box - box // 2)
    expected = irfft3(ball.dense(values), 2 * box)[inner, inner, inner]
    torch.testing.assert_close(to_map(values, ball), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("box", [4, 7])
def test_the_optimal_circulant_is_the_nearest_one(box):
    """Along each axis the mean of the diagonals of the Toeplitz matrix that a circulant joins."""
    ball = Ball(box)
    weights = even_weights(ball)
    kernel = torch.fft.irfftn(ball.dense(weights), s=(2 * box,) * 3)  # centre at 0
    for axis in range(3):
        lines = kernel.movedim(axis, 0)
        mean = [((box - j) * lines[j] + j * lines[(j - box) % (2 * box)]) / box for j in range(box)]
        kernel = torch.stack(mean).movedim(0, axis)
    expected = torch.fft.rfftn(kernel).real.clamp_min(0)
    torch.testing.assert_close(optimal_circulant(weights, ball), expected, rtol=1e-10, atol=1e-10)
