from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from jobtypes.dynamight.visualization.surface import SurfaceCamera, displacement_colours

BOX, PIXEL = 24, 2.0


def ball(centre: tuple[float, float, float], radius: float) -> torch.Tensor:
    """(N, N, N) map that is 1 at `radius` A from a centre (x, y, z) A, larger inside."""
    axis = (torch.arange(BOX) - BOX // 2) * PIXEL
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    distance = torch.stack((x - centre[0], y - centre[1], z - centre[2])).norm(dim=0)
    return 1 + (radius - distance) / radius


def camera(rotation: torch.Tensor | None = None) -> SurfaceCamera:
    return SurfaceCamera(torch.eye(3) if rotation is None else rotation, torch.zeros(3), 40.0, pixels=80)


def drawn(picture: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(picture.min(2) < 0.98)


def test_a_ball_is_drawn_as_a_disc_of_its_radius() -> None:
    area = drawn(camera().picture(ball((0, 0, 0), 10.0), PIXEL, 1.0)).sum() * (40 / 80) ** 2
    assert abs(area / (np.pi * 100) - 1) < 0.04


def test_x_points_right_and_y_up() -> None:
    rows, columns = np.nonzero(drawn(camera().picture(ball((8, 5, 0), 5.0), PIXEL, 1.0)))
    assert abs(columns.mean() - (40 + 16)) < 1
    assert abs(rows.mean() - (40 - 10)) < 1


def test_what_is_nearer_to_the_viewer_hides_what_is_behind() -> None:
    both = torch.maximum(ball((0, 0, 10), 5.0), ball((0, 0, -10), 5.0))
    points = torch.tensor([[0.0, 0, 10], [0, 0, 10], [0, 0, 10], [0, 0, 10], [0, 0, -10], [0, 0, -10], [0, 0, -10], [0, 0, -10]])
    colours = np.array([[1.0, 0, 0]] * 4 + [[0, 0, 1.0]] * 4)
    front = camera().picture(both, PIXEL, 1.0, points, colours)[40, 40]
    behind = camera(torch.diag(torch.tensor([1.0, -1, -1]))).picture(both, PIXEL, 1.0, points, colours)[40, 40]
    assert front[0] > front[2]
    assert behind[2] > behind[0]


def test_a_level_above_every_voxel_leaves_the_picture_white() -> None:
    assert not drawn(camera().picture(ball((0, 0, 0), 10.0), PIXEL, 99.0)).any()


def test_resting_parts_are_grey_and_the_largest_motion_darkest() -> None:
    colours = displacement_colours(torch.tensor([0.0, 5.0, 10.0]), 10.0)
    assert np.ptp(colours[0]) < 0.01
    assert colours.sum(1).argmin() == 2
