"""Pairs of Gaussians whose distance the deformation should keep."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

# Pairs between these distances (A) carry the elasticity of a protein: closer ones are noise of the seeding, farther ones
# bridge domains.
SHORTEST_ANGSTROMS, LONGEST_ANGSTROMS = 3.0, 9.0


def elastic_edges(positions: Tensor, generator: torch.Generator, edges_per_gaussian: int = 10) -> Tensor:
    """Neighbour pairs in random order.

    Parameters
    ----------
    positions
        (n, 3) in A.
    generator
        Source of the random order, on the CPU.
    edges_per_gaussian
        At most this many times n pairs are kept.

    Returns
    -------
    Tensor
        (e, 2) indices.
    """
    points = positions.detach().cpu().numpy()
    tree = cKDTree(points)
    nearest = tree.query(points, k=2)[0][:, 1]
    reach = max(LONGEST_ANGSTROMS, 2.2 * float(np.median(nearest)))  # few Gaussians stand farther apart
    pairs = tree.query_pairs(reach, output_type="ndarray")
    length = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    pairs = torch.from_numpy(pairs[length >= SHORTEST_ANGSTROMS]).long()
    order = torch.randperm(len(pairs), generator=generator)[: edges_per_gaussian * len(points)]
    return pairs[order].to(positions.device)
