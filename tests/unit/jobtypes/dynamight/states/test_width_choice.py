"""The width is that of the least bias and noise together."""

from __future__ import annotations

import pytest
import torch

from jobtypes.common.fourier import fsc, half_plane_weights, rfft3, shell_sum, shells_3d
from jobtypes.dynamight.backprojection.normal_equations import wiener_filter
from jobtypes.dynamight.states.width_choice import best, errors_of_means

BOX = 16


def candidates(bias: float, noise: tuple[float, ...] = (0.2, 0.6, 1.2)) -> list[dict[int, torch.Tensor]]:
    """Half maps, the widest first: the same truth, the widest with something wrong, and noise that grows."""
    generator = torch.Generator().manual_seed(2)
    axis = torch.arange(BOX) - BOX // 2
    ball = torch.exp(-(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) / 8.0) * 3
    wrong = [bias * ball.roll(3, 0), torch.zeros_like(ball), torch.zeros_like(ball)]
    return [
        {half: ball + shift + level * torch.randn(BOX, BOX, BOX, generator=generator) for half in (1, 2)}
        for shift, level in zip(wrong, noise, strict=True)
    ]


@pytest.mark.parametrize(("bias", "expected"), [(0.0, 0), (1.0, 1)])
def test_a_bias_that_is_larger_than_the_noise_asks_for_a_narrower_kernel(bias, expected):
    errors = errors_of_means(candidates(bias), torch.ones(BOX, BOX, BOX))
    assert best(errors) == expected


def test_the_error_is_that_of_the_filtered_mean_map_against_the_truth():
    several = [candidates(0.5)[k] for k in range(3)]
    truth = (candidates(0.0, (0.0,) * 3)[2])[1]
    expected = [wrong_over_noise(maps, truth, several[-1]) for maps in several]
    assert errors_of_means(several, torch.ones(BOX, BOX, BOX)) == pytest.approx(expected, abs=0.15)


def wrong_over_noise(maps: dict[int, torch.Tensor], truth: torch.Tensor, narrowest: dict[int, torch.Tensor]) -> float:
    """Power by which the filtered mean of half maps misses the truth, over the noise of the narrowest ones."""
    shells, weights = shells_3d(BOX), half_plane_weights(BOX, 3)
    wrong = rfft3(wiener_filter((maps[1] + maps[2]) / 2, fsc(maps[1], maps[2])) - truth).abs().square() * weights
    noise = rfft3(narrowest[1] - narrowest[2]).abs().square() * weights / 2
    return float((shell_sum(wrong, shells)[1:] / shell_sum(noise, shells)[1:]).mean())


def test_of_errors_alike_the_widest_is_taken():
    assert best([2.0, 1.0, 1.0]) == 1
    assert best([float("nan")]) == 0
