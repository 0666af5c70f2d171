"""Smooth paths through points of the latent space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from relion_jobs.contract.errors import UserError

DRAWN_BY_HAND = 0.03  # smoothing of a path drawn with a mouse, as a share of its length
_FINE_STEPS = 1000


def smooth_path(points: NDArray[np.float64], n_frames: int, *, smoothing: float = 0.0) -> NDArray[np.float64]:
    """Go along a path in steps of equal length.

    Parameters
    ----------
    points : (c, d)
        Corners, in order. The path goes smoothly through all of them and never swings beyond them (monotone cubic, over the
        length of the straight path).
    n_frames
        Points F to return.
    smoothing
        Width of a Gaussian that is run along the path, as a share of its length, to take the tremor out of a hand-drawn one.

    Returns
    -------
    (F, d)
        Points of the path, its ends among them.

    Raises
    ------
    UserError
        Fewer than two different points or fewer than two frames.
    """
    corners = np.asarray(points, dtype=np.float64)
    corners = corners[np.r_[True, np.linalg.norm(np.diff(corners, axis=0), axis=1) > 0]] if len(corners) else corners
    if len(corners) < 2 or n_frames < 2:
        raise UserError(
            f"A trajectory needs at least 2 different points and 2 frames; found {len(corners)} point(s) and {n_frames} frame(s)."
        )
    along = _length_along(corners)
    fine = PchipInterpolator(along, corners)(np.linspace(0, along[-1], _FINE_STEPS))
    if smoothing:
        # continued through its ends, mirrored in each of them, so that they stay where they are
        mirrored = np.concatenate((2 * fine[:1] - fine[:0:-1], fine, 2 * fine[-1:] - fine[-2::-1]))
        fine = gaussian_filter1d(mirrored, smoothing * _FINE_STEPS, axis=0)[_FINE_STEPS - 1 : 2 * _FINE_STEPS - 1]
    along = _length_along(fine)
    steps = np.linspace(0, along[-1], n_frames)
    return np.column_stack([np.interp(steps, along, column) for column in fine.T])


def _length_along(points: NDArray[np.float64]) -> NDArray[np.float64]:
    along: NDArray[np.float64] = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    return along
