"""Pairs of Gaussians whose distance the deformation should keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

# Pairs between these distances (A) carry the elasticity of a protein: closer ones are noise of the seeding, farther ones
# bridge domains.
SHORTEST_ANGSTROMS, LONGEST_ANGSTROMS = 3.0, 9.0

# How far softness goes: an edge in a part that keeps its shape is this much stiffer than one whose length changes by the mean.
LEAST_STRAIN = 0.03  # of the mean over all edges

# The pairs are looked for anew once the Gaussians have moved by so much, rms, in A.
STALE_ANGSTROMS = 0.5


@dataclass(frozen=True)
class ElasticGraph:
    """Neighbour pairs, and where the Gaussians were when these were neighbours.

    Attributes
    ----------
    edges : (e, 2)
        Indices, in random order.
    positions : (n, 3) A
        Where the Gaussians are.
    stiffness : (e,)
        Of each edge, 1 in the mean.
    """

    edges: Tensor
    positions: Tensor
    stiffness: Tensor

    @classmethod
    def of(cls, positions: Tensor, generator: torch.Generator) -> ElasticGraph:
        """Graph of positions (n, 3) A; see `elastic_edges`."""
        edges = elastic_edges(positions, generator)
        return cls(edges, positions.detach().clone(), positions.new_ones(len(edges)))

    def renewed(self, positions: Tensor, generator: torch.Generator) -> ElasticGraph:
        """Return this graph while it is good enough for positions (n, 3) A, else their own."""
        moved = (positions.detach() - self.positions).square().sum(1).mean().sqrt()
        return self if float(moved) < STALE_ANGSTROMS else ElasticGraph.of(positions, generator)

    def softened(self, squared_change: Tensor) -> ElasticGraph:
        """Return this graph, soft where the deformations of the particles strain it.

        The cost of a strain s then grows as log(1 + s / s0) instead of s, as of a prior with heavy tails: a molecule is stiff in
        most places, and gives way in a few hinges (iteratively reweighted least squares, Holland and Welsch 1977).

        Parameters
        ----------
        squared_change : (e,) A^2
            Squared change of length of each edge, mean over particles.
        """
        ends = self.edges.flatten()
        count = torch.bincount(ends, minlength=len(self.positions)).clamp(min=1)
        # one edge by itself says little: what counts is the mean at both its ends
        sums = squared_change.new_zeros(len(self.positions)).index_add_(0, ends, squared_change.repeat_interleave(2))
        strain = (sums / count)[self.edges].mean(1)
        stiffness = 1 / (strain / strain.mean().clamp(min=1e-12) + LEAST_STRAIN)
        return replace(self, stiffness=stiffness / stiffness.mean())

    def drawn(self, generator: torch.Generator) -> Tensor:
        """(n, 2) as many edges as Gaussians, each as often as it is stiff: their mean strain is that of all, so weighted."""
        count = min(len(self.positions), len(self.edges))
        # one draw for each equal share of the total, all of them by the same part of a share
        cumulative = self._cumulative
        shares = (torch.arange(count, device=cumulative.device) + float(torch.rand((), generator=generator))) / max(1, count)
        chosen = torch.searchsorted(cumulative, shares * cumulative[-1:]).clamp(max=max(0, len(self.edges) - 1))
        return self.edges[chosen]

    @cached_property
    def _cumulative(self) -> Tensor:
        return self.stiffness.double().cumsum(0)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"edges": self.edges.int(), "edges_at": self.positions, "edges_stiffness": self.stiffness}

    @classmethod
    def from_state(cls, state: dict[str, Any], device: torch.device) -> ElasticGraph:
        """The graph of a checkpoint."""
        return cls(state["edges"].long().to(device), state["edges_at"].to(device), state["edges_stiffness"].to(device))


def elastic_edges(positions: Tensor, generator: torch.Generator, edges_per_gaussian: int = 10) -> Tensor:
    """Neighbour pairs in random order, every pair as likely as any other. Memory grows with the Gaussians, not with all pairs.

    Parameters
    ----------
    positions : (n, 3) A
        Where the Gaussians are.
    generator
        Source of the random order, on the CPU.
    edges_per_gaussian
        At most this many times n pairs are kept.

    Returns
    -------
    (e, 2)
        Pairs of indices.
    """
    points = positions.detach().cpu().numpy()
    most = edges_per_gaussian * len(points)
    tree = cKDTree(points)
    nearest = tree.query(points, k=2)[0][:, 1]
    reach = max(LONGEST_ANGSTROMS, 2.2 * float(np.median(nearest)))  # few Gaussians stand farther apart
    # with many neighbours each, pairs are looked for inside random groups only: all are as likely, and few need listing
    groups = np.array_split(torch.randperm(len(points), generator=generator).numpy(), _number_of_groups(tree, reach, most))
    pairs = np.concatenate([group[cKDTree(points[group]).query_pairs(reach, output_type="ndarray")] for group in groups])
    length = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    kept = torch.from_numpy(pairs[length >= SHORTEST_ANGSTROMS]).long()
    return kept[torch.randperm(len(kept), generator=generator)[:most]].to(positions.device)


def _number_of_groups(tree: cKDTree, reach: float, most: int) -> int:
    """Groups so many that about twice as many pairs as are kept have both their Gaussians in one group."""
    sample = tree.data[:: max(1, tree.n // 1000)]
    neighbours = tree.query_ball_point(sample, reach, return_length=True) - 1  # without the point itself
    return max(1, int(tree.n * neighbours.mean() / 2 / (2 * most)))
