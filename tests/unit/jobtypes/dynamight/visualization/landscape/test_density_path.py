from __future__ import annotations

import numpy as np
import pytest

from jobtypes.dynamight.visualization.landscape.deconvolution import Grid
from jobtypes.dynamight.visualization.landscape.density_path import path_between


def test_the_way_goes_round_an_arc_and_not_across() -> None:
    grid = Grid((np.linspace(-6, 6, 49), np.linspace(-1, 6, 29)))
    points = grid.points().numpy()
    density = np.exp(-((np.linalg.norm(points, axis=1) - 5) ** 2) / 0.5).reshape(grid.shape)
    way = path_between(density, grid, ((-5, 0), (5, 0)), 21)
    assert np.allclose(way[[0, -1]], [(-5, 0), (5, 0)])
    assert np.linalg.norm(way, axis=1) == pytest.approx(5, abs=0.6)
    steps = np.linalg.norm(np.diff(way, axis=0), axis=1)
    assert steps == pytest.approx(steps.mean(), rel=0.1)


def test_where_all_is_alike_the_way_is_nearly_straight() -> None:
    grid = Grid((np.linspace(0, 10, 41), np.linspace(0, 10, 41)))
    way = path_between(np.ones(grid.shape), grid, ((1, 5), (9, 5)), 9)
    assert np.allclose(way[:, 1], 5, atol=0.2)


def test_along_one_motion_there_is_one_way() -> None:
    grid = Grid((np.linspace(-5, 5, 51),))
    way = path_between(np.ones(grid.shape), grid, ((-2.0,), (3.0,)), 6)
    assert way[:, 0] == pytest.approx([-2, -1, 0, 1, 2, 3], abs=0.05)
