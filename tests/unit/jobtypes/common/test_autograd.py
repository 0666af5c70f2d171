from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from jobtypes.common.autograd import apply


class _Scaled(torch.autograd.Function):
    """A gradient that is not the slope, so that one sees whose it is."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> tuple[Tensor, Tensor]:
        return factor * values, values.clone()

    @staticmethod
    def backward(ctx: Any, of_scaled: Tensor, of_copy: Tensor) -> tuple[Tensor | None, ...]:
        return 100 * of_scaled + of_copy, None


def test_a_function_is_called_with_its_own_backward_pass() -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    scaled, copy = apply(_Scaled, values, 3.0)
    (scaled + copy).sum().backward()
    assert scaled.tolist() == [3.0, 6.0]
    assert values.grad is not None
    assert values.grad.tolist() == [101.0, 101.0]


def test_a_missing_argument_is_refused() -> None:
    with pytest.raises(TypeError):
        apply(_Scaled, torch.ones(2))  # type: ignore[call-arg]
