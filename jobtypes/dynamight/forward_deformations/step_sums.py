"""What the processes of a half set add up in a step, in one exchange: slopes, figures, the batch's motion, the wish to leave."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from jobtypes.common.team import Crew


class StepSums:
    """The exchange of a step.

    A wish to leave that comes up after a step is heard in the next one's, so that all processes leave after the same step.

    Parameters
    ----------
    crew
        The processes of the half set.
    parameters
        That are learned from all particles.
    """

    def __init__(self, crew: Crew, parameters: Sequence[Tensor]) -> None:
        self._crew, self._parameters = crew, parameters
        self._wish = self._heard = False

    def add_up(self, figures: Tensor, motion: Tensor | None) -> list[float]:
        """Add up figures (f,), the motion of Gaussians (n,) and the slopes of all parameters over the processes.

        Motion and slopes are changed in place; a parameter of which no process has a slope is left without. Returns the figures.
        """
        if self._crew.count == 1:
            return _numbers(figures)
        slopes = [torch.zeros_like(part) if part.grad is None else part.grad for part in self._parameters]
        has_slope = [float(part.grad is not None) for part in self._parameters]
        words = figures.new_tensor([float(self._wish), *has_slope])
        self._crew.sum_(figures, words, *slopes, *([] if motion is None else [motion]))
        values = _numbers(torch.cat((figures, words)))  # together: a GPU is waited for once
        wish, *has_slope = values[len(figures) :]
        self._heard = wish > 0
        for parameter, slope, owners in zip(self._parameters, slopes, has_slope, strict=True):
            parameter.grad = slope if owners > 0 else None
        return values[: len(figures)]

    def leaves(self, wish: bool) -> bool:
        """Whether all processes leave after this step; `wish`: whether this one wants to."""
        if self._crew.count == 1:
            return wish
        leaves, self._wish, self._heard = self._heard, wish and not self._heard, False
        return leaves

    def forget(self) -> None:
        """Let wishes go that were not heard in time: the epoch has ended, which is as good."""
        self._wish = self._heard = False


def _numbers(values: Tensor) -> list[float]:
    numbers: list[float] = values.tolist()
    return numbers
