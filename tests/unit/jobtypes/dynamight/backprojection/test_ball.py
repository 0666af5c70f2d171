from __future__ import annotations

import pytest
import torch

from jobtypes.dynamight.backprojection.ball import Ball
from jobtypes.dynamight.backprojection.slices import SlicePlane

BOXES = [4, 7, 12]


def points_of(ball: Ball) -> list[tuple[int, int, int]]:
    """(kx, ky, kz) of the points of a ball as they are stored, by the plain rule."""
    steps = [*range(ball.box), *range(-ball.box, 0)]
    reach = (ball.box + 3**0.5) ** 2
    return [(x, y, z) for x in range(ball.box + 1) for y in steps for z in steps if x * x + y * y + z * z <= reach]


@pytest.mark.parametrize("box", BOXES)
def test_a_ball_holds_the_points_within_reach_plane_by_plane(box):
    ball, points = Ball(box), torch.tensor(points_of(Ball(box)))
    assert len(ball) == len(points)
    assert torch.equal(ball.index(*points.T), torch.arange(len(ball)))
    torch.testing.assert_close(ball.radii(), points.double().norm(dim=1).float())
    for kx in range(box + 1):
        assert torch.equal(torch.nonzero(points[:, 0] == kx).flatten(), torch.arange(len(ball))[ball.of_plane(kx)])


@pytest.mark.parametrize("box", BOXES)
def test_every_neighbour_of_a_term_lies_in_the_ball(box):
    ball, plane = Ball(box), SlicePlane(box)
    turn = torch.linalg.qr(torch.randn(50, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0].float()
    places = (plane.cycles @ turn).reshape(-1, 3)
    places = torch.where(places[:, :1] < 0, -places, places)
    stored = {(x, y % (2 * box), z % (2 * box)) for x, y, z in points_of(ball)}
    for corner in torch.cartesian_prod(*[torch.arange(2)] * 3):
        x, y, z = (places.floor().long() + corner).T
        assert set(zip(x.tolist(), (y % (2 * box)).tolist(), (z % (2 * box)).tolist(), strict=True)) <= stored


@pytest.mark.parametrize("box", BOXES)
def test_the_mirrored_points_of_the_first_plane_are_the_opposite_ones(box):
    ball = Ball(box)
    points = torch.tensor([point for point in points_of(ball) if point[0] == 0])
    assert torch.equal(torch.cat((points, points))[ball.mirrored] % (2 * box), -points % (2 * box))


@pytest.mark.parametrize("box", BOXES)
def test_planes_and_the_whole_grid_hold_the_same_numbers(box):
    ball = Ball(box)
    values = torch.randn(len(ball), generator=torch.Generator().manual_seed(1))
    grid, points = ball.dense(values), torch.tensor(points_of(ball))
    assert torch.equal(grid[points[:, 2] % (2 * box), points[:, 1] % (2 * box), points[:, 0]], values)
    assert int((grid != 0).sum()) == len(ball)
    for kx in range(box + 1):
        assert torch.equal(ball.all_columns(ball.plane(values, kx).T, kx), grid[:, :, kx])
