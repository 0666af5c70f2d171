from __future__ import annotations

import math

import pytest
import torch

from jobtypes.common.masks import raised_cosine, soft_circle


@pytest.mark.parametrize("box", [16, 17])
def test_a_circle_is_centred_flat_inside_and_zero_outside(box: int) -> None:
    mask = soft_circle(box, 4, 3)
    distance = torch.tensor([[math.hypot(y - box // 2, x - box // 2) for x in range(box)] for y in range(box)])
    assert mask[box // 2, box // 2] == 1
    assert (mask[distance <= 4] == 1).all()
    assert (mask[distance >= 7] == 0).all()
    assert mask[box // 2, box // 2 + 5] == pytest.approx(0.5 + 0.5 * math.cos(math.pi / 3))


def test_without_an_edge_the_mask_is_zero_or_one() -> None:
    assert soft_circle(9, 2, 0).unique().tolist() == [0, 1]


def test_the_profile_falls_by_half_in_the_middle_of_the_edge() -> None:
    assert raised_cosine(torch.tensor([12.5], dtype=torch.float64), 10, 5).item() == pytest.approx(0.5)
