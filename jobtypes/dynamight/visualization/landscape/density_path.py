"""The way from one state to another where the density of states is highest.

A step costs its length over the density there, so that the way goes through populated states and takes no needless turns.
States that no particle is like cost as much as a thousandth of the largest density.

Source: Dijkstra 1959 for the cheapest way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from jobtypes.dynamight.visualization.landscape.deconvolution import Grid
from jobtypes.dynamight.visualization.landscape.stable_states import neighbours_of

_FLOOR = 1e-3  # of the largest density
_ROUNDING = 1.5  # cells, over which the corners of cells are taken off
_FINE = 400  # points on the way before it is divided evenly


def path_between(
    density: NDArray[np.float64], grid: Grid, ends: tuple[Sequence[float], Sequence[float]], n_states: int
) -> NDArray[np.float64]:
    """States (n_states, c) A, in equal steps, on the densest way from one place to another.

    Parameters
    ----------
    density : (cells...)
        On the grid.
    grid
        Cells along c coordinates.
    ends
        Both places (c,) A.
    n_states
        Of the way, with its ends.
    """
    points = grid.points().numpy()
    value = np.maximum(density.ravel(), _FLOOR * density.max())
    pairs = np.array([(cell, near) for cell, around in enumerate(neighbours_of(grid.shape)) for near in around])
    lengths = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    costs = lengths * (1 / value[pairs[:, 0]] + 1 / value[pairs[:, 1]]) / 2
    graph = coo_array((costs, (pairs[:, 0], pairs[:, 1])), shape=(len(points), len(points))).tocsr()
    start, goal = (int(np.square(points - np.asarray(place)).sum(1).argmin()) for place in ends)
    _, before = dijkstra(graph, indices=start, return_predecessors=True)
    way = [goal]
    while way[-1] != start:
        way.append(int(before[way[-1]]))
    corners = np.concatenate((ends[:1], points[way[::-1]][1:-1], ends[1:]))
    return _evenly(_rounded(_evenly(corners, _FINE), len(way)), n_states)


def _rounded(fine: NDArray[np.float64], cells: int) -> NDArray[np.float64]:
    """The same way without the corners of cells, its ends where they were."""
    width = _ROUNDING * len(fine) / max(cells, 1)
    straight = np.linspace(fine[0], fine[-1], len(fine))
    # what is left of a straight line is 0 at the ends, so that its odd continuation keeps them there
    away = fine - straight
    doubled = np.concatenate((-away[:0:-1], away, -away[-2::-1]))
    smooth = gaussian_filter1d(doubled, width, axis=0, mode="nearest")
    return np.asarray(straight + smooth[len(fine) - 1 : 2 * len(fine) - 1])


def _evenly(line: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    lengths = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))))
    wanted = np.linspace(0, lengths[-1], count)
    return np.stack([np.interp(wanted, lengths, line[:, axis]) for axis in range(line.shape[1])], axis=1)
