"""Tables and what arrives at voxels, against whole tensors in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from jobtypes.dynamight.model.density import splat_points
from jobtypes.dynamight.visualization import carry_loops

_SIZE, _CELL, _BOX = 7, 2.5, 9
_BORDER = (carry_loops.LOW, carry_loops.HIGH) * 3


def _table() -> tuple[Tensor, Tensor]:
    """Values (3, G, G, G), and the table that holds them."""
    values = torch.randn(3, _SIZE, _SIZE, _SIZE, generator=torch.Generator().manual_seed(0))
    return values, torch.nn.functional.pad(values, _BORDER).permute(1, 2, 3, 0).contiguous()


def _points(reach: float, count: int = 500) -> Tensor:
    return 2 * reach * torch.rand(count, 3, generator=torch.Generator().manual_seed(1)) - reach


def _slow(values: Tensor, points: Tensor) -> Tensor:
    """(m, 3), 0 outside."""
    places = (points / (_CELL * (_SIZE - 1) / 2)).double().view(1, -1, 1, 1, 3)
    found = torch.nn.functional.grid_sample(values[None].double(), places, align_corners=True, padding_mode="zeros")
    return found.view(3, -1).T


def test_a_table_is_read_as_by_whole_tensors_and_is_0_outside():
    values, table = _table()
    points = _points(reach=15.0)  # the table ends at 7.5
    found = torch.empty_like(points)
    carry_loops.read(points.numpy(), found.numpy(), table.numpy(), _CELL)
    torch.testing.assert_close(found.double(), _slow(values, points), rtol=0, atol=1e-5)
    beyond = points.abs().amax(1) > 7.5 + _CELL
    assert beyond.any()
    assert not found[beyond].any()


def test_slopes_are_differences_over_a_cell():
    values, table = _table()
    points = _points(reach=10.0)
    found = torch.empty(len(points), 3, 3)
    carry_loops.read_slopes(points.numpy(), found.numpy(), table.numpy(), _CELL)
    steps = _CELL / 2 * torch.eye(3)
    expected = torch.stack([(_slow(values, points + step) - _slow(values, points - step)) / _CELL for step in steps], dim=2)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_what_arrives_is_shared_by_the_voxels_around():
    places, weights = _points(reach=7.0) + _BOX // 2, torch.rand(500)
    displacements = torch.randn(500, 3)
    arriving = torch.zeros(_BOX, _BOX, _BOX, 4)
    carry_loops.add_arriving(arriving.numpy(), places.numpy(), weights.numpy(), displacements.numpy())
    for at, values in enumerate((weights, *(weights[:, None] * displacements).T)):
        torch.testing.assert_close(arriving[..., at], splat_points(places, values, _BOX), rtol=0, atol=1e-5)
    assert 0 < float(arriving[..., 0].sum()) < float(weights.sum())
