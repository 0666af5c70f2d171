"""The points of the padded Fourier grid that slices reach: a ball, about half of the grid, stored without the rest.

Its planes of equal kx follow each other, in a plane the columns of equal ky, in a column kz; ky and kz in the order of the
transform, 0 first and -1 last.
"""

from __future__ import annotations

import math
from functools import cache, cached_property

import torch
from torch import Tensor

from jobtypes.common.padded_grid import PADDING, attenuation


class Ball:
    """Where the points lie.

    Parameters
    ----------
    box
        N.
    device
        Where everything is kept.

    Attributes
    ----------
    size
        2N, the side of the padded grid, of which the half space kx = 0 .. N counts.
    starts, heads, counts : (N + 1, 2N) int64
        Of the column (kx, ky): where its points begin, how many there are from kz = 0 on, and in all; those of kz < 0 follow.
    columns
        Of each plane: how many columns that hold points there are from ky = 0 on, and in all; those of ky < 0 follow.
    """

    def __init__(self, box: int, device: torch.device | str = "cpu") -> None:
        self.box, self.size = box, PADDING * box
        steps = torch.arange(self.size, device=device)
        self._squared = torch.minimum(steps, self.size - steps).square()
        # a term lies within a radius of N, and the eight grid points around it within the diagonal of a cell from there
        self._farthest_squared = math.floor((box + math.sqrt(3)) ** 2)
        left = self._farthest_squared - self._squared[: box + 1, None] - self._squared
        reach = torch.where(left >= 0, left.clamp_min(0).double().sqrt().floor().long(), torch.full_like(left, -1))
        self.heads = reach.clamp_max(box - 1) + 1
        self.counts = (2 * reach + 1).clamp(0, self.size)
        ends = self.counts.flatten().cumsum(0).view(self.counts.shape)
        self.starts = ends - self.counts
        self._plane_ends = [0, *ends[:, -1].tolist()]
        self.columns = list(zip(self.heads[:, 0].tolist(), self.counts[:, 0].tolist(), strict=True))

    def __len__(self) -> int:
        return int(self._plane_ends[-1])

    @cached_property
    def attenuation(self) -> Tensor:
        """`padded_grid.attenuation` of the box, (N, N, N)."""
        return attenuation(self.box, self.starts.device)

    def index(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Where points (m,) of the ball, x >= 0, are stored: (m,) int64."""
        y, z = y % self.size, z % self.size
        head = self.heads[x, y]
        return self.starts[x, y] + torch.where(z < head, z, z - self.size + self.counts[x, y])

    def of_plane(self, kx: int) -> slice:
        """Where the points of a plane are stored."""
        return slice(self._plane_ends[kx], self._plane_ends[kx + 1])

    @cached_property
    def mirrored(self) -> Tensor:
        """Where the points opposite to those of the plane kx = 0 are stored: (m,) for its m points."""
        y, z = torch.nonzero(self._inside(0), as_tuple=True)
        return self.index(torch.zeros_like(y), -y, -z)

    def radii(self) -> Tensor:
        """Distance of each point from zero frequency in steps of the padded grid, (p,)."""
        of_planes = []
        for kx in range(self.box + 1):
            squared = self._squared + self._squared[:, None]
            of_planes.append((squared[self._inside(kx)] + kx * kx).float().sqrt())
        return torch.cat(of_planes)

    def plane(self, values: Tensor, kx: int) -> Tensor:
        """Points (p,) of one plane, 0 outside the ball: (columns that hold points, 2N) along ky and kz."""
        inside = self.some_columns(self._inside(kx), kx).T  # ky and kz are alike
        plane = values.new_zeros(inside.shape)
        plane[inside] = values[self.of_plane(kx)]
        return plane

    def dense(self, values: Tensor) -> Tensor:
        """Points (p,) on the whole grid, 0 outside the ball: (2N, 2N, N + 1) along kz, ky, kx."""
        grid = values.new_zeros((self.box + 1) * self.size**2).index_copy_(0, self._places, values)
        return grid.view(self.box + 1, self.size, self.size).permute(2, 1, 0)

    @cached_property
    def _places(self) -> Tensor:
        """(p,) int64 place of each point in the flat half space along kx, ky, kz, kept: a GPU would be waited for each time."""
        plane = self.size**2
        return torch.cat([self._inside(kx).flatten().nonzero().squeeze(1) + kx * plane for kx in range(self.box + 1)])

    def some_columns(self, lines: Tensor, kx: int) -> Tensor:
        """Of lines (..., 2N) along ky, the columns of a plane that hold points."""
        head, count = self.columns[kx]
        return lines if count == self.size else torch.cat((lines[..., :head], lines[..., self.size - count + head :]), dim=-1)

    def all_columns(self, lines: Tensor, kx: int) -> Tensor:
        """Lines (..., 2N) with 0 in the columns that `some_columns` leaves out."""
        head, count = self.columns[kx]
        if count == self.size:
            return lines
        whole = lines.new_zeros(*lines.shape[:-1], self.size)
        whole[..., :head] = lines[..., :head]
        whole[..., self.size - count + head :] = lines[..., head:]
        return whole

    def _inside(self, kx: int) -> Tensor:
        """(2N, 2N) bool along ky, kz."""
        return self._squared + self._squared[:, None] + kx * kx <= self._farthest_squared


@cache
def ball_of(box: int, device: torch.device) -> Ball:
    """The ball of a box, made once."""
    return Ball(box, device)
