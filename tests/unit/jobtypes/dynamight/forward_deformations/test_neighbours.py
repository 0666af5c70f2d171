from __future__ import annotations

import torch

from jobtypes.dynamight.forward_deformations.neighbours import LONGEST_ANGSTROMS, SHORTEST_ANGSTROMS, elastic_edges


def random_cloud(n: int = 300) -> torch.Tensor:
    return 40 * torch.rand(n, 3, generator=torch.Generator().manual_seed(0))


def edges_of(positions: torch.Tensor, seed: int = 1, **most: int) -> torch.Tensor:
    return elastic_edges(positions, torch.Generator().manual_seed(seed), **most)


def test_edges_join_points_between_the_two_distances_and_each_pair_once():
    positions = random_cloud()
    edges = edges_of(positions)
    length = (positions[edges[:, 0]] - positions[edges[:, 1]]).norm(dim=1)
    assert float(length.min()) >= SHORTEST_ANGSTROMS
    assert float(length.max()) <= LONGEST_ANGSTROMS + 1e-4
    assert len({tuple(sorted(pair)) for pair in edges.tolist()}) == len(edges)


def test_few_gaussians_that_stand_far_apart_are_joined_all_the_same():
    grid = 20.0 * torch.cartesian_prod(*[torch.arange(3.0)] * 3)
    assert len(edges_of(grid)) >= 54  # the edges of a cubic lattice of 27 points


def test_no_more_edges_are_kept_than_asked_for():
    assert len(edges_of(random_cloud(), edges_per_gaussian=2)) == 600


def test_the_same_seed_gives_the_same_order():
    positions = random_cloud()
    assert torch.equal(edges_of(positions), edges_of(positions))
    assert not torch.equal(edges_of(positions), edges_of(positions, seed=2))
