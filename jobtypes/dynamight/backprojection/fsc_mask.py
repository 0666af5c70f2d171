"""Mask of the FSC: around the molecule, in all the states that it takes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from jobtypes.common.masks import raised_cosine
from jobtypes.dynamight.backprojection.bins import Bins
from jobtypes.dynamight.model.gaussians import GaussianModel
from jobtypes.dynamight.model.result import HalfResult

_LEAST_REACH_ANGSTROMS, _LEAST_REACH_PIXELS = 6.0, 3.0
_EDGE_PIXELS = 5.0
_STRAY = 0.1  # Gaussians of less than this share of the median amplitude lie where nothing is


def molecule_mask(halves: Iterable[tuple[HalfResult, Bins]], *, box: int, pixel_size_angstroms: float) -> Tensor:
    """Soft mask (N, N, N) around the Gaussians of both halves in the states of all bins.

    The rigid map is blurred over all states and the deformed map shows one of them: this mask holds both.

    Parameters
    ----------
    halves
        Trained model and bins of each half.
    box, pixel_size_angstroms
        N and voxel size.
    """
    return mask_around(
        (positions for result, bins in halves for positions in _states(result, bins)),
        box=box,
        pixel_size_angstroms=pixel_size_angstroms,
    )


def mask_around(places: Iterable[Tensor], *, box: int, pixel_size_angstroms: float) -> Tensor:
    """Soft mask (N, N, N) around positions (n, 3) A, several lots of them."""
    empty = np.ones((box,) * 3, dtype=bool)
    for positions in places:
        voxel = (positions / pixel_size_angstroms).round().long().cpu().numpy() + box // 2
        voxel = voxel[((voxel >= 0) & (voxel < box)).all(axis=1)]
        empty[voxel[:, 2], voxel[:, 1], voxel[:, 0]] = False
    if empty.all():
        return torch.ones((box,) * 3)
    distance = torch.from_numpy(ndimage.distance_transform_edt(empty)).float()  # voxels
    reach = max(_LEAST_REACH_ANGSTROMS / pixel_size_angstroms, _LEAST_REACH_PIXELS)
    return raised_cosine(distance, reach, _EDGE_PIXELS)


def not_stray(gaussians: GaussianModel) -> Tensor:
    """Which Gaussians (n,) lie where something is."""
    kept: Tensor = gaussians.amplitudes > _STRAY * gaussians.amplitudes.median()
    return kept


def _states(result: HalfResult, bins: Bins) -> Iterable[Tensor]:
    """Positions (n, 3) A of the half's Gaussians in the consensus and in the state of each bin."""
    gaussians = result.model.gaussians
    positions = gaussians.positions[not_stray(gaussians)]
    basis = result.model.field.basis(positions)  # (K, n, 3)
    yield positions
    for centre in bins.centres.to(basis):
        yield positions + torch.tensordot(centre, basis, dims=1)
