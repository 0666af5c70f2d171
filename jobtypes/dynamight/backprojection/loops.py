"""Loops over voxels and Fourier points, compiled for the CPU; on a GPU the same is done with whole tensors.

Written with tensors, each of the 64 neighbours of a voxel or the eight of a Fourier term is a pass over memory of its own. Where
terms are added up, each thread owns a part of the result and skips what does not reach it, so that sums do not depend on how many
threads there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobtypes.dynamight.model.loops import compiled_loop

_Array = NDArray[Any]
_1, _2, _3 = np.uintp(1), np.uintp(2), np.uintp(3)  # without a sign an index needs no test whether it counts from the end


@compiled_loop
def multiply_plane(
    plane: _Array, values: _Array, starts: _Array, heads: _Array, counts: _Array, head_columns: int, skipped: int
) -> None:
    """Multiply a plane (columns, 2N, 2), real and imaginary, by values of the ball: see `ball.Ball`.

    Parameters
    ----------
    plane : (columns, 2N, 2)
        Changed in place.
    values : (p,)
        Of the whole ball.
    starts, heads, counts : (2N,)
        Of all columns of this plane.
    head_columns, skipped
        How many columns there are from ky = 0 on, and how many without points come after them.
    """
    size = plane.shape[1]
    for row in range(plane.shape[0]):
        ky = row if row < head_columns else row + skipped
        start, head, tail = starts[ky], heads[ky], counts[ky] - heads[ky]
        line = plane[row, :head]
        factors = values[start : start + head]
        for k in range(len(factors)):
            line[k, 0] *= factors[k]
            line[k, 1] *= factors[k]
        plane[row, head : size - tail] = 0
        line = plane[row, size - tail :]
        factors = values[start + head : start + head + tail]
        for k in range(len(factors)):
            line[k, 0] *= factors[k]
            line[k, 1] *= factors[k]


@compiled_loop
def _add_around(
    grid: _Array,
    place: tuple[float, float, float],
    term: tuple[float, float, float],
    planes: _Array,
    starts: _Array,
    heads: _Array,
    counts: _Array,
) -> None:
    """Add a term at a place x, y, z to the eight points around it, but those outside the planes kx from .. to before."""
    x, y, z = place
    number, size = grid.dtype.type, starts.shape[1]
    one = number(1)
    low_x, low_y, low_z = np.int64(np.floor(x)), np.int64(np.floor(y)), np.int64(np.floor(z))
    share_x, share_y, share_z = x - number(low_x), y - number(low_y), z - number(low_z)
    for dx in range(2):
        kx = low_x + dx
        if kx < planes[0] or kx >= planes[1]:
            continue
        of_x = share_x if dx else one - share_x
        for dy in range(2):
            ky = low_y + dy
            ky += size if ky < 0 else 0
            of_xy = of_x * (share_y if dy else one - share_y)
            start, head, skipped = starts[kx, ky], heads[kx, ky], size - counts[kx, ky]
            for dz in range(2):
                kz = low_z + dz
                kz += size if kz < 0 else 0
                at = start + (kz if kz < head else kz - skipped)
                share = of_xy * (share_z if dz else one - share_z)
                grid[at, 0] += share * term[0]
                grid[at, 1] += share * term[1]
                grid[at, 2] += share * term[2]


@compiled_loop
def insert_terms(
    bounds: _Array,
    grid: _Array,
    data: _Array,
    weights: _Array,
    factors: _Array,
    rotations: _Array,
    cycles: _Array,
    starts: _Array,
    heads: _Array,
    counts: _Array,
) -> None:
    """Add terms of slices, trilinearly, to the eight points of the ball around each.

    Parameters
    ----------
    bounds : (t, 2)
        First plane kx, and the one after the last, that are added to.
    grid : (p, 3)
        Real and imaginary part and weight of each point of the ball.
    data : (b, q, 2)
        Real and imaginary part of each term.
    weights : (b, q)
    factors : (q,)
        Of data and weights.
    rotations : (b, 3, 3)
    cycles : (q, 3)
        Places of the terms in the view frame; the third is 0.
    starts, heads, counts : (N + 1, 2N)
        See `ball.Ball`.
    """
    one = grid.dtype.type(1)
    for planes in bounds:
        for i in range(len(data)):
            turn = rotations[i]
            for j in range(len(cycles)):
                u, v = cycles[j, 0], cycles[j, 1]
                x = u * turn[0, 0] + v * turn[1, 0]
                mate = -one if x < 0 else one
                x *= mate
                if x + one < planes[0] or x >= planes[1]:
                    continue
                y, z = mate * (u * turn[0, 1] + v * turn[1, 1]), mate * (u * turn[0, 2] + v * turn[1, 2])
                term = data[i, j, 0] * factors[j], mate * data[i, j, 1] * factors[j], weights[i, j] * factors[j]
                _add_around(grid, (x, y, z), term, planes, starts, heads, counts)


@compiled_loop
def _weigh(place: float, box: int, cubic: bool, weights: _Array) -> int:
    """Weights (4,) of four voxels in a row around a place (cubic: Keys 1981 with a = -1/2), and which is the first of them.

    Near the ends of the box the row is shifted into it; what was outside has no weight.
    """
    number = weights.dtype.type
    low = np.floor(place)
    t = number(place - low)
    half, one = number(0.5), number(1)
    if cubic:
        weights[0] = ((-half * t + one) * t - half) * t
        weights[1] = (number(1.5) * t - number(2.5)) * t * t + one
        weights[2] = ((number(-1.5) * t + number(2)) * t + half) * t
        weights[3] = (half * t - half) * t * t
    else:
        weights[0] = weights[3] = 0
        weights[1], weights[2] = one - t, t
    first = np.int64(min(max(low, number(-4)), number(box + 4))) - 1
    for _ in range(-first):  # off the lower end
        weights[0], weights[1], weights[2], weights[3] = weights[1], weights[2], weights[3], number(0)
    for _ in range(first + 4 - box):  # off the upper end
        weights[0], weights[1], weights[2], weights[3] = number(0), weights[0], weights[1], weights[2]
    return 0 if first < 0 else box - 4 if first > box - 4 else int(first)


@compiled_loop
def read_voxels(support: _Array, displacements: _Array, values: _Array, volume: _Array, cubic: bool) -> None:
    """Read a map beside voxels.

    Parameters
    ----------
    support : (m,)
        Flat index of the voxels.
    displacements : (m, 3)
        x, y, z in voxels.
    values : (m,)
        What is found.
    volume : (N, N, N)
        At least four voxels wide.
    cubic
        Whether 64 neighbours count or eight.
    """
    box, number = volume.shape[0], volume.dtype.type
    flat = volume.reshape(-1)
    along_x, along_y, along_z = np.empty(4, volume.dtype), np.empty(4, volume.dtype), np.empty(4, volume.dtype)
    for i in range(len(support)):
        line = support[i] // box
        z = line // box
        first_x = _weigh(number(support[i] - line * box) + displacements[i, 0], box, cubic, along_x)
        first_y = _weigh(number(line - z * box) + displacements[i, 1], box, cubic, along_y)
        first_z = _weigh(number(z) + displacements[i, 2], box, cubic, along_z)
        first = (first_z * box + first_y) * box + first_x
        w0, w1, w2, w3 = along_x[0], along_x[1], along_x[2], along_x[3]
        total = number(0)
        for a in range(4):
            for b in range(4):
                at = np.uintp(first + (a * box + b) * box)
                of_row = flat[at] * w0 + flat[at + _1] * w1 + flat[at + _2] * w2 + flat[at + _3] * w3
                total += of_row * (along_z[a] * along_y[b])
        values[i] = total


@compiled_loop
def spread_voxels(result: _Array, planes: _Array, support: _Array, displacements: _Array, volume: _Array, cubic: bool) -> None:
    """Add voxels of a map to the neighbours of their places: the adjoint of `read_voxels`.

    Parameters
    ----------
    result : (n, N, N)
        Some planes of a map, which is added to.
    planes : (n,)
        Which they are, in a row.
    support, displacements, volume, cubic
        As there.
    """
    box, number = volume.shape[0], volume.dtype.type
    flat, source = result.reshape(-1), volume.reshape(-1)
    lowest, highest = planes[0], planes[-1]
    along_x, along_y, along_z = np.empty(4, volume.dtype), np.empty(4, volume.dtype), np.empty(4, volume.dtype)
    for i in range(len(support)):
        line = support[i] // box
        z = line // box
        first_z = _weigh(number(z) + displacements[i, 2], box, cubic, along_z)
        if first_z + 3 < lowest or first_z > highest:
            continue
        first_x = _weigh(number(support[i] - line * box) + displacements[i, 0], box, cubic, along_x)
        first_y = _weigh(number(line - z * box) + displacements[i, 1], box, cubic, along_y)
        w0, w1, w2, w3 = along_x[0], along_x[1], along_x[2], along_x[3]
        value = source[support[i]]
        for a in range(max(lowest - first_z, 0), min(highest - first_z, 3) + 1):
            first = ((first_z + a - lowest) * box + first_y) * box + first_x
            for b in range(4):
                at = np.uintp(first + b * box)
                share = value * (along_z[a] * along_y[b])
                flat[at] += share * w0
                flat[at + _1] += share * w1
                flat[at + _2] += share * w2
                flat[at + _3] += share * w3
