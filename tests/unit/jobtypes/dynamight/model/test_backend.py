"""Both backends do the same, at single and double precision, and every operation has its adjoint."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor

from jobtypes.dynamight.model.backend import COMPILED_LOOPS, WHOLE_TENSORS, Backend, backend_for

SMALL = 1e-4


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


@pytest.fixture(params=[1, 3])
def threads(request, monkeypatch) -> int:
    monkeypatch.setattr(torch, "get_num_threads", lambda: request.param)
    return request.param


precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def view(generator: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Seven particles of fifty points, some of them outside an image of 20 pixels, in two widths."""
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=dtype)  # noqa: E731
    return 6 * draw(7, 3, 50), draw(7, 2, 3) / 2, 10 + draw(7, 2), torch.rand(2, 50, generator=generator, dtype=dtype)


def assert_same(found: object, expected: object) -> None:
    """Within the rounding of their precision, over up to 350 terms of size 10 each."""
    for one, other in zip(found, expected, strict=True):
        rounding = torch.finfo(one.real.dtype).eps
        torch.testing.assert_close(one, other, rtol=1e3 * rounding, atol=1e4 * rounding)


@pytest.mark.parametrize(("device", "chosen"), [("cpu", COMPILED_LOOPS), ("cuda", WHOLE_TENSORS), ("cuda:1", WHOLE_TENSORS)])
def test_a_cpu_gets_compiled_loops_and_a_gpu_whole_tensors(device, chosen):
    assert backend_for(torch.device(device)) is chosen


@pytest.mark.parametrize("name", [name for name in vars(Backend) if not name.startswith("_")])
def test_an_operation_takes_the_same_in_both(name, backend):
    assert inspect.signature(getattr(type(backend), name)) == inspect.signature(getattr(Backend, name))


@precisions
@pytest.mark.usefixtures("threads")
def test_a_splat_is_the_same(generator, dtype):
    points, turns, shifts, amplitudes = view(generator, dtype)
    found, expected = (one.splat(points, turns, shifts, amplitudes, 18, 20) for one in (COMPILED_LOOPS, WHOLE_TENSORS))
    assert_same([found], [expected])
    assert 0 < float(found.sum()) < float(7 * amplitudes.sum())  # some are outside


@precisions
@pytest.mark.usefixtures("threads")
def test_its_adjoint_is_the_same(generator, dtype):
    given = view(generator, dtype)
    images = torch.randn(7, 2, 18, 20, generator=generator, dtype=dtype)
    assert_same(*(one.splat_adjoint(*given, images) for one in (COMPILED_LOOPS, WHOLE_TENSORS)))


@pytest.mark.usefixtures("threads")
def test_the_adjoint_of_a_splat_has_the_slope_of_finite_differences(generator, backend):
    points, turns, shifts, amplitudes = view(generator, torch.float64)
    images = torch.randn(7, 2, 18, 20, generator=generator, dtype=torch.float64)
    given, step = [points / 4, turns, shifts, amplitudes], 1e-7

    def product() -> float:
        return float((backend.splat(*given, 18, 20) * images).sum())

    for place, slope in enumerate(backend.splat_adjoint(*given, images)):
        direction, before, at = torch.randn(slope.shape, generator=generator).double(), product(), given[place]
        given[place] = at + step * direction
        assert (product() - before) / step == pytest.approx(float((slope * direction).sum()), rel=1e-4)
        given[place] = at


