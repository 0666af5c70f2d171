from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jobtypes.dynamight.backprojection.warp import Warp
from jobtypes.dynamight.backprojection.whole_tensors import axis_taps

ORDERS = st.sampled_from(["linear", "cubic"])
DIRECTIONS = st.sampled_from(["forward", "inverse"])


def random_warp(box: int, seed: int, reach: float, order: str, direction: str) -> Warp:
    generator = torch.Generator().manual_seed(seed)
    support = torch.randperm(box**3, generator=generator)[: box**3 // 2]
    moved = (torch.rand(len(support), 3, generator=generator, dtype=torch.float64) - 0.5) * 2 * reach
    return Warp(support, lambda: moved, box, order=order, direction=direction)


@given(box=st.integers(4, 9), seed=st.integers(0, 1000), reach=st.floats(0, 6), order=ORDERS, direction=DIRECTIONS)
@settings(max_examples=40, deadline=None)
def test_pull_is_the_exact_transpose_of_push(box, seed, reach, order, direction):
    warp = random_warp(box, seed, reach, order, direction)
    generator = torch.Generator().manual_seed(seed + 1)
    volume, other = (torch.randn(box, box, box, generator=generator, dtype=torch.float64) for _ in range(2))
    left, right = (warp.push(volume) * other).sum(), (volume * warp.pull(other)).sum()
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


@given(box=st.integers(4, 9), seed=st.integers(0, 1000), order=ORDERS, direction=DIRECTIONS)
@settings(max_examples=20, deadline=None)
def test_no_motion_is_the_identity_bit_for_bit(box, seed, order, direction):
    warp = random_warp(box, seed, 0.0, order, direction)
    volume = torch.randn(box, box, box, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert torch.equal(warp.push(volume), volume)
    assert torch.equal(warp.pull(volume), volume)


@given(seed=st.integers(0, 1000), order=ORDERS)
@settings(max_examples=20, deadline=None)
def test_pushing_keeps_the_mass_that_stays_in_the_box(seed, order):
    box = 12
    warp = random_warp(box, seed, 2.0, order, "forward")
    volume = torch.zeros(box, box, box, dtype=torch.float64)
    volume[4:8, 4:8, 4:8] = torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(warp.push(volume).sum(), volume.sum(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("step", [(1, 0, 0), (0, 2, 0), (0, 0, -1)])
def test_x_y_z_displacements_move_along_the_last_middle_and_first_axis(step):
    box = 6
    moved = torch.tensor(step, dtype=torch.float64).expand(box**3, 3)
    warp = Warp(torch.arange(box**3), lambda: moved, box)
    volume = torch.zeros(box, box, box, dtype=torch.float64)
    volume[3, 3, 3] = 1
    expected = volume.roll((step[2], step[1], step[0]), dims=(0, 1, 2))
    assert torch.equal(warp.push(volume), expected)


@given(st.floats(2, 5), st.floats(-1, 1), st.floats(-1, 1))
def test_cubic_taps_reproduce_quadratics_and_linear_taps_lines(position, slope, bend):
    at = torch.tensor([position], dtype=torch.float64)
    for order, curvature in (("linear", 0.0), ("cubic", bend)):
        index, weight = axis_taps(at, 9, order)
        value = float((weight * (slope * index.double() + curvature * index.double() ** 2)).sum())
        assert value == pytest.approx(slope * position + curvature * position**2, abs=1e-9)


@pytest.mark.parametrize("box", [9, 1290, 1291])
def test_taps_hold_the_flat_index_of_any_voxel(box):
    index, _ = axis_taps(torch.tensor([box - 1.0]), box, "linear")
    assert int((index * (box * box) + index * box + index).max()) == box**3 - 1
