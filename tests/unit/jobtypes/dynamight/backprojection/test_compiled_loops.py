"""Compiled loops against whole tensors in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.backprojection import compiled_loops, whole_tensors
from jobtypes.dynamight.backprojection.ball import Ball
from jobtypes.dynamight.backprojection.slices import SlicePlane

BOX = 9
BOXES = [4, 7, 12]


@pytest.fixture(params=[1, 3], autouse=True)
def _threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def moved_voxels() -> tuple[Tensor, Tensor, Tensor]:
    """Voxels, some of which leave the box, their displacements and a map."""
    generator = torch.Generator().manual_seed(0)
    support = torch.randperm(BOX**3, generator=generator)[:300].sort().values
    displacements = 4 * torch.randn(300, 3, generator=generator, dtype=torch.float64)
    displacements[:20] *= 10
    return support, displacements, torch.randn(BOX, BOX, BOX, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("order", ["linear", "cubic"])
@pytest.mark.parametrize(("precision", "error"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_voxels_are_read_and_spread_as_with_whole_tensors(order, precision, error):
    support, displacements, volume = moved_voxels()
    found = [torch.zeros(BOX, BOX, BOX, dtype=dtype) for dtype in (torch.float64, precision)]
    whole_tensors.spread_voxels(found[0], support, displacements, volume, order=order)
    slow = whole_tensors.read_voxels(support, displacements, volume, order=order), found[0]
    arguments = (support, displacements.to(precision), volume.to(precision))
    compiled_loops.spread_voxels(found[1], *arguments, order=order)
    fast = compiled_loops.read_voxels(*arguments, order=order), found[1]
    for ours, theirs in zip(fast, slow, strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < error


def test_terms_are_added_as_with_whole_tensors_in_double_precision():
    ball, plane, generator = Ball(BOX), SlicePlane(BOX), torch.Generator().manual_seed(3)
    rotations = euler_matrices(360 * torch.rand(5, 3, generator=generator, dtype=torch.float64))
    data = torch.randn(5, len(plane), generator=generator, dtype=torch.complex128)
    weights, factors = (torch.rand(*shape, len(plane), generator=generator, dtype=torch.float64) for shape in ((5,), ()))
    slow = torch.zeros(len(ball), 3, dtype=torch.float64)
    whole_tensors.insert_terms(slow, ball, data, weights, factors, rotations, plane.cycles.double())
    fast = torch.zeros(len(ball), 3)
    arguments = (data.to(torch.complex64), weights.float(), factors.float(), rotations.float(), plane.cycles)
    compiled_loops.insert_terms(fast, ball, *arguments)
    assert float((fast - slow).norm() / slow.norm()) < 1e-6


@pytest.mark.parametrize("box", BOXES)
def test_a_convolution_is_that_of_the_whole_padded_grid(box):
    ball, generator = Ball(box), torch.Generator().manual_seed(1)
    weights = torch.randn(len(ball), generator=generator, dtype=torch.float64).abs()
    weights[ball.of_plane(0)] += weights[ball.mirrored]  # as of slices: those of opposite points are the same
    volume = torch.randn(box, box, box, generator=generator, dtype=torch.float64)
    slow = whole_tensors.convolve(volume, weights, ball)
    torch.testing.assert_close(compiled_loops.convolve(volume, weights, ball), slow, rtol=1e-12, atol=1e-12)
    fast = compiled_loops.convolve(volume.float(), weights.float(), ball)
    assert float((fast - slow).norm() / slow.norm()) < 1e-6


@pytest.mark.parametrize("box", BOXES)
def test_a_plane_is_multiplied_by_its_points_and_by_nothing_outside(box):
    ball, generator = Ball(box), torch.Generator().manual_seed(2)
    values = torch.randn(len(ball), generator=generator)
    for kx in range(box + 1):
        plane = torch.randn(ball.plane(values, kx).shape, dtype=torch.complex64, generator=generator)
        expected = plane * ball.plane(values, kx)
        compiled_loops.multiply_plane(plane, values, ball, kx)
        torch.testing.assert_close(plane, expected)


def test_sums_do_not_depend_on_the_number_of_threads():
    support, displacements, volume = moved_voxels()
    found = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        result = torch.zeros(BOX, BOX, BOX)
        compiled_loops.spread_voxels(result, support, displacements.float(), volume.float(), order="cubic")
        found.append(result)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
