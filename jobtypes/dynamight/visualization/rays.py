"""Rays cast at the surface of a map and the light on it: what `ray_loops` do, a share of the rays in each thread, on the CPU."""

from __future__ import annotations

import torch
from scipy.ndimage import distance_transform_cdt
from torch import Tensor

from jobtypes.dynamight.model.loops import over_particles
from jobtypes.dynamight.visualization import ray_loops

_LIGHT = (-0.45, 0.6, 0.66)  # from the upper left, towards the viewer
_LOOKS = (0.38, 0.16, 0.35, 0.75, 24.0)  # see `ray_loops.shade`


class SurfaceRays:
    """Rays at the surface of a map as a camera sees it; lengths in voxels, depths towards the viewer.

    Parameters
    ----------
    volume : (N, N, N)
        Map.
    level
        Density of the surface.
    rotation : (3, 3)
        Rows: right, up and towards the viewer in the map's frame.
    centre : (3,)
        x, y, z of the middle of the picture.
    extent
        Side of the picture, and how deep it is.
    """

    def __init__(self, volume: Tensor, level: float, rotation: Tensor, centre: Tensor, extent: float) -> None:
        self._seen = (volume, rotation, centre)
        self._surface = (_empty_steps(volume, level), level, -extent / 2)
        self._extent = extent

    def march(self, starts: Tensor, ups: Tensor, rights: Tensor) -> Tensor:
        """Depths (r,) at which rays from depths (r,) at coordinates (r,) first cross the surface; -inf: nowhere."""
        depths = starts.clone()
        over_particles(ray_loops.march, (depths, ups, rights), *self._seen, *self._surface)
        return depths

    def shade(self, depths: Tensor, ups: Tensor, rights: Tensor) -> Tensor:
        """Share of its own colour that each place at depths (r,) shows, and gloss on top: (r, 2), 0 for the background."""
        looks = torch.empty(len(depths), 2)
        light = torch.tensor(_LIGHT) / torch.tensor(_LIGHT).norm()
        halfway = light + torch.tensor((0.0, 0.0, 1.0))  # Blinn 1977
        constants = (self._extent, light, halfway / halfway.norm(), torch.tensor(_LOOKS))
        over_particles(ray_loops.shade, (depths, ups, rights, looks), *self._seen, *constants)
        return looks


def _empty_steps(volume: Tensor, level: float) -> Tensor:
    """See `ray_loops.march`: from a block, all steps but the last to the nearest block with density, d blocks away."""
    block = ray_loops.BLOCK
    # a place in a block is interpolated from its voxels and those next to it
    blocks = -(-volume.shape[0] // block)
    padded = torch.nn.functional.pad(volume, (0, block * blocks + 1 - volume.shape[0]) * 3, value=-torch.inf)
    highest = torch.nn.functional.max_pool3d(padded[None, None], block + 1, stride=block)[0, 0]
    if not (highest >= level).any():
        return torch.full(highest.shape, volume.shape[0])
    away = torch.from_numpy(distance_transform_cdt((highest < level).numpy(), metric="chessboard")).long()
    return torch.where(away > 0, (away - 1) * block + 1, torch.zeros_like(away))
