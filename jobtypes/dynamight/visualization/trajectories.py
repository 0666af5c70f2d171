"""Smooth paths through given states."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from relion_jobs.contract.errors import UserError

_FINE_STEPS = 1000


def path_through(states: Tensor, n_frames: int) -> Tensor:
    """Go smoothly from state to state in steps of equal length.

    Parameters
    ----------
    states : (c, D) A
        Coordinates along the main motions, in the order in which they are visited.
    n_frames
        States F to return; the first and last are the ends of the path.

    Returns
    -------
    (F, D) A
        On a path through all of them that never swings beyond them (monotone cubic, over the length of the straight path).

    Raises
    ------
    UserError
        Fewer than two different states, or fewer than two frames.
    """
    corners = states.double().numpy()
    corners = corners[np.r_[True, np.linalg.norm(np.diff(corners, axis=0), axis=1) > 0]] if len(corners) else corners
    if len(corners) < 2 or n_frames < 2:
        raise UserError(
            f"A trajectory needs at least 2 different states and 2 frames; found {len(corners)} state(s) and {n_frames} frame(s)."
        )
    along = _length_along(corners)
    fine = PchipInterpolator(along, corners)(np.linspace(0, along[-1], _FINE_STEPS))
    along = _length_along(fine)
    steps = np.linspace(0, along[-1], n_frames)
    return torch.from_numpy(np.column_stack([np.interp(steps, along, column) for column in fine.T])).float()


def _length_along(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
