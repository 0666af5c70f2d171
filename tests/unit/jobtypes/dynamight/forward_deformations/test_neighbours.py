from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from jobtypes.dynamight.forward_deformations.losses import change_of_length
from jobtypes.dynamight.forward_deformations.neighbours import LONGEST_ANGSTROMS, SHORTEST_ANGSTROMS, ElasticGraph, elastic_edges
from jobtypes.dynamight.model.deformed import Deformed


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


def test_where_all_have_many_neighbours_the_pairs_that_are_kept_are_an_even_sample_of_all():
    positions = 25 * torch.rand(3000, 3, generator=torch.Generator().manual_seed(0))  # 200 neighbours each, 10 times those kept
    edges = edges_of(positions, edges_per_gaussian=5)
    assert len(edges) == 15000
    assert len({tuple(sorted(pair)) for pair in edges.tolist()}) == len(edges)
    length = (positions[edges[:, 0]] - positions[edges[:, 1]]).norm(dim=1)
    assert float(length.min()) >= SHORTEST_ANGSTROMS
    assert float(length.max()) <= LONGEST_ANGSTROMS + 1e-4
    everything = torch.pdist(positions)
    everything = everything[(everything >= SHORTEST_ANGSTROMS) & (everything <= LONGEST_ANGSTROMS)]
    assert float(length.mean()) == pytest.approx(float(everything.mean()), abs=0.05)
    ends = torch.bincount(edges.flatten(), minlength=3000)
    central = ((positions - 12.5).abs().max(dim=1).values < 3.5).float()
    assert float((ends * central).sum() / central.sum()) == pytest.approx(10 * _more_neighbours(positions, central), rel=0.1)


@pytest.fixture
def hinged() -> ElasticGraph:
    """The graph of a cloud."""
    return ElasticGraph.of(random_cloud(), torch.Generator().manual_seed(1))


def test_a_graph_is_as_stiff_everywhere_until_it_is_strained(hinged):
    assert torch.equal(hinged.stiffness, torch.ones(len(hinged.edges)))
    assert torch.allclose(hinged.softened(torch.zeros(len(hinged.edges))).stiffness, hinged.stiffness)


def test_edges_give_way_where_a_half_turns_about_a_hinge(hinged):
    positions, edges = hinged.positions, hinged.edges
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    away = positions - 20.0
    moved = torch.where(away[:, :1] > 0, away @ turn.T, away) - away
    strain = change_of_length(Deformed(positions, torch.ones(1, 1), moved[None]), edges)
    stiffness = hinged.softened(strain).stiffness
    assert float(stiffness.mean()) == pytest.approx(1.0, abs=1e-5)
    across = (away[edges][:, :, 0] > 0).sum(1) == 1
    far = away[edges][:, :, 0].abs().amin(1) > 10.0
    assert float(strain[far].max()) < 1e-6  # each half is rigid
    assert float(stiffness[far].min()) > 20 * float(stiffness[across].median())


def test_edges_are_drawn_as_often_as_they_are_stiff(hinged):
    generator = torch.Generator().manual_seed(2)
    some = replace(hinged, stiffness=torch.linspace(0.0, 2.0, len(hinged.edges)))
    value = torch.rand(len(hinged.edges), generator=generator)
    place = {tuple(edge): row for row, edge in enumerate(hinged.edges.tolist())}
    drawn = torch.tensor([place[tuple(edge)] for _ in range(300) for edge in some.drawn(generator).tolist()])
    assert len(drawn) == 300 * len(hinged.positions)
    assert float(value[drawn].mean()) == pytest.approx(float((some.stiffness * value).mean()), rel=2e-3)


def test_a_saved_graph_comes_back(hinged):
    soft = hinged.softened(torch.rand(len(hinged.edges), generator=torch.Generator().manual_seed(3)))
    back = ElasticGraph.from_state(soft.state(), torch.device("cpu"))
    assert all(torch.equal(getattr(back, name), getattr(soft, name)) for name in ("edges", "positions", "stiffness"))


def _more_neighbours(positions: torch.Tensor, chosen: torch.Tensor) -> float:
    """How many more neighbours the chosen Gaussians have than all of them."""
    apart = torch.cdist(positions, positions)
    neighbours = ((apart >= SHORTEST_ANGSTROMS) & (apart <= LONGEST_ANGSTROMS)).sum(1).float()
    return float((neighbours * chosen).sum() / chosen.sum() / neighbours.mean())
