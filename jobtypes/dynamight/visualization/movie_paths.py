"""Ways through the latent space that the window makes movies of: states, and where they lie in the drawing. Free of Qt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.dynamight.visualization.half_view import HalfView, ShownState
from jobtypes.dynamight.visualization.trajectories import DRAWN_BY_HAND, smooth_path
from relion_jobs.contract.running_job import RunningJob


@dataclass(frozen=True)
class MoviePath:
    """A way through the latent space.

    Attributes
    ----------
    states : (F, D) A
        Coordinates along the main motions.
    drawn : (F, 2)
        The same in the drawing.
    name
        In words.
    """

    states: Tensor
    drawn: NDArray[np.float64]
    name: str

    def with_frames(self, n_frames: int) -> MoviePath:
        """The same way in another number of steps."""
        old, new = np.linspace(0, 1, len(self.drawn)), np.linspace(0, 1, n_frames)
        states = np.column_stack([np.interp(new, old, column) for column in self.states.numpy().T])
        drawn = np.column_stack([np.interp(new, old, column) for column in self.drawn.T])
        return MoviePath(torch.from_numpy(states).float(), drawn, self.name)


def along_stroke(view: HalfView, stroke: NDArray[np.float64], n_frames: int) -> MoviePath:
    """Along a stroke (m, 2) drawn with the mouse; UserError where it is a point."""
    drawn = smooth_path(stroke, n_frames, smoothing=DRAWN_BY_HAND)
    return MoviePath(view.session.states_at(view.reduction, drawn), drawn, "the trajectory")


def along_motion(view: HalfView, motion: int, n_frames: int) -> MoviePath:
    """Along a main motion, 0 for the largest, through where the particles are."""
    states = view.session.traversal(motion, n_frames)
    return MoviePath(states, view.drawn(states), f"main motion {motion + 1}")


def along_density(view: HalfView, first: int, last: int, n_frames: int) -> MoviePath:
    """Along the densest way between two stable states, counted from 1; UserError as `Overview.path`."""
    states = view.session.states_on(view.overview.path(first, last, n_frames))
    return MoviePath(states, view.drawn(states), f"the densest way from stable state {first} to {last}")


def shown_states(view: HalfView, path: MoviePath, level: float, job: RunningJob) -> list[ShownState]:
    """The states of a way, ready to be drawn; JobAborted where the user has enough of it."""
    shown = []
    for done, coordinates in enumerate(path.states, start=1):
        job.check_abort()
        shown.append(view.state_of(coordinates, level))
        job.progress("movie", done, len(path.states), "states")
    return shown
