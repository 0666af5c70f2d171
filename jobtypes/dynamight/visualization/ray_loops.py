"""Rays cast at the surface of a map, in loops compiled for the CPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobtypes.dynamight.model.loops import compiled_loop

_Array = NDArray[Any]
BLOCK = 4  # voxels along each side of what is passed at once where it is empty


@compiled_loop
def _sample(volume: _Array, x: float, y: float, z: float) -> float:
    """Map (N, N, N) at a place in voxels, trilinear, 0 outside."""
    box = volume.shape[0]
    if not (x > -1 and y > -1 and z > -1 and x < box and y < box and z < box):
        return 0.0
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    fx, fy, fz = x - i, y - j, z - k
    if i >= 0 and j >= 0 and k >= 0 and i + 1 < box and j + 1 < box and k + 1 < box:
        near = (volume[k, j, i] * (1 - fx) + volume[k, j, i + 1] * fx) * (1 - fy) + (
            volume[k, j + 1, i] * (1 - fx) + volume[k, j + 1, i + 1] * fx
        ) * fy
        far = (volume[k + 1, j, i] * (1 - fx) + volume[k + 1, j, i + 1] * fx) * (1 - fy) + (
            volume[k + 1, j + 1, i] * (1 - fx) + volume[k + 1, j + 1, i + 1] * fx
        ) * fy
        return float(near * (1 - fz) + far * fz)
    total = 0.0
    for dz in range(2):
        for dy in range(2):
            for dx in range(2):
                if 0 <= i + dx < box and 0 <= j + dy < box and 0 <= k + dz < box:
                    share = (fx if dx else 1 - fx) * (fy if dy else 1 - fy) * (fz if dz else 1 - fz)
                    total += share * volume[k + dz, j + dy, i + dx]
    return total


@compiled_loop
def _place(rotation: _Array, centre: _Array, right: float, up: float, depth: float) -> tuple[float, float, float]:
    x = right * rotation[0, 0] + up * rotation[1, 0] + depth * rotation[2, 0] + centre[0]
    y = right * rotation[0, 1] + up * rotation[1, 1] + depth * rotation[2, 1] + centre[1]
    z = right * rotation[0, 2] + up * rotation[1, 2] + depth * rotation[2, 2] + centre[2]
    return x, y, z


@compiled_loop
def march(
    starts: _Array,
    ups: _Array,
    rights: _Array,
    volume: _Array,
    rotation: _Array,
    centre: _Array,
    empty_steps: _Array,
    level: float,
    end: float,
) -> None:
    """Put the depth at which each ray first crosses the surface in the place of where it starts; all in voxels.

    Parameters
    ----------
    starts : (r,)
        Depth towards the viewer. Becomes -inf where there is no crossing.
    ups, rights : (r,)
        Coordinates of the rays.
    volume : (N, N, N)
    rotation : (3, 3)
        Rows: right, up and towards the viewer in the map's frame.
    centre : (3,)
        x, y, z of the middle of the picture.
    empty_steps : (N / BLOCK, ...)
        From a place in each block, how many steps of one voxel in any direction lead to places below the level.
    level
        Density of the surface.
    end
        Depth at which rays end.
    """
    box = volume.shape[0]
    for ray in range(len(starts)):
        depth, previous = starts[ray], 0.0
        starts[ray] = -np.inf
        x, y, z = _place(rotation, centre, rights[ray], ups[ray], depth)
        leapt = False
        while depth > end:
            steps = 0
            if 0 <= x < box and 0 <= y < box and 0 <= z < box:
                steps = empty_steps[int(z) // BLOCK, int(y) // BLOCK, int(x) // BLOCK]
            if steps == 0:
                value = _sample(volume, x, y, z)
                if value >= level:
                    if leapt:
                        previous = _sample(volume, x + rotation[2, 0], y + rotation[2, 1], z + rotation[2, 2])
                    share = min(max((level - previous) / max(value - previous, 1e-12), 0.0), 1.0)
                    starts[ray] = depth + 1 - share
                    break
                previous = value
            leapt, steps = steps > 0, max(steps, 1)
            depth -= steps
            x, y, z = x - steps * rotation[2, 0], y - steps * rotation[2, 1], z - steps * rotation[2, 2]


@compiled_loop
def shade(
    depths: _Array,
    ups: _Array,
    rights: _Array,
    looks: _Array,
    volume: _Array,
    rotation: _Array,
    centre: _Array,
    extent: float,
    light: _Array,
    halfway: _Array,
    looks_of: _Array,
) -> None:
    """Light on the surface where rays cross it.

    Parameters
    ----------
    depths : (r,)
        From `march`; -inf: background.
    ups, rights, volume, rotation, centre
        As there.
    looks : (r, 2)
        Share of its own colour that each place shows, and gloss on top; 0 for the background.
    extent
        Side of the picture, voxels.
    light, halfway : (3,)
        Unit vectors, in the frame of the picture, to the light, and halfway between it and the viewer.
    looks_of : (5,)
        Ambient share, strength of the gloss, darkness of outlines, share of the light that is left farthest away, and sharpness
        of the gloss.
    """
    ambient, gloss, outline, fog = looks_of[0], looks_of[1], looks_of[2], looks_of[3]
    normal, slope = np.empty(3), np.empty(3)
    for ray in range(len(depths)):
        depth = depths[ray]
        looks[ray] = 0
        if depth == -np.inf:
            continue
        x, y, z = _place(rotation, centre, rights[ray], ups[ray], depth)
        slope[0] = _sample(volume, x - 1, y, z) - _sample(volume, x + 1, y, z)
        slope[1] = _sample(volume, x, y - 1, z) - _sample(volume, x, y + 1, z)
        slope[2] = _sample(volume, x, y, z - 1) - _sample(volume, x, y, z + 1)
        length = max(math.sqrt(slope[0] ** 2 + slope[1] ** 2 + slope[2] ** 2), 1e-12)
        lit = shine = 0.0
        for axis in range(3):
            normal[axis] = (rotation[axis, 0] * slope[0] + rotation[axis, 1] * slope[1] + rotation[axis, 2] * slope[2]) / length
            lit += normal[axis] * light[axis]
            shine += normal[axis] * halfway[axis]
        rim = (1 - min(max(normal[2], 0.0), 1.0)) ** 3  # darker outlines, as drawn by hand
        near = fog + (1 - fog) * min(max(depth / extent + 0.5, 0.0), 1.0)
        looks[ray, 0] = (ambient + (1 - ambient) * max(lit, 0.0)) * (1 - outline * rim) * near
        looks[ray, 1] = gloss * max(shine, 0.0) ** looks_of[4]
