"""The latent space in two dimensions, and the way back from a point of the drawing to a state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree
from torch import Tensor

from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.errors import UserError

REDUCTIONS = ("pca", "umap", "ica", "raw")
_NEIGHBOURS = 32  # particles whose mean gives the dimensions that are not drawn
_FAR = 0.04  # of the width of the drawing: farther from every particle there are no data
_STEPS, _TREMOR = 400, 0.03  # of a stroke: points that it is divided into, and the share of its length that is smoothed


@dataclass(frozen=True)
class PointedState:
    """The state at a point of the drawing.

    Attributes
    ----------
    coordinates : (D,) A
        Along the main motions.
    particle
        Nearest particle of the half set.
    inside
        False where no particle is near: the state is a guess.
    """

    coordinates: Tensor
    particle: int
    inside: bool


class LatentPlane:
    """Two dimensions of a session's latent space.

    Parameters
    ----------
    session
        The half set.
    reduction
        One of `REDUCTIONS`; ``raw`` are two of the latent's own dimensions.
    seed
        Of ica and umap.
    dimensions
        Which two, from 0, for ``raw`` (latent numbers) and ``pca`` (main motions).

    Raises
    ------
    UserError
        No such reduction or dimension, or umap-learn is missing.
    """

    def __init__(self, session: Session, reduction: str = "pca", *, seed: int = 1, dimensions: tuple[int, int] = (0, 1)) -> None:
        if reduction not in REDUCTIONS:
            raise UserError(f"Reduction '{reduction}' is not known; choose one of {', '.join(REDUCTIONS)}.")
        self.session, self.reduction, self.dimensions = session, reduction, dimensions
        self.points, self.labels = self._reduced(seed)
        ends = np.percentile(self.points, (0.5, 99.5), axis=0)
        self.scale = np.maximum(ends[1] - ends[0], 1e-9)  # (2,) width of the drawing
        self.tree = cKDTree(self.points / self.scale)

    def _reduced(self, seed: int) -> tuple[NDArray[np.float64], tuple[str, str]]:
        """Points (P, 2) and the labels of the axes."""
        first, second = self.dimensions
        if self.reduction == "raw":
            latents = self.session.part.latent_mean.cpu().double().numpy()
            if max(first, second) < latents.shape[1]:
                return latents[:, [first, second]], (f"latent {first + 1}", f"latent {second + 1}")
            if latents.shape[1] > 1:
                raise UserError(f"Latent {max(first, second) + 1} was asked for, but there are {latents.shape[1]}.")
        coordinates = self.session.coordinates.double().numpy()
        if self.reduction == "pca" and coordinates.shape[1] > max(first, second):
            return coordinates[:, [first, second]], (f"main motion {first + 1} (Å)", f"main motion {second + 1} (Å)")
        return self.session.embedding("pca" if self.reduction == "raw" else self.reduction, seed)

    def state_at(self, point: NDArray[np.float64]) -> PointedState:
        """State at a point (2,) of the drawing.

        Dimensions that are drawn are taken from the point where the drawing is a projection (main motions, raw latents); all
        others, and all of them in other drawings, are the mean of the particles around it, the nearest counting most.
        """
        point = np.asarray(point, dtype=np.float64)
        count = min(_NEIGHBOURS, len(self.points))
        distance, near = (np.atleast_1d(found) for found in self.tree.query(point / self.scale, k=count))
        weight = np.exp(-0.5 * ((distance - distance[0]) / max(distance[count // 4], 1e-9)) ** 2)
        share = torch.from_numpy(weight / weight.sum()).float()
        drawn, exact = list(self.dimensions), torch.from_numpy(point).float()
        latents, coordinates = self.session.part.latent_mean.cpu(), self.session.coordinates
        state = share @ coordinates[near]
        if self.reduction == "raw" and latents.shape[1] > max(drawn):
            latent = share @ latents[near]
            latent[drawn] = exact
            state = self.session.latent_state(latent)
        elif self.reduction == "pca" and coordinates.shape[1] > max(drawn):
            state[drawn] = exact
        return PointedState(state, int(near[0]), bool(distance[0] <= _FAR))

    def states_along(self, stroke: NDArray[np.float64], n_frames: int) -> tuple[Tensor, NDArray[np.float64]]:
        """States (F, D) along a stroke (m, 2) drawn by hand, and the smooth path (F, 2) in the drawing that they lie on."""
        path = smooth_path(stroke / self.scale, n_frames) * self.scale
        return torch.stack([self.state_at(point).coordinates for point in path]), path


def smooth_path(stroke: NDArray[np.float64], n_frames: int) -> NDArray[np.float64]:
    """Points (F, 2) at equal distances along a stroke (m, 2), freed from the tremor of the hand; the ends stay.

    Raises
    ------
    UserError
        The stroke has no length, or fewer than two frames are wanted.
    """
    if n_frames < 2:
        raise UserError(f"A movie of {n_frames} frame(s) was asked for; give at least 2.")
    even = _at_equal_distances(stroke, _STEPS)
    # mirrored through its ends, so that they stay where they are
    mirrored = np.concatenate((2 * even[:1] - even[:0:-1], even, 2 * even[-1:] - even[-2::-1]))
    smooth = gaussian_filter1d(mirrored, _TREMOR * _STEPS, axis=0)[_STEPS - 1 : 2 * _STEPS - 1]
    return _at_equal_distances(smooth, n_frames)


def _at_equal_distances(points: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    along = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))))
    if along[-1] <= 0:
        raise UserError("The trajectory has no length; draw a line across the particles.")
    wanted = np.linspace(0, along[-1], count)
    return np.column_stack([np.interp(wanted, along, column) for column in points.T])
