"""Parts that some particles lack, on the voxel grid: how much of a voxel's density belongs to each.

A particle that lacks a part says nothing about the density of that part: its image is that of the density less the part. So the
operator takes the density times an occupancy, 1 outside the parts and the presence of each inside, before it is deformed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jobtypes.dynamight.backprojection.warp import Deformation
from jobtypes.dynamight.model.density import DensityRenderer
from jobtypes.dynamight.model.result import HalfResult

# Gaussians are drawn no narrower than so many voxels, for narrower ones have terms beyond the Nyquist frequency and would ring.
_LEAST_WIDTH_PIXELS = 1.5
# Where there is less than this share of the greatest density a voxel belongs to nobody.
_NOTHING = 1e-3
_LEAST_SHARE = 0.01  # of a voxel, that counts


class Occupied:
    """The deformation of a molecule of which something is missing: the density times its occupancy, deformed.

    Parameters
    ----------
    deformation
        What follows.
    support : (m,) flat index of the voxels of which something may be missing
    occupancy : callable giving (m,), the share of their density that is there; called anew for each use, as of `Warp`
    """

    def __init__(self, deformation: Deformation, support: Tensor, occupancy: Callable[[], Tensor]) -> None:
        self.deformation, self.support, self.occupancy = deformation, support, occupancy

    def push(self, volume: Tensor) -> Tensor:
        """D O V, (N, N, N)."""
        return self.deformation.push(self._occupied(volume))

    def pull(self, volume: Tensor) -> Tensor:
        """O D* W, (N, N, N)."""
        return self._occupied(self.deformation.pull(volume))

    def _occupied(self, volume: Tensor) -> Tensor:
        return volume.flatten().index_copy(0, self.support, volume.flatten()[self.support] * self.occupancy()).view(volume.shape)


@dataclass(frozen=True)
class PartFields:
    """Shares of the density of a half set's molecule.

    Attributes
    ----------
    support : (m,) int64
        Flat index [z, y, x] of the voxels that hold something of a part.
    shares : (R, m)
        Of their density that belongs to each part.
    """

    support: Tensor
    shares: Tensor

    def occupied(self, deformation: Deformation, presence: Tensor) -> Occupied:
        """A deformation of the molecule that has each part with a presence (R,)."""
        missing = 1 - presence.to(self.shares)
        return Occupied(deformation, self.support, lambda: 1 - missing @ self.shares)


@torch.no_grad()
def tabulate_parts(result: HalfResult, *, box: int, pixel_size_angstroms: float) -> PartFields:
    """Find the voxels of a half set's parts in the consensus, from the density of the Gaussians of each."""
    model = result.model
    least_width_angstroms = _LEAST_WIDTH_PIXELS * pixel_size_angstroms
    render = DensityRenderer(model.gaussians, box, pixel_size_angstroms, least_width_angstroms=least_width_angstroms)
    whole = render(model.gaussians.positions).clamp_min(0)
    whole += _NOTHING * whole.max()
    # one part after the other, for all at once would take several maps
    shares = [(render(model.gaussians.positions, part).clamp_min(0) / whole).flatten() for part in model.parts.membership]
    support = torch.nonzero(torch.stack(shares).amax(0) > _LEAST_SHARE).flatten()
    return PartFields(support, torch.stack([share[support] for share in shares]).clamp_max(1))
