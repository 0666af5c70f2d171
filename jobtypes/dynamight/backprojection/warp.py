"""One deformation as a sparse linear operator on maps, and its exact transpose.

With the forward map phi (consensus -> state) density is pushed: voxel x of the consensus is spread over the voxels around phi(x).
The transpose is the pull-back W(phi(x)). With the inverse map psi (state -> consensus) the state's voxel y reads the consensus at
psi(y), and the transpose spreads. Either way one set of interpolation weights serves both directions, so <D V, W> = <V, D* W>
holds to rounding. Where nothing moves a voxel is copied, so the identity is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import torch
from torch import Tensor

from jobtypes.dynamight.backprojection import loops
from jobtypes.dynamight.model.loops import over_particles

Order = Literal["linear", "cubic"]
Direction = Literal["forward", "inverse"]

_CHUNK = 1 << 20  # points at once on a GPU


class Deformation(Protocol):
    """A linear operator on maps (N, N, N) and its transpose."""

    def push(self, volume: Tensor) -> Tensor:
        """D V: the consensus map in the state."""

    def pull(self, volume: Tensor) -> Tensor:
        """D* W."""


class Identity:
    """No deformation."""

    def push(self, volume: Tensor) -> Tensor:
        """Return the map itself."""
        return volume

    def pull(self, volume: Tensor) -> Tensor:
        """Return the map itself."""
        return volume


class Warp:
    """The deformation of one state.

    Parameters
    ----------
    support : (m,) flat index of the voxels that move
    displacements : callable giving (m, 3) x, y, z in voxels; called anew for each use, so that a hundred warps need not be kept
    box
        N, four voxels at least.
    order
        ``linear`` (8 voxels) or ``cubic`` (64 voxels, Keys 1981 with a = -1/2: exact for quadratics, hence less blur).
    direction
        Whether the displacements belong to the forward or to the inverse map.
    """

    def __init__(
        self,
        support: Tensor,
        displacements: Callable[[], Tensor],
        box: int,
        *,
        order: Order = "linear",
        direction: Direction = "forward",
    ) -> None:
        if box < 4:
            raise ValueError(f"a map of {box} voxels is narrower than the four that one is interpolated from")
        self.support, self.displacements, self.box = support, displacements, box
        self.order, self.direction = order, direction

    def push(self, volume: Tensor) -> Tensor:
        """D V, (N, N, N)."""
        return self._spread(volume) if self.direction == "forward" else self._read(volume)

    def pull(self, volume: Tensor) -> Tensor:
        """D* W, (N, N, N)."""
        return self._read(volume) if self.direction == "forward" else self._spread(volume)

    def _chunks(
        self,
    ) -> Iterator[tuple[Tensor, list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]]:
        """Parts of the support with the (index, weight) pairs of their neighbours along x, y and z."""
        n = self.box
        displacements = self.displacements()
        for start in range(0, len(self.support), _CHUNK):
            support = self.support[start : start + _CHUNK]
            moved = displacements[start : start + _CHUNK]
            at = (support % n, support // n % n, support // (n * n))
            along_x, along_y, along_z = (axis_taps(at[a] + moved[:, a], n, self.order) for a in range(3))
            yield support, along_x, along_y, along_z

    def _read(self, volume: Tensor) -> Tensor:
        return self._read_in_loops(volume) if volume.device.type == "cpu" else self._read_whole(volume)

    def _spread(self, volume: Tensor) -> Tensor:
        return self._spread_in_loops(volume) if volume.device.type == "cpu" else self._spread_whole(volume)

    def _read_in_loops(self, volume: Tensor) -> Tensor:
        result = volume.clone(memory_format=torch.contiguous_format)
        values = volume.new_empty(len(self.support))
        if len(values):
            points = (self.support, self.displacements().to(volume), values)
            over_particles(loops.read_voxels, points, volume.contiguous(), self.order == "cubic")
        result.view(-1)[self.support] = values
        return result

    def _spread_in_loops(self, volume: Tensor) -> Tensor:
        result = volume.clone(memory_format=torch.contiguous_format)
        result.view(-1)[self.support] = 0
        if len(self.support):
            parts = (result, torch.arange(self.box))
            common = (self.support, self.displacements().to(volume), volume.contiguous())
            over_particles(loops.spread_voxels, parts, *common, self.order == "cubic")
        return result

    def _read_whole(self, volume: Tensor) -> Tensor:
        flat = volume.reshape(-1)
        result = flat.clone()
        n = self.box
        for support, along_x, along_y, along_z in self._chunks():
            total = torch.zeros(len(support), dtype=flat.dtype, device=flat.device)
            for index_z, weight_z in along_z:
                for index_y, weight_y in along_y:
                    row = index_z * (n * n) + index_y * n
                    line = torch.zeros_like(total)
                    for index_x, weight_x in along_x:
                        line.addcmul_(flat.index_select(0, row + index_x), weight_x)
                    total.addcmul_(line, weight_z * weight_y)
            result[support] = total
        return result.view(volume.shape)

    def _spread_whole(self, volume: Tensor) -> Tensor:
        flat = volume.reshape(-1)
        result = flat.clone()
        result[self.support] = 0
        n = self.box
        for support, along_x, along_y, along_z in self._chunks():
            values = flat[support]
            for index_z, weight_z in along_z:
                for index_y, weight_y in along_y:
                    row = index_z * (n * n) + index_y * n
                    share = values * (weight_z * weight_y)
                    for index_x, weight_x in along_x:
                        result.index_add_(0, row + index_x, share * weight_x)
        return result.view(volume.shape)


def axis_taps(positions: Tensor, box: int, order: Order) -> list[tuple[Tensor, Tensor]]:
    """Neighbours of positions along one axis.

    Parameters
    ----------
    positions : (m,) in voxels
    box
        N; a neighbour outside 0 .. N - 1 gets weight 0.
    order
        ``linear`` or ``cubic``.

    Returns
    -------
    list
        Two or four pairs: (m,) index, (m,) weight. Weights sum to 1 inside the box.
    """
    low = positions.floor()
    t = positions - low
    if order == "linear":
        first, weights = 0, [1 - t, t]
    else:
        first = -1
        weights = [
            ((-0.5 * t + 1.0) * t - 0.5) * t,
            (1.5 * t - 2.5) * t * t + 1.0,
            ((-1.5 * t + 2.0) * t + 0.5) * t,
            (0.5 * t - 0.5) * t * t,
        ]
    base = low.long() + first
    taps = []
    for step, weight in enumerate(weights):
        index = base + step
        inside = (index >= 0) & (index < box)
        taps.append((index.clamp(0, box - 1), torch.where(inside, weight, torch.zeros_like(weight))))
    return taps
