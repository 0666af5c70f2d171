"""One deformation as a sparse linear operator on maps, and its exact transpose.

With the forward map phi (consensus -> state) density is pushed: voxel x of the consensus is spread over the voxels around phi(x).
The transpose is the pull-back W(phi(x)). With the inverse map psi (state -> consensus) the state's voxel y reads the consensus at
psi(y), and the transpose spreads. Either way one set of interpolation weights serves both directions, so <D V, W> = <V, D* W>
holds to rounding. Where nothing moves a voxel is copied, so the identity is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor

from jobtypes.dynamight.backprojection.backend import backend_for
from jobtypes.dynamight.backprojection.whole_tensors import Order as Order

Direction = Literal["forward", "inverse"]


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
    support : (m,) flat index of the voxels that move, on the device of the maps
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
        self._backend = backend_for(support.device)

    def push(self, volume: Tensor) -> Tensor:
        """D V, (N, N, N)."""
        return self._spread(volume) if self.direction == "forward" else self._read(volume)

    def pull(self, volume: Tensor) -> Tensor:
        """D* W, (N, N, N)."""
        return self._read(volume) if self.direction == "forward" else self._spread(volume)

    def read(self, volume: Tensor) -> Tensor:
        """The map (N, N, N) beside each voxel of the support, (m,)."""
        return self._backend.read_voxels(*self._places(volume), volume, order=self.order)

    def add_spread(self, result: Tensor, volume: Tensor) -> None:
        """Add the map's voxels of the support to a result (N, N, N) around their places: the transpose of `read`."""
        self._backend.spread_voxels(result, *self._places(volume), volume, order=self.order)

    def _read(self, volume: Tensor) -> Tensor:
        result = volume.clone(memory_format=torch.contiguous_format)
        result.view(-1)[self.support] = self.read(volume)
        return result

    def _spread(self, volume: Tensor) -> Tensor:
        result = volume.clone(memory_format=torch.contiguous_format)
        result.view(-1)[self.support] = 0
        self.add_spread(result, volume)
        return result

    def _places(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        return self.support, self.displacements().to(volume)
