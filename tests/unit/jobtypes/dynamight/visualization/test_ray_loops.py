"""Rays against a slow twin in float64: every step of every ray, with a sampler of whole tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from jobtypes.dynamight.visualization import ray_loops
from jobtypes.dynamight.visualization.surface import SurfaceCamera, _edges

BOX, PIXEL, EXTENT, PIXELS = 21, 2.0, 40.0, 72


def blobs() -> Tensor:
    """(N, N, N) map of a few pieces, with much empty space between them."""
    generator = torch.Generator().manual_seed(0)
    centres = 5 + (BOX - 10) * torch.rand(4, 3, generator=generator)
    grid = torch.stack(torch.meshgrid(*[torch.arange(BOX)] * 3, indexing="ij"), dim=-1)
    return torch.exp(-(grid[..., None, :] - centres).square().sum(-1) / 5).sum(-1)


def sample(volume: Tensor, points: Tensor) -> Tensor:
    """Map at points (..., 3) x, y, z in voxels, trilinear, 0 outside; float64."""
    grid = (2 * points / (BOX - 1) - 1).view(1, -1, 1, 1, 3)
    values = torch.nn.functional.grid_sample(volume[None, None].double(), grid, align_corners=True, padding_mode="zeros")
    return values.view(points.shape[:-1])


def camera(seed: int) -> SurfaceCamera:
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)))[0]
    return SurfaceCamera(turn, torch.tensor([1.0, -2.0, 0.5]), EXTENT, PIXELS)


def densities(camera: SurfaceCamera, volume: Tensor, depths: Tensor) -> Tensor:
    """Of the rays (s, s) at depths (s, s) A towards the viewer; float64."""
    side = len(depths)
    across = ((torch.arange(side) + 0.5) / side - 0.5).double() * EXTENT
    up, right = torch.meshgrid(-across, across, indexing="ij")
    places = torch.stack((right, up, depths.double()), dim=-1) @ camera.rotation.double()
    return sample(volume, (places + camera.centre_angstroms.double()) / PIXEL + BOX // 2)


def slow_depths(camera: SurfaceCamera, volume: Tensor, level: float, side: int) -> Tensor:
    """(s, s) A towards the viewer, -inf: no crossing."""
    found = torch.full((side, side), -torch.inf, dtype=torch.float64)
    for depth in torch.arange(EXTENT / 2 + 5 * PIXEL, -EXTENT / 2, -0.05, dtype=torch.float64):
        crossed = (densities(camera, volume, depth.expand_as(found)) >= level) & (found == -torch.inf)
        found[crossed] = depth
    return found


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_rays_find_the_surface_that_a_slow_march_finds(seed):
    volume, level = blobs(), 0.4
    found, seen, looks = camera(seed)._cast(volume, PIXEL, level)
    alone, four = (slow_depths(camera(seed), volume, level, side) for side in (PIXELS, 2 * PIXELS))
    four = four.view(PIXELS, 2, PIXELS, 2)
    edges = _edges(alone.float() / PIXEL)
    slow = torch.where(edges, four.amax((1, 3)), alone)
    drawn = torch.isfinite(found)
    assert float((seen - torch.isfinite(four).double().mean((1, 3))).abs().mean()) < 0.01
    both = drawn & torch.isfinite(slow)
    assert int((both & ~edges).sum()) > 100
    off = (found - slow)[both].abs()
    assert float(off.median()) < PIXEL / 20
    # a step of a voxel may pass over an edge that a ray grazes
    assert float((drawn != torch.isfinite(slow)).double().mean()) < 0.02
    assert float((off > PIXEL).double().mean()) < 0.02
    # how far off a grazing ray is depends on its slope, but the density is as straight within a step as its curvature lets it be:
    # that of a piece is 2 / 5 at most
    assert float((densities(camera(seed), volume, found)[drawn & ~edges] - level).abs().max()) < 2 / 5 / 8
    assert torch.equal(looks.abs().sum(-1) > 0, seen > 0)


def test_leaps_over_empty_blocks_change_nothing(monkeypatch):
    leaping, *_ = camera(3)._cast(blobs(), PIXEL, 0.4)
    nothing = torch.zeros(6, 6, 6, dtype=torch.int64)
    monkeypatch.setattr("jobtypes.dynamight.visualization.rays._empty_steps", lambda *_: nothing)
    stepping, *_ = camera(3)._cast(blobs(), PIXEL, 0.4)
    torch.testing.assert_close(leaping, stepping, rtol=0, atol=1e-4)


def test_light_falls_as_the_slope_of_the_density_says():
    """On a ball the normal is the direction from its centre."""
    axis = torch.arange(BOX) - BOX // 2
    volume = 8 - (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).float().sqrt()
    ups, rights = (along.flatten() for along in torch.meshgrid(*[torch.linspace(-3, 3, 7)] * 2, indexing="ij"))
    depths = torch.full((49,), 10.0)
    common = (volume, torch.eye(3), torch.full((3,), float(BOX // 2)))
    arrays = [part.numpy() for part in (depths, ups, rights, *common)]
    ray_loops.march(*arrays, np.zeros((6, 6, 6), np.int64), 2.0, -10.0)
    torch.testing.assert_close(depths, (36 - ups**2 - rights**2).sqrt(), rtol=0, atol=0.03)
    looks, light = torch.empty(49, 2), np.array([0.0, 0.0, 1.0], np.float32)
    ray_loops.shade(*arrays[:3], looks.numpy(), *arrays[3:], 20.0, light, light, np.array([0.2, 0.5, 0.0, 1.0, 2.0]))
    cosine = depths / 6
    torch.testing.assert_close(looks[:, 0], 0.2 + 0.8 * cosine, rtol=0, atol=0.02)
    torch.testing.assert_close(looks[:, 1], 0.5 * cosine**2, rtol=0, atol=0.02)
