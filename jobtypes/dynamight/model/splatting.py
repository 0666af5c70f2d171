"""Points -> images, bilinearly, and the adjoint: compiled loops on a CPU, operations on whole tensors elsewhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jobtypes.dynamight.model import loops

Slopes = tuple[Tensor, Tensor, Tensor, Tensor]


def occupied_rows(points: Tensor, turns: Tensor, shifts: Tensor, size: int) -> range:
    """The rows that a splat of these points needs, in images of so many pixels per side: half of them or so, mostly."""
    if points.device.type != "cpu":
        return range(size)  # to look would be to wait
    ends = np.stack(loops.over_particles(loops.rows, (points, turns, shifts), size))
    # one more on both sides, for the place of a point is worked out with other roundings there
    return range(max(int(ends[:, 0].min()) - 1, 0), min(int(ends[:, 1].max()) + 3, size))


def splat(points: Tensor, turns: Tensor, shifts: Tensor, amplitudes: Tensor, size: int, rows: range | None = None) -> Tensor:
    """Add points with amplitudes to the four pixels around each; a point outside the image leaves no trace.

    Parameters
    ----------
    points
        (b, 3, n), or (1, 3, n) where all have the same.
    turns, shifts
        (b, 2, 3) and (b, 2): a point p is seen at pixel (x, y) = turn p + shift.
    amplitudes
        (c, n).
    size
        Pixels per side.
    rows
        Those that are made, H of them; all by default.

    Returns
    -------
    Tensor
        (b, c, H, size). A coordinate that is not a number makes numbers that are none.
    """
    rows = rows or range(size)
    if points.device.type != "cpu":
        return splat_whole(points, turns, shifts, amplitudes, size)[..., rows.start : rows.stop, :]
    images = points.new_empty(len(turns), len(amplitudes), len(rows) * size)
    loops.over_particles(loops.splat, (points, turns, _from_row(shifts, rows), images), amplitudes, size)
    return images.unflatten(-1, (len(rows), size))


def splat_adjoint(
    points: Tensor, turns: Tensor, shifts: Tensor, amplitudes: Tensor, images: Tensor, rows: range | None = None
) -> Slopes:
    """Gradients of points (b, 3, n) of each, turns, shifts and amplitudes from those of the images (b, c, H, size) of `splat`."""
    rows = rows or range(images.shape[-1])
    if points.device.type != "cpu":
        if len(rows) < images.shape[-1]:
            images = torch.nn.functional.pad(images, (0, 0, rows.start, images.shape[-1] - rows.stop))
        return splat_whole_adjoint(points, turns, shifts, amplitudes, images)
    of_points = points.new_empty(len(turns), *points.shape[1:])
    of_turns, of_shifts = torch.empty_like(turns), torch.empty_like(shifts)
    given = (points, turns, _from_row(shifts, rows), images.flatten(-2).contiguous())
    particles = (*given, of_points, of_turns, of_shifts)
    of_amplitudes = loops.over_particles(loops.splat_adjoint, particles, amplitudes, images.shape[-1])
    return of_points, of_turns, of_shifts, torch.from_numpy(sum(of_amplitudes))


@torch.no_grad()
def interpolate(images: Tensor, points: Tensor, turns: Tensor, shifts: Tensor) -> Tensor:
    """Bilinear value (b, n) of images (b, size, size) where points (3, n) are seen, 0 outside. Not differentiable."""
    if images.device.type != "cpu":
        return interpolate_whole(images, points, turns, shifts)
    values = images.new_empty(len(images), points.shape[1])
    loops.over_particles(loops.interpolate, (images.contiguous(), turns, shifts, values), points)
    return values


def interpolate_whole(images: Tensor, points: Tensor, turns: Tensor, shifts: Tensor) -> Tensor:
    """`interpolate` with whole tensors."""
    size = images.shape[-1]
    first, fx, fy, inside = _corners(turns @ points + shifts[:, :, None], size)
    flat = images.flatten(1)
    at = [flat[:, start:].gather(1, first) for start in (0, 1, size, size + 1)]
    return torch.lerp(torch.lerp(at[0], at[1], fx), torch.lerp(at[2], at[3], fx), fy) * inside


def splat_whole(points: Tensor, turns: Tensor, shifts: Tensor, amplitudes: Tensor, size: int) -> Tensor:
    """`splat` with whole tensors."""
    first, fx, fy, inside = _corners(turns @ points + shifts[:, :, None], size)
    images = points.new_zeros(len(turns), len(amplitudes), size * size)
    for c, weights in enumerate(amplitudes):
        weight = weights * inside
        high = weight * fy
        for row, share in ((0, weight.sub_(high)), (size, high)):
            right = share * fx
            # one index serves all four pixels, in views that begin 0, 1, a row, and a row and 1 later
            images[:, c, row + 1 :].scatter_add_(1, first, right)
            images[:, c, row:].scatter_add_(1, first, share.sub_(right))
    return images.unflatten(-1, (size, size))


def splat_whole_adjoint(points: Tensor, turns: Tensor, shifts: Tensor, amplitudes: Tensor, images: Tensor) -> Slopes:
    """`splat_adjoint` with whole tensors."""
    size, flat = images.shape[-1], images.flatten(-2)
    first, fx, fy, inside = _corners(turns @ points + shifts[:, :, None], size)
    of_xy = points.new_zeros(len(turns), 2, points.shape[2])
    of_amplitudes = torch.empty_like(amplitudes)
    for c, weights in enumerate(amplitudes):
        at = [flat[:, c, start:].gather(1, first) for start in (0, 1, size, size + 1)]
        low_slope, high_slope = at[1].sub_(at[0]), at[3].sub_(at[2])  # along x in the two rows
        low, high = at[0].addcmul_(fx, low_slope), at[2].addcmul_(fx, high_slope)
        slope_y = high.sub_(low)
        weight = weights * inside
        of_xy[:, 0].addcmul_(weight, torch.lerp(low_slope, high_slope, fy))
        of_xy[:, 1].addcmul_(weight, slope_y)
        of_amplitudes[c] = low.addcmul_(fy, slope_y).mul_(inside).sum(0)
    return turns.transpose(1, 2) @ of_xy, of_xy @ points.transpose(1, 2), of_xy.sum(2), of_amplitudes


def _from_row(shifts: Tensor, rows: range) -> Tensor:
    """Shifts (b, 2) that count y from the first of some rows."""
    return shifts - shifts.new_tensor((0, rows.start)) if rows.start else shifts


def _corners(xy: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of pixels (b, 2, n): index (b, n) of the upper left of the four around each, the rest of x and y, and 1 inside, or 0."""
    x, y = xy.unbind(1)
    x0, y0 = x.floor().clamp_(0, size - 2), y.floor().clamp_(0, size - 2)
    fx, fy = x - x0, y - y0
    # a point outside the image leaves no trace, and gets no gradient
    inside = torch.minimum(fx * (1 - fx), fy * (1 - fy)) >= 0
    # a coordinate that is not a number has no index, but makes a weight that is none
    first = y0.mul_(size).add_(x0).long().clamp_(0, size * size - size - 2)
    return first, fx, fy, inside.to(xy.dtype)
