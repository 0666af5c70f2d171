"""Surfaces of maps: where they are, and which Gaussian a vertex belongs to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jobtypes.dynamight.visualization.state_surfaces import Mesh, contour, fine_contour

BOX, PIXEL, WIDTH = 20, 3.0, 6.0
CENTRE = np.array((5.0, -4.0, 2.5))


def ball() -> torch.Tensor:
    """A Gaussian off the middle of the box."""
    axis = (torch.arange(BOX) - BOX // 2) * PIXEL
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    squared = (x - CENTRE[0]) ** 2 + (y - CENTRE[1]) ** 2 + (z - CENTRE[2]) ** 2
    return torch.exp(-squared / (2 * WIDTH**2))


def test_the_surface_of_a_small_map_is_finer_and_truer_than_its_voxels() -> None:
    radius = WIDTH * np.sqrt(2 * np.log(2))
    coarse, fine = (make(ball(), PIXEL, 0.5) for make in (contour, fine_contour))
    errors = [np.abs(np.linalg.norm(mesh.vertices - CENTRE, axis=1) - radius).max() for mesh in (coarse, fine)]
    assert errors[1] < 0.5 * errors[0] < 0.3
    assert len(fine.vertices) > 3 * len(coarse.vertices)


def test_a_map_without_the_level_has_no_surface() -> None:
    assert len(fine_contour(ball(), PIXEL, 2.0).faces) == 0


def test_a_map_of_many_voxels_is_contoured_as_it_is() -> None:
    volume = torch.zeros(66, 66, 66)
    volume[30:36, 30:36, 30:36] = 1
    assert np.array_equal(fine_contour(volume, PIXEL, 0.5).vertices, contour(volume, PIXEL, 0.5).vertices)


def test_about_the_nearest_point_is_hardly_farther_than_the_nearest() -> None:
    generator = np.random.default_rng(0)
    points = generator.uniform(-30, 30, (400, 3))
    mesh = Mesh(generator.uniform(-32, 32, (5000, 3)).astype(np.float32), np.zeros((0, 3), np.int64))
    distances = np.linalg.norm(mesh.vertices[:, None] - points[None], axis=2)
    found = distances[np.arange(5000), mesh.about_nearest_of(torch.from_numpy(points))]
    spacing = 60 / 400 ** (1 / 3)
    assert (found - distances.min(1)).max() < np.sqrt(3) * spacing / 2
    assert (found - distances.min(1)).mean() < 0.06 * spacing


@pytest.mark.parametrize("count", [0, 1])
def test_few_vertices_have_a_nearest_point_too(count: int) -> None:
    mesh = Mesh(np.zeros((count, 3), np.float32), np.zeros((0, 3), np.int64))
    assert mesh.about_nearest_of(torch.tensor([[9.0, 9.0, 9.0], [1.0, 0.0, 0.0]])).tolist() == [1] * count
