"""The operations of a `Backend` with whole tensors, on any device; nothing here waits for a GPU."""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from jobtypes.common.products import product_in_full


class WholeTensors:
    """See `Backend`."""

    def particles_together(self, numbers: int) -> int:
        """All: every call costs the same."""
        return sys.maxsize

    def occupied_rows(self, points: Tensor, turns: Tensor, shifts: Tensor, size: int) -> range:
        """All of them: to look would be to wait."""
        return range(size)

    def splat(self, points: Tensor, turns: Tensor, shifts: Tensor, amplitudes: Tensor, height: int, width: int) -> Tensor:
        """See `Backend`."""
        first, fx, fy, inside = _corners(_seen(points, turns, shifts), height, width)
        images = points.new_zeros(len(turns), amplitudes.shape[-2], height * width)
        for c, weights in enumerate(amplitudes.unbind(-2)):
            weight = weights * inside
            high = weight * fy
            for row, share in ((0, weight.sub_(high)), (width, high)):
                right = share * fx
                # one index serves all four pixels, in views that begin 0, 1, a row, and a row and 1 later
                images[:, c, row + 1 :].scatter_add_(1, first, right)
                images[:, c, row:].scatter_add_(1, first, share.sub_(right))
        return images.view(*images.shape[:-1], height, width)

    def splat_adjoint(
        self, points: Tensor, turns: Tensor, shifts: Tensor, amplitudes: Tensor, images: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `Backend`."""
        (height, width), flat = images.shape[-2:], images.flatten(-2)
        first, fx, fy, inside = _corners(_seen(points, turns, shifts), height, width)
        of_xy = points.new_zeros(len(turns), 2, points.shape[2])
        of_amplitudes = torch.empty_like(amplitudes)
        for c, weights in enumerate(amplitudes):
            at = _four_pixels(flat[:, c], first, width)
            low_slope, high_slope = at[1].sub_(at[0]), at[3].sub_(at[2])  # along x in the two rows
            low, high = at[0].addcmul_(fx, low_slope), at[2].addcmul_(fx, high_slope)
            slope_y = high.sub_(low)
            weight = weights * inside
            of_xy[:, 0].addcmul_(weight, torch.lerp(low_slope, high_slope, fy))
            of_xy[:, 1].addcmul_(weight, slope_y)
            of_amplitudes[c] = low.addcmul_(fy, slope_y).mul_(inside).sum(0)
        return turns.transpose(1, 2) @ of_xy, of_xy @ points.transpose(1, 2), of_xy.sum(2), of_amplitudes

    def interpolate(self, images: Tensor, points: Tensor, turns: Tensor, shifts: Tensor) -> Tensor:
        """See `Backend`."""
        height, width = images.shape[-2:]
        first, fx, fy, inside = _corners(_seen(points, turns, shifts), height, width)
        at = _four_pixels(images.flatten(1), first, width)
        return torch.lerp(torch.lerp(at[0], at[1], fx), torch.lerp(at[2], at[3], fx), fy) * inside

    def pick(self, values: Tensor, index: Tensor, factor: Tensor) -> Tensor:
        """See `Backend`."""
        return values.index_select(-1, index) * factor

    def spread(self, picked: Tensor, index: Tensor, factor: Tensor, count: int) -> Tensor:
        """See `Backend`."""
        return picked.new_zeros(*picked.shape[:-1], count).index_copy_(-1, index.long(), picked * factor)

    def change_of_length(
        self, points: Tensor, length_at_rest: Tensor, first: Tensor, second: Tensor, small: float
    ) -> tuple[Tensor, Tensor]:
        """See `Backend`."""
        edges = points.index_select(2, first) - points.index_select(2, second)  # (b, 3, e)
        length = edges.square().sum(1).add_(small).sqrt_()
        change, share = length - length_at_rest, 1 / max(1, len(first))
        return change.square().sum(1) * share, edges.mul_((2 * share * change / length)[:, None])

    def add_forces(self, forces: Tensor, weights: Tensor, first: Tensor, second: Tensor, n: int) -> Tensor:
        """See `Backend`."""
        weighted = forces * weights[:, None, None]
        totals = forces.new_zeros(len(forces), 3, n)
        return totals.index_add_(2, first, weighted).index_add_(2, second, weighted, alpha=-1)

    def weighted_power(
        self, observed: Tensor, projected: Tensor, transfer: Tensor, weights: Tensor, group: Tensor, shares: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Backend`."""
        residual = observed - transfer * projected
        squared = residual.real.square() + residual.imag.square()
        weight = weights[group]
        power = torch.zeros_like(weights).index_add_(0, group, shares[:, None] * squared)
        return (weight * squared).sum(1), weight * transfer * residual, power


def _seen(points: Tensor, turns: Tensor, shifts: Tensor) -> Tensor:
    """Pixels (b, 2, n) where points are seen."""
    return product_in_full(turns, points) + shifts[:, :, None]


def _corners(xy: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of pixels (b, 2, n): index (b, n) of the upper left of the four around each, the rest of x and y, and 1 inside, or 0."""
    x, y = xy.unbind(1)
    x0, y0 = x.floor().clamp_(0, width - 2), y.floor().clamp_(0, height - 2)
    fx, fy = x - x0, y - y0
    inside = torch.minimum(fx * (1 - fx), fy * (1 - fy)) >= 0
    # a coordinate that is not a number has no index, but makes a weight that is none
    first = y0.mul_(width).add_(x0).long().clamp_(0, height * width - width - 2)
    return first, fx, fy, inside.to(xy.dtype)


def _four_pixels(flat: Tensor, first: Tensor, width: int) -> list[Tensor]:
    """Of images (b, height width) the pixel (b, n) at an index, its right neighbour, and both below."""
    return [flat[:, start:].gather(1, first) for start in (0, 1, width, width + 1)]
