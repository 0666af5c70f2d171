"""Loops over the Gaussians of every particle, compiled for the CPU; on a GPU the same is done with whole tensors.

Written with tensors, a splat of a few thousand points takes a dozen passes over memory; a loop takes two or three, with
everything in the core's own cache. Every loop works on a share of the particles, and `over_particles` gives one to each thread.
They come in single and double precision.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_Array = NDArray[Any]
# sums may be reordered; numbers that are none must stay what they are, for they stop a training
FAST_MATH = {"reassoc", "contract", "arcp", "nsz"}


def _loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop on its first call; kept on disk where one may write, which saves a second or two of the next start."""
    try:
        return _compiled(function, cache=True)
    except RuntimeError:  # neither this folder nor the user's may be written
        return _compiled(function)


def _compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    compiled: Callable[..., Any] = numba.njit(nogil=True, error_model="numpy", fastmath=FAST_MATH, **options)(function)
    return compiled


def _put_into_its_caller(function: Callable[..., Any]) -> Callable[..., Any]:
    """Before both are compiled: by itself the function would be compiled with its sums in another order."""
    return _compiled(function, inline="always")


def over_particles(loop: Callable[..., Any], particles: tuple[Tensor, ...], *common: Tensor | float) -> list[Any]:
    """Call a loop on shares of the particles side by side, one for each thread of torch.

    Parameters
    ----------
    loop
        Takes the arrays of its particles, then those of all.
    particles
        Tensors (b, ...) on the CPU, cut along the particles; one of (1, ...) is that of all.
    common
        What every call gets as it is.

    Returns
    -------
    list
        What each call returned.
    """
    b = max(len(tensor) for tensor in particles)
    arrays = [tensor.detach().numpy() for tensor in particles]
    rest = [value.detach().numpy() if isinstance(value, Tensor) else value for value in common]
    threads = max(1, min(torch.get_num_threads(), b))
    if threads == 1:
        return [_call(loop, *arrays, *rest)]
    bounds = [b * k // threads for k in range(threads + 1)]

    def share(first: int, last: int) -> Any:
        return _call(loop, *(array if len(array) == 1 else array[first:last] for array in arrays), *rest)

    return list(_pool(threads).map(share, bounds[:-1], bounds[1:]))


def _call(loop: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return loop(*arguments)
    except OSError:  # it is compiled, but the disk has no room to keep it
        return loop(*arguments)


compiled_loop = _loop  # for the loops of other rooms


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="loop")


@_compiled
def _place(
    points: _Array,
    turn: _Array,
    shift: _Array,
    height: int,
    width: int,
    first: _Array,
    fx: _Array,
    fy: _Array,
    inside: _Array,
) -> None:
    """Pixel of points (3, n) seen through turn (2, 3) and shift (2,): see `splat`. Without branches, for wide registers.

    `first` (n,) is the index of the upper left of the four pixels around each point, fx and fy the rest of x and y, and
    `inside` 1, or 0 for a point outside the image, which leaves no trace.
    """
    number = points.dtype.type
    zero, one, bottom, right = number(0), number(1), number(height - 1), number(width - 1)
    t00, t01, t02, sx = turn[0, 0], turn[0, 1], turn[0, 2], shift[0]
    t10, t11, t12, sy = turn[1, 0], turn[1, 1], turn[1, 2], shift[1]
    last_line, last_column, row = np.int32(height - 2), np.int32(width - 2), np.int32(width)
    for j in range(points.shape[1]):
        x = t00 * points[0, j] + t01 * points[1, j] + t02 * points[2, j] + sx
        y = t10 * points[0, j] + t11 * points[1, j] + t12 * points[2, j] + sy
        within = (x >= zero) & (x <= right) & (y >= zero) & (y <= bottom)
        nothing = zero * (x + y)  # a coordinate that is not a number makes a weight that is none
        inside[j] = one if within else nothing
        x, y = (x if within else zero), (y if within else zero)
        column, line = min(np.int32(x), last_column), min(np.int32(y), last_line)
        fx[j], fy[j] = x - number(column), y - number(line)
        first[j] = line * row + column


@_loop
def rows(points: _Array, turns: _Array, shifts: _Array, size: int) -> _Array:
    """First and last row (2,) of images that points (b, 3, n) fall in, seen as by `splat`; the first where one falls outside."""
    number, whole = points.dtype.type, np.int32
    zero, end = number(0), number(size)
    first, last = whole(size - 1), whole(0)
    for i in range(len(turns)):
        seen, t0, t1, t2, shift = points[i % len(points)], turns[i, 1, 0], turns[i, 1, 1], turns[i, 1, 2], shifts[i, 1]
        for j in range(seen.shape[1]):
            y = t0 * seen[0, j] + t1 * seen[1, j] + t2 * seen[2, j] + shift
            row = whole(y if (y >= zero) & (y < end) else zero)
            first, last = min(first, row), max(last, row)
    return np.array((first, last))


@_loop
def splat(points: _Array, turns: _Array, shifts: _Array, amplitudes: _Array, images: _Array, width: int) -> None:
    """Add points, bilinearly, to images that are cleared first.

    Parameters
    ----------
    points : (b, 3, n)
        Or (1, 3, n) where all have the same.
    turns : (b, 2, 3)
        Of all points: a point p is at pixel (x, y) = turn p + shift.
    shifts : (b, 2) pixels
        Added to that.
    amplitudes : (b, c, n)
        Of the points, in each channel; or (1, c, n) where all have the same.
    images : (b, c, height width)
        Rows of x: the result.
    width
        Pixels of a row.
    """
    n = points.shape[2]
    first = np.empty(n, np.int32)
    fx, fy, inside = np.empty(n, points.dtype), np.empty(n, points.dtype), np.empty(n, points.dtype)
    for i in range(len(turns)):
        _place(points[i % len(points)], turns[i], shifts[i], images.shape[2] // width, width, first, fx, fy, inside)
        of_channels = amplitudes[i % len(amplitudes)]
        for c in range(len(of_channels)):
            image, weights = images[i, c], of_channels[c]
            image[:] = 0
            for j in range(n):
                at = first[j]
                low = weights[j] * inside[j]
                high = low * fy[j]
                low -= high
                low_right, high_right = low * fx[j], high * fx[j]
                image[at] += low - low_right
                image[at + 1] += low_right
                image[at + width] += high - high_right
                image[at + width + 1] += high_right


@_put_into_its_caller
def _place_adjoint(
    points: _Array, turn: _Array, along_x: _Array, along_y: _Array, of_points: _Array, of_turn: _Array, of_shift: _Array
) -> None:
    """Gradients of what `_place` takes, from those of the pixel (n,) along x and y of each point."""
    t00, t01, t02, t10, t11, t12 = turn[0, 0], turn[0, 1], turn[0, 2], turn[1, 0], turn[1, 1], turn[1, 2]
    s00 = s01 = s02 = s10 = s11 = s12 = sx = sy = points.dtype.type(0)
    for j in range(points.shape[1]):
        x, y = along_x[j], along_y[j]
        of_points[0, j] = t00 * x + t10 * y
        of_points[1, j] = t01 * x + t11 * y
        of_points[2, j] = t02 * x + t12 * y
        s00 += x * points[0, j]
        s01 += x * points[1, j]
        s02 += x * points[2, j]
        s10 += y * points[0, j]
        s11 += y * points[1, j]
        s12 += y * points[2, j]
        sx += x
        sy += y
    of_turn[0, 0], of_turn[0, 1], of_turn[0, 2] = s00, s01, s02
    of_turn[1, 0], of_turn[1, 1], of_turn[1, 2] = s10, s11, s12
    of_shift[0], of_shift[1] = sx, sy


@_loop
def splat_adjoint(
    points: _Array,
    turns: _Array,
    shifts: _Array,
    images: _Array,
    of_points: _Array,
    of_turns: _Array,
    of_shifts: _Array,
    amplitudes: _Array,
    width: int,
) -> _Array:
    """Gradients of all that `splat` takes, from those of its images.

    Parameters
    ----------
    points, turns, shifts, amplitudes, width
        As for `splat`.
    images : (b, c, height width)
        Gradient of the images.
    of_points : (b, 3, n)
        Result: gradient of the points.
    of_turns : (b, 2, 3)
        Result: gradient of the turns.
    of_shifts : (b, 2)
        Result: gradient of the shifts.

    Returns
    -------
    (c, n)
        Gradient of the amplitudes.
    """
    n = points.shape[2]
    first = np.empty(n, np.int32)
    fx, fy, inside = np.empty(n, points.dtype), np.empty(n, points.dtype), np.empty(n, points.dtype)
    along_x, along_y = np.empty(n, points.dtype), np.empty(n, points.dtype)
    of_amplitudes = np.zeros_like(amplitudes)
    for i in range(len(turns)):
        seen, turn = points[i % len(points)], turns[i]
        _place(seen, turn, shifts[i], images.shape[2] // width, width, first, fx, fy, inside)
        along_x[:] = 0
        along_y[:] = 0
        for c in range(len(amplitudes)):
            image, weights, of_weights = images[i, c], amplitudes[c], of_amplitudes[c]
            for j in range(n):
                at = first[j]
                upper_left, lower_left = image[at], image[at + width]
                upper_slope, lower_slope = image[at + 1] - upper_left, image[at + width + 1] - lower_left
                upper = upper_left + fx[j] * upper_slope
                slope_y = lower_left + fx[j] * lower_slope - upper
                weight = weights[j] * inside[j]
                along_x[j] += weight * (upper_slope + fy[j] * (lower_slope - upper_slope))
                along_y[j] += weight * slope_y
                of_weights[j] += inside[j] * (upper + fy[j] * slope_y)
        _place_adjoint(seen, turn, along_x, along_y, of_points[i], of_turns[i], of_shifts[i])
    return of_amplitudes


@_loop
def interpolate(images: _Array, turns: _Array, shifts: _Array, values: _Array, points: _Array) -> None:
    """Bilinear value of images at points, 0 outside.

    Parameters
    ----------
    images : (b, size, size)
        Rows of x.
    turns, shifts
        As for `splat`: (b, 2, 3) and (b, 2).
    values : (b, n)
        The result.
    points : (3, n)
        The same for all particles.
    """
    n, size = points.shape[1], images.shape[1]
    first = np.empty(n, np.int32)
    fx, fy, inside = np.empty(n, points.dtype), np.empty(n, points.dtype), np.empty(n, points.dtype)
    for i in range(len(images)):
        _place(points, turns[i], shifts[i], size, size, first, fx, fy, inside)
        image, read = images[i].reshape(-1), values[i]
        for j in range(n):
            at = first[j]
            upper = image[at] + fx[j] * (image[at + 1] - image[at])
            lower = image[at + size] + fx[j] * (image[at + size + 1] - image[at + size])
            read[j] = inside[j] * (upper + fy[j] * (lower - upper))


@_loop
def change_of_length(
    points: _Array, mean: _Array, forces: _Array, length_at_rest: _Array, first: _Array, second: _Array, small: float
) -> None:
    """Mean squared change of length of edges, and the slope by each edge.

    Parameters
    ----------
    points : (b, 3, n) A
        Where the points are.
    mean : (b,)
        Result: over the edges, of the squared change of length.
    forces : (b, 3, e)
        Result: its gradient by the first end of each edge, as far as that edge goes.
    length_at_rest : (e,) A
        Before the points move.
    first, second : (e,)
        Points at the ends of the edges.
    small
        Added to squared lengths.
    """
    e = len(first)
    number = points.dtype.type
    share, little = number(1 / max(1, e)), number(small)
    for i in range(len(points)):
        p_x, p_y, p_z = points[i, 0], points[i, 1], points[i, 2]
        f_x, f_y, f_z = forces[i, 0], forces[i, 1], forces[i, 2]
        total = number(0)
        for k in range(e):
            p, q = first[k], second[k]
            x, y, z = p_x[p] - p_x[q], p_y[p] - p_y[q], p_z[p] - p_z[q]
            length = np.sqrt(x * x + y * y + z * z + little)
            change = length - length_at_rest[k]
            total += change * change
            force = number(2) * share * change / length
            f_x[k], f_y[k], f_z[k] = force * x, force * y, force * z
        mean[i] = total * share


@_loop
def add_forces(forces: _Array, weights: _Array, totals: _Array, first: _Array, second: _Array) -> None:
    """Add forces (b, 3, e), each particle's times its weight (b,), at the first ends of edges, and take them off at the second.

    The result is `totals` (b, 3, n).
    """
    for i in range(len(forces)):
        totals[i] = 0
        weight = weights[i]
        for axis in range(3):
            of_edges, of_points = forces[i, axis], totals[i, axis]
            for k in range(len(first)):
                force = weight * of_edges[k]
                of_points[first[k]] += force
                of_points[second[k]] -= force


@_loop
def weighted_power(
    observed: _Array,
    projected: _Array,
    transfer: _Array,
    group: _Array,
    shares: _Array,
    totals: _Array,
    half_slopes: _Array,
    weights: _Array,
    n_groups: int,
) -> _Array:
    """Weighted power of the residuals observed - transfer projected.

    Parameters
    ----------
    observed, projected : (b, q, 2)
        Real and imaginary parts.
    transfer : (b, q)
        CTF, real.
    group : (b,)
        Row of the weights of each particle.
    shares : (b,)
        Of each particle in the power of its group.
    totals : (b,)
        Result: sum over the terms.
    half_slopes : (b, q, 2)
        Result: minus half the gradient of the totals by the projected terms.
    weights : (n_groups, q)
        Of the terms, for each optics group.
    n_groups
        Their rows.

    Returns
    -------
    (n_groups, q)
        Power of the residuals of each group, without weights but with shares.
    """
    power = np.zeros((n_groups, observed.shape[1]), observed.dtype)
    for i in range(len(observed)):
        seen, given, factor, half_slope = observed[i], projected[i], transfer[i], half_slopes[i]
        weight, of_group, share = weights[group[i]], power[group[i]], shares[i]
        total = observed.dtype.type(0)
        for k in range(len(factor)):
            real = seen[k, 0] - factor[k] * given[k, 0]
            imaginary = seen[k, 1] - factor[k] * given[k, 1]
            squared = real * real + imaginary * imaginary
            of_group[k] += share * squared
            total += weight[k] * squared
            scale = weight[k] * factor[k]
            half_slope[k, 0], half_slope[k, 1] = scale * real, scale * imaginary
        totals[i] = total
    return power


@_loop
def pick(values: _Array, picked: _Array, index: _Array, factor: _Array) -> None:
    """Complex values (b, s, 2) at index (q,), times factor (q,): picked (b, q, 2)."""
    for i in range(len(values)):
        given, taken = values[i], picked[i]
        for k in range(len(index)):
            at = index[k]
            taken[k, 0] = factor[k] * given[at, 0]
            taken[k, 1] = factor[k] * given[at, 1]


@_loop
def spread(picked: _Array, values: _Array, index: _Array, factor: _Array) -> None:
    """Adjoint of `pick`; values that are not picked become zero."""
    for i in range(len(values)):
        given, taken = picked[i], values[i]
        taken[:] = 0
        for k in range(len(index)):
            at = index[k]
            taken[at, 0] = factor[k] * given[k, 0]
            taken[at, 1] = factor[k] * given[k, 1]
