"""Which part of the molecule moves by how much."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from jobtypes.common.small_tables import write_small_tables


@dataclass(frozen=True)
class Region:
    """Gaussians that lie and move together.

    Attributes
    ----------
    centre_angstroms
        x, y, z from the box centre.
    mass_fraction
        Share of the amplitude of all Gaussians.
    rms_angstroms, largest_angstroms
        Displacement about the mean position: rms over particles and Gaussians, and the largest rms of a Gaussian.
    """

    centre_angstroms: tuple[float, float, float]
    mass_fraction: float
    rms_angstroms: float
    largest_angstroms: float


def find_regions(
    positions: Tensor, amplitudes: Tensor, basis: Tensor, coefficients: Tensor, *, count: int, seed: int
) -> tuple[list[Region], Tensor]:
    """Divide the Gaussians into regions by k-means over where they are and how they move.

    Parameters
    ----------
    positions : (n, 3) A
        Gaussians.
    amplitudes : (n,)
        Their weights.
    basis : (K, n, 3) A
        Basis fields there.
    coefficients : (P, K)
        Of the particles.
    count
        Regions at most.
    seed
        Of k-means.

    Returns
    -------
    tuple
        Regions, the most mobile first, and the region (n,) of each Gaussian.
    """
    from sklearn.cluster import KMeans

    centred = coefficients - coefficients.mean(0)
    covariance = (centred.T @ centred / max(len(centred), 1)).double()
    size, axes = torch.linalg.eigh(covariance)
    root = axes * size.clamp(min=0).sqrt()  # motions of unit variance
    motion = torch.einsum("kd,knc->ndc", root, basis.double())  # (n, K, 3) A
    # positions count as much as motions do, so that regions hang together in space
    spread = float(motion.square().sum((1, 2)).mean().sqrt())
    extent = float((positions - positions.mean(0)).square().sum(1).mean().sqrt())
    features = np.concatenate((positions.numpy() * (max(spread, 0.5) / max(extent, 1e-6)), motion.flatten(1).numpy()), axis=1)
    labels = KMeans(min(count, len(positions)), n_init=4, random_state=seed).fit(features).labels_
    rms = motion.square().sum((1, 2))  # (n,) A^2
    regions = []
    for label in range(labels.max() + 1):
        chosen = torch.from_numpy(labels == label)
        weight = amplitudes[chosen] / amplitudes[chosen].sum()
        centre = (weight[:, None] * positions[chosen]).sum(0).tolist()
        rms_region = float((weight * rms[chosen]).sum().sqrt())
        share = float(amplitudes[chosen].sum() / amplitudes.sum())
        regions.append(Region((centre[0], centre[1], centre[2]), share, rms_region, float(rms[chosen].max().sqrt())))
    order = np.argsort([-region.rms_angstroms for region in regions])
    rank = np.argsort(order)
    return [regions[index] for index in order], torch.from_numpy(rank[labels])


def write_regions(path: Path, regions: list[Region]) -> None:
    """Write the table as a STAR file, data_regions, lengths in A."""
    centres = np.array([region.centre_angstroms for region in regions])
    table = pd.DataFrame({"region": range(1, len(regions) + 1)})
    table[["x_A", "y_A", "z_A"]] = centres
    table["mass_percent"] = [100 * region.mass_fraction for region in regions]
    table["rms_displacement_A"] = [region.rms_angstroms for region in regions]
    table["largest_rms_A"] = [region.largest_angstroms for region in regions]
    write_small_tables(path, {"regions": table}, decimals=2)
    path.with_suffix(".tsv").unlink(missing_ok=True)  # of version 0.1, whose numbers are no longer those of the job
