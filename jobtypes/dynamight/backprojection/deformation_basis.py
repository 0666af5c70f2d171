"""The deformation of a half set tabulated on the voxels that move: u(x; z) = sum_k a_k(z) U_k(x)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from jobtypes.dynamight.backprojection.warp import Order, Warp
from jobtypes.dynamight.model.displacement import Field

# A voxel that no basis field moves by more than this (in voxels, at coefficient 1) is left where it is.
_SMALLEST_MOTION = 1e-4


@dataclass(frozen=True)
class DeformationBasis:
    """Basis fields on a voxel grid.

    Attributes
    ----------
    box
        N.
    support : (m,) int64
        Flat index [z, y, x] of the voxels that some field moves.
    fields : (K, m, 3)
        U_k there, x y z in voxels per unit of coefficient.
    """

    box: int
    support: Tensor
    fields: Tensor

    def displacements(self, coefficients: Tensor) -> Tensor:
        """Return the displacements u of one state, (K,) -> (m, 3) voxels."""
        displacements: Tensor = torch.tensordot(coefficients.to(self.fields), self.fields, dims=1)
        return displacements

    def warp(self, coefficients: Tensor, *, order: Order) -> Warp:
        """Return the forward deformation of one state, (K,)."""
        return Warp(self.support, lambda: self.displacements(coefficients), self.box, order=order)


def tabulate(
    field: Field, gaussians: Tensor, *, box: int, pixel_size_angstroms: float, reach_angstroms: float, chunk: int = 1 << 18
) -> DeformationBasis:
    """Tabulate a field on the voxels within reach of the Gaussians.

    Parameters
    ----------
    field
        Gives U_k at points.
    gaussians : (n, 3) A
        Beyond `reach_angstroms` from the nearest of these the field is zero.
    box, pixel_size_angstroms
        N and voxel size.
    reach_angstroms
        Distance at which the field has faded out.
    chunk
        Voxels evaluated at once.
    """
    near = voxels_near(gaussians, box=box, pixel_size_angstroms=pixel_size_angstroms, reach_angstroms=reach_angstroms)
    supports, fields = [], []
    for part in near.split(chunk):
        values = field.basis(voxel_positions(part, box, pixel_size_angstroms).to(gaussians)) / pixel_size_angstroms
        moves = values.abs().amax(dim=(0, 2)) > _SMALLEST_MOTION
        supports.append(part.to(values.device)[moves])
        fields.append(values[:, moves])
    return DeformationBasis(box, torch.cat(supports), torch.cat(fields, dim=1).contiguous())


def inverse_warps(
    inverse: Callable[[Tensor, Tensor], Tensor],
    gaussians: Tensor,
    centres: Tensor,
    *,
    box: int,
    pixel_size_angstroms: float,
    reach_angstroms: float,
    order: Order,
) -> list[Warp]:
    """Deformations given by the inverse map, for RELION's workflow with an inverse network.

    Parameters
    ----------
    inverse
        (points (m, 3) A in the state, coefficients (K,)) -> points (m, 3) A in the consensus.
    gaussians : (n, 3) A
    centres : (M, K)
        Coefficients of each bin.
    box, pixel_size_angstroms, reach_angstroms
        As in `tabulate`; the reach must cover the motion as well, for the state's density lies elsewhere than the consensus.
    order
        Interpolation.
    """
    near = voxels_near(gaussians, box=box, pixel_size_angstroms=pixel_size_angstroms, reach_angstroms=reach_angstroms)
    support = near.to(gaussians.device)
    points = voxel_positions(near, box, pixel_size_angstroms).to(gaussians)

    # a network is too dear to be asked in every iteration, so its answers are kept
    moved = [(inverse(points, centre) - points) / pixel_size_angstroms for centre in centres]
    return [Warp(support, partial(_keep, kept), box, order=order, direction="inverse") for kept in moved]


def _keep(displacements: Tensor) -> Tensor:
    return displacements


def voxels_near(points: Tensor, *, box: int, pixel_size_angstroms: float, reach_angstroms: float) -> Tensor:
    """Flat indices (m,) of the voxels within reach of points (n, 3) A, to half a voxel diagonal."""
    empty = np.ones((box,) * 3, dtype=bool)
    voxel = np.rint(points.detach().cpu().double().numpy() / pixel_size_angstroms).astype(int) + box // 2
    voxel = voxel[((voxel >= 0) & (voxel < box)).all(axis=1)]
    empty[voxel[:, 2], voxel[:, 1], voxel[:, 0]] = False
    if empty.all():
        return torch.empty(0, dtype=torch.int64)
    distance = ndimage.distance_transform_edt(empty) * pixel_size_angstroms
    return torch.from_numpy(np.flatnonzero(distance <= reach_angstroms + pixel_size_angstroms))


def voxel_positions(voxels: Tensor, box: int, pixel_size_angstroms: float) -> Tensor:
    """Positions (m, 3) x y z in A from the centre of flat voxel indices (m,)."""
    place = torch.stack((voxels % box, voxels // box % box, voxels // (box * box)), dim=1)
    return (place - box // 2).to(torch.float32) * pixel_size_angstroms
