"""Compiled loops against whole tensors, which are what a GPU gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jobtypes.dynamight.model import loops, splatting


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


@pytest.fixture(params=[1, 3])
def threads(request, monkeypatch) -> int:
    monkeypatch.setattr(torch, "get_num_threads", lambda: request.param)
    return request.param


def view(generator: torch.Generator, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Seven particles of fifty points, some of them outside an image of 20 pixels, in two widths."""
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=dtype)  # noqa: E731
    return 6 * draw(7, 3, 50), draw(7, 2, 3) / 2, 10 + draw(7, 2), torch.rand(2, 50, generator=generator, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.usefixtures("threads")
def test_a_splat_is_that_of_whole_tensors(generator, dtype):
    points, turns, shifts, amplitudes = view(generator, dtype)
    found = splatting.splat(points, turns, shifts, amplitudes, 20)
    torch.testing.assert_close(found, splatting.splat_whole(points, turns, shifts, amplitudes, 20))
    assert 0 < float(found.sum()) < float(7 * amplitudes.sum())  # some are outside


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.usefixtures("threads")
def test_its_adjoint_is_that_of_whole_tensors(generator, dtype):
    given = view(generator, dtype)
    images = torch.randn(7, 2, 20, 20, generator=generator, dtype=dtype)
    for found, expected in zip(
        splatting.splat_adjoint(*given, images), splatting.splat_whole_adjoint(*given, images), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.usefixtures("threads")
def test_occupied_rows_hold_the_whole_splat_and_its_adjoint(generator):
    points, turns, shifts, amplitudes = view(generator, torch.float32)
    points /= 8  # all inside
    whole = splatting.splat(points, turns, shifts, amplitudes, 20)
    rows = splatting.occupied_rows(points, turns, shifts, 20)
    assert 0 < rows.start < rows.stop < 20
    strip = splatting.splat(points, turns, shifts, amplitudes, 20, rows)
    torch.testing.assert_close(torch.nn.functional.pad(strip, (0, 0, rows.start, 20 - rows.stop)), whole)
    images = torch.randn(7, 2, 20, 20, generator=generator)
    given = points, turns, shifts, amplitudes
    for found, expected in zip(
        splatting.splat_adjoint(*given, images[..., rows.start : rows.stop, :], rows),
        splatting.splat_adjoint(*given, images),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.usefixtures("threads")
def test_points_that_all_particles_share_are_given_once(generator, whole):
    points, turns, shifts, amplitudes = view(generator, torch.float64)
    splat = splatting.splat_whole if whole else splatting.splat
    adjoint = splatting.splat_whole_adjoint if whole else splatting.splat_adjoint
    shared, repeated = points[:1], points[:1].expand(7, -1, -1).contiguous()
    assert splatting.occupied_rows(shared, turns, shifts, 20) == splatting.occupied_rows(repeated, turns, shifts, 20)
    assert torch.equal(splat(shared, turns, shifts, amplitudes, 20), splat(repeated, turns, shifts, amplitudes, 20))
    images = torch.randn(7, 2, 20, 20, generator=generator, dtype=torch.float64)
    for once, each in zip(*(adjoint(p, turns, shifts, amplitudes, images) for p in (shared, repeated)), strict=True):
        torch.testing.assert_close(once, each)


@pytest.mark.parametrize("stray", [500.0, -500.0, float("nan")])
@pytest.mark.usefixtures("threads")
def test_a_point_outside_or_that_is_not_a_number_does_not_hide_the_others_or_itself(generator, stray):
    points, turns, shifts, amplitudes = view(generator, torch.float32)
    points /= 4
    points[3, :, 7] = stray
    rows = splatting.occupied_rows(points, turns, shifts, 20)
    assert rows.start == 0  # where such a point leaves its trace
    strip = splatting.splat(points, turns, shifts, amplitudes, 20, rows)
    whole = splatting.splat(points, turns, shifts, amplitudes, 20)
    torch.testing.assert_close(strip.nansum((2, 3)), whole.nansum((2, 3)))
    assert bool(strip.isnan().any()) == (stray != stray)


@pytest.mark.usefixtures("threads")
def test_images_are_read_as_whole_tensors_read_them_and_where_a_splat_would_add(generator):
    points, turns, shifts, _ = view(generator, torch.float64)
    images = torch.randn(7, 20, 20, generator=generator, dtype=torch.float64)
    found = splatting.interpolate(images, points[0], turns, shifts)
    torch.testing.assert_close(found, splatting.interpolate_whole(images, points[0], turns, shifts))
    everywhere = points[:1].expand(7, -1, -1).contiguous()
    splats = torch.stack(
        [splatting.splat(everywhere, turns, shifts, one[None], 20)[:, 0] for one in torch.eye(50).double()], dim=1
    )
    torch.testing.assert_close(found, torch.einsum("bnyx,byx->bn", splats, images))


def test_a_point_on_the_last_pixel_is_inside_and_one_beyond_is_not():
    points = torch.tensor([[3.0, 3.001], [2.0, 2.0], [0.0, 0.0]])[None]
    image = splatting.splat(points, torch.eye(3)[None, :2], torch.zeros(1, 2), torch.tensor([[1.0, 5.0]]), 4)[0, 0]
    assert image[2].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert float(image.sum()) == 1.0


def test_more_threads_than_particles_are_not_used(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    calls = loops.over_particles(lambda ones, factor: factor * len(ones), (torch.ones(3, 2),), 2.0)
    assert calls == [2.0, 2.0, 2.0]


def test_a_loop_works_where_no_folder_may_be_written(monkeypatch):
    compile_it = loops.numba.njit

    def njit(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return compile_it(**options)

    monkeypatch.setattr(loops.numba, "njit", njit)
    doubled = loops._loop(lambda values: values * 2)
    assert doubled(np.ones(2)).tolist() == [2.0, 2.0]


def test_a_loop_is_called_again_where_the_disk_has_no_room_to_keep_it():
    calls = []

    def loop(ones):
        calls.append(len(ones))
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        return len(ones)

    assert loops.over_particles(loop, (torch.ones(1, 2),)) == [1]
    assert calls == [1, 1]