@pytest.mark.usefixtures("threads")
def test_occupied_rows_hold_the_whole_splat_and_its_adjoint(generator, backend):
    points, turns, shifts, amplitudes = view(generator, torch.float32)
    points /= 8  # all inside
    whole = backend.splat(points, turns, shifts, amplitudes, 20, 20)
    rows = COMPILED_LOOPS.occupied_rows(points, turns, shifts, 20)
    assert 0 < rows.start < rows.stop < 20
    from_row = shifts - torch.tensor([0.0, rows.start])
    strip = backend.splat(points, turns, from_row, amplitudes, len(rows), 20)
    torch.testing.assert_close(torch.nn.functional.pad(strip, (0, 0, rows.start, 20 - rows.stop)), whole)
    images = torch.randn(7, 2, 20, 20, generator=generator)
    of_strip = backend.splat_adjoint(points, turns, from_row, amplitudes, images[..., rows.start : rows.stop, :])
    of_whole = backend.splat_adjoint(points, turns, shifts, amplitudes, images)
    for found, expected in zip(of_strip, of_whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.usefixtures("threads")
def test_points_that_all_particles_share_are_given_once(generator, backend):
    points, turns, shifts, amplitudes = view(generator, torch.float64)
    shared, repeated = points[:1], points[:1].expand(7, -1, -1).contiguous()
    assert backend.occupied_rows(shared, turns, shifts, 20) == backend.occupied_rows(repeated, turns, shifts, 20)
    once, each = (backend.splat(p, turns, shifts, amplitudes, 20, 20) for p in (shared, repeated))
    assert torch.equal(once, each)
    images = torch.randn(7, 2, 20, 20, generator=generator, dtype=torch.float64)
    assert_same(*(backend.splat_adjoint(p, turns, shifts, amplitudes, images) for p in (shared, repeated)))


@precisions
@pytest.mark.usefixtures("threads")
def test_amplitudes_may_be_those_of_each_particle(generator, dtype, backend):
    points, turns, shifts, amplitudes = view(generator, dtype)
    of_each = amplitudes * torch.rand(7, 1, 50, generator=generator, dtype=dtype)
    together = backend.splat(points, turns, shifts, of_each, 18, 20)
    rows = range(7)
    alone = [backend.splat(points[[i]], turns[[i]], shifts[[i]], of_each[i], 18, 20) for i in rows]
    assert_same([together], [torch.cat(alone)])


@pytest.mark.parametrize("stray", [500.0, -500.0, float("nan")])
@pytest.mark.usefixtures("threads")
def test_a_point_outside_or_that_is_not_a_number_does_not_hide_the_others_or_itself(generator, stray, backend):
    points, turns, shifts, amplitudes = view(generator, torch.float32)
    points /= 4
    points[3, :, 7] = stray
    rows = backend.occupied_rows(points, turns, shifts, 20)
    assert rows.start == 0  # where such a point leaves its trace
    strip = backend.splat(points, turns, shifts, amplitudes, len(rows), 20)
    whole = backend.splat(points, turns, shifts, amplitudes, 20, 20)
    torch.testing.assert_close(strip.nansum((2, 3)), whole.nansum((2, 3)))
    assert bool(strip.isnan().any()) == (stray != stray)


@precisions
@pytest.mark.usefixtures("threads")
def test_images_are_read_alike(generator, dtype):
    points, turns, shifts, _ = view(generator, dtype)
    images = torch.randn(7, 20, 20, generator=generator, dtype=dtype)
    assert_same(*([one.interpolate(images, points[0], turns, shifts)] for one in (COMPILED_LOOPS, WHOLE_TENSORS)))


@pytest.mark.usefixtures("threads")
def test_images_are_read_where_a_splat_would_add(generator, backend):
    points, turns, shifts, _ = view(generator, torch.float64)
    images = torch.randn(7, 20, 20, generator=generator, dtype=torch.float64)
    splats = [backend.splat(points[:1], turns, shifts, one[None], 20, 20)[:, 0] for one in torch.eye(50).double()]
    found = backend.interpolate(images, points[0], turns, shifts)
    assert_same([found], [torch.einsum("bnyx,byx->bn", torch.stack(splats, dim=1), images)])


def test_a_point_on_the_last_pixel_is_inside_and_one_beyond_is_not(backend):
    points = torch.tensor([[3.0, 3.001], [2.0, 2.0], [0.0, 0.0]])[None]
    image = backend.splat(points, torch.eye(3)[None, :2], torch.zeros(1, 2), torch.tensor([[1.0, 5.0]]), 4, 4)[0, 0]
    assert image[2].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert float(image.sum()) == 1.0


@precisions
@pytest.mark.usefixtures("threads")
def test_picking_is_the_same_and_spreading_its_adjoint(generator, dtype, backend):
    draw = lambda *shape: torch.randn(*shape, 2, generator=generator, dtype=dtype)  # noqa: E731
    values, weights = torch.view_as_complex(draw(7, 2, 40)), torch.view_as_complex(draw(7, 2, 15))
    index = torch.randperm(40, generator=generator)[:15].int()
    factor = torch.rand(15, generator=generator, dtype=dtype)
    picked, spread = backend.pick(values, index, factor), backend.spread(weights, index, factor, 40)
    assert_same([picked], [values[..., index.long()] * factor])
    assert_same([(picked * weights.conj()).sum()], [(values * spread.conj()).sum()])
    assert int((spread == 0).sum()) == 7 * 2 * 25


def elastic(generator: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Points (5, 3, 9), lengths at rest and both ends of twelve edges; one point lies on another."""
    points = 5 * torch.randn(5, 3, 9, generator=generator, dtype=dtype)
    points[:, :, 8] = points[:, :, 0]
    first = torch.tensor([0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 2], dtype=torch.int32)
    second = torch.tensor([1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 0, 7], dtype=torch.int32)
    return points, torch.rand(12, generator=generator, dtype=dtype), first, second


@precisions
@pytest.mark.usefixtures("threads")
def test_changes_of_length_are_the_plain_formula(generator, dtype, backend):
    points, at_rest, first, second = elastic(generator, dtype)
    mean, forces = backend.change_of_length(points, at_rest, first, second, SMALL)
    vectors = points[:, :, first.long()] - points[:, :, second.long()]
    length = (vectors.square().sum(1) + SMALL).sqrt()
    slope = 2 * (length - at_rest) / length / len(first)
    assert_same([mean, forces], [(length - at_rest).square().mean(1), slope[:, None] * vectors])


@precisions
@pytest.mark.usefixtures("threads")
def test_forces_on_edges_add_up_to_the_gradient_by_the_points(generator, dtype, backend):
    points, at_rest, first, second = elastic(generator, dtype)
    points.requires_grad_()
    weights = torch.rand(5, generator=generator, dtype=dtype)
    length = ((points[:, :, first.long()] - points[:, :, second.long()]).square().sum(1) + SMALL).sqrt()
    (expected,) = torch.autograd.grad((weights * (length - at_rest).square().mean(1)).sum(), points)
    _, forces = backend.change_of_length(points.detach(), at_rest, first, second, SMALL)
    assert_same([backend.add_forces(forces, weights, first, second, 9)], [expected])


def test_no_edges_change_by_nothing(backend):
    nothing = torch.zeros(0, dtype=torch.int32)
    mean, forces = backend.change_of_length(torch.ones(2, 3, 4), torch.zeros(0), nothing, nothing, SMALL)
    assert mean.tolist() == [0.0, 0.0]
    assert backend.add_forces(forces, torch.ones(2), nothing, nothing, 4).abs().sum() == 0


@precisions
@pytest.mark.usefixtures("threads")
def test_the_power_of_residuals_is_the_plain_formula(generator, dtype, backend):
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=dtype)  # noqa: E731
    observed, projected = torch.complex(draw(5, 7), draw(5, 7)), torch.complex(draw(5, 7), draw(5, 7)).conj()
    transfer, weights, group = draw(5, 7), draw(3, 7).square(), torch.tensor([0, 2, 2, 0, 2])
    residual = observed - transfer * projected
    squared, weight, shares = residual.abs().square(), weights[group], draw(5).square()
    power = torch.stack([(shares[:, None] * squared)[group == g].sum(0) for g in range(3)])
    expected = (weight * squared).sum(1), weight * transfer * residual, power
    assert_same(backend.weighted_power(observed, projected, transfer, weights, group, shares), expected)
