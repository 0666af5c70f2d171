"""What carries a map along a tabulated field, in loops compiled for the CPU.

A table (G + LOW + HIGH, .., .., 3) holds the three numbers of a place side by side, so that places in a row are one stretch of
memory, with a border of zeros, so that no place around a point need be looked for outside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobtypes.dynamight.model.loops import compiled_loop

_Array = NDArray[Any]
LOW, HIGH = 1, 2  # places of the border before and after those that a table holds
# without a sign an index needs no test whether it counts from the end
_1, _2, _3, _4, _5 = (np.uintp(step) for step in range(1, 6))


@compiled_loop
def _read(flat: _Array, size: int, x: float, y: float, z: float) -> tuple[float, float, float]:
    """A table at a place in its places, trilinear; `flat` is the table (size, size, size, 3) in a row."""
    number = flat.dtype.type
    one, top = number(1), number(size - 2)
    x, y, z = min(max(x, number(0)), top), min(max(y, number(0)), top), min(max(z, number(0)), top)
    i, j, k = np.int64(x), np.int64(y), np.int64(z)
    fx, fy, fz = x - number(i), y - number(j), z - number(k)
    first, line, plane = np.uintp(3 * ((k * size + j) * size + i)), np.uintp(3 * size), np.uintp(3 * size * size)
    of_x = of_y = of_z = number(0)
    for dz in range(2):
        along_z, of_plane = (fz if dz else one - fz), first + np.uintp(dz) * plane
        for dy in range(2):
            share, at = along_z * (fy if dy else one - fy), of_plane + np.uintp(dy) * line
            before, after = share * (one - fx), share * fx
            of_x += before * flat[at] + after * flat[at + _3]
            of_y += before * flat[at + _1] + after * flat[at + _4]
            of_z += before * flat[at + _2] + after * flat[at + _5]
    return of_x, of_y, of_z


@compiled_loop
def read(points: _Array, values: _Array, table: _Array, cell: float) -> None:
    """Values (m, 3) at points (m, 3) from the middle of what a table holds; its cells are `cell` long."""
    flat, size, number = table.reshape(-1), table.shape[0], table.dtype.type
    scale, middle = number(1 / cell), number(LOW + (size - LOW - HIGH - 1) / 2)
    for i in range(len(points)):
        x, y, z = points[i, 0] * scale + middle, points[i, 1] * scale + middle, points[i, 2] * scale + middle
        values[i, 0], values[i, 1], values[i, 2] = _read(flat, size, x, y, z)


@compiled_loop
def read_slopes(points: _Array, slopes: _Array, table: _Array, cell: float) -> None:
    """Slopes (m, 3, 3), of each number by each direction, of what `read` finds, by differences over a cell."""
    flat, size, number = table.reshape(-1), table.shape[0], table.dtype.type
    scale, middle, half = number(1 / cell), number(LOW + (size - LOW - HIGH - 1) / 2), number(0.5)
    for i in range(len(points)):
        x, y, z = points[i, 0] * scale + middle, points[i, 1] * scale + middle, points[i, 2] * scale + middle
        for axis in range(3):
            dx, dy, dz = half * (axis == 0), half * (axis == 1), half * (axis == 2)
            after, before = _read(flat, size, x + dx, y + dy, z + dz), _read(flat, size, x - dx, y - dy, z - dz)
            slopes[i, 0, axis] = (after[0] - before[0]) * scale
            slopes[i, 1, axis] = (after[1] - before[1]) * scale
            slopes[i, 2, axis] = (after[2] - before[2]) * scale


@compiled_loop
def add_arriving(arriving: _Array, places: _Array, weights: _Array, displacements: _Array) -> None:
    """Add what points bring along to the eight voxels around where they arrive, trilinearly.

    Parameters
    ----------
    arriving : (N, N, N, 4)
        Changed in place: weight, and weight times displacement.
    places : (m, 3)
        x, y, z in voxels; what falls outside leaves no trace.
    weights : (m,)
    displacements : (m, 3)
    """
    box, number = arriving.shape[0], arriving.dtype.type
    for i in range(len(places)):
        x, y, z = places[i, 0], places[i, 1], places[i, 2]
        low_x, low_y, low_z = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
        fx, fy, fz = number(x - low_x), number(y - low_y), number(z - low_z)
        for dz in range(max(0, -low_z), min(2, box - low_z)):
            along_z = weights[i] * (fz if dz else number(1) - fz)
            for dy in range(max(0, -low_y), min(2, box - low_y)):
                along_yz = along_z * (fy if dy else number(1) - fy)
                for dx in range(max(0, -low_x), min(2, box - low_x)):
                    share, voxel = along_yz * (fx if dx else number(1) - fx), arriving[low_z + dz, low_y + dy, low_x + dx]
                    voxel[0] += share
                    voxel[1] += share * displacements[i, 0]
                    voxel[2] += share * displacements[i, 1]
                    voxel[3] += share * displacements[i, 2]
