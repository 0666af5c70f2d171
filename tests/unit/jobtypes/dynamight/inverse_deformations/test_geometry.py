from __future__ import annotations

import numpy as np
import pytest
import torch

from jobtypes.dynamight.inverse_deformations.geometry import MOST_ANGSTROMS, Geometry
from relion_jobs.contract.errors import UserError


def chain(n: int = 6) -> tuple[torch.Tensor, list[str], np.ndarray]:
    """Alpha carbons 3.8 A apart along x, each with a carbonyl carbon 1.5 A beside it."""
    alphas = torch.stack([torch.tensor((3.8 * at, 0.0, 0.0)) for at in range(n)])
    others = alphas + torch.tensor((0.0, 1.5, 0.0))
    places = torch.stack((alphas, others), dim=1).reshape(-1, 3)
    names = [f"A/ALA {at + 1}/{name}" for at in range(n) for name in ("CA", "C")]
    return places, names, np.array([name.endswith("CA") for name in names])


def test_bonds_and_neighbouring_alpha_carbons_are_found() -> None:
    geometry = Geometry.of(*chain())
    assert sorted(map(tuple, geometry.bonds.tolist())) == [(2 * at, 2 * at + 1) for at in range(6)]
    assert geometry.alphas.tolist() == [[2 * at, 2 * at + 2] for at in range(5)]


def test_a_gap_in_the_chain_is_no_distance() -> None:
    places, names, is_alpha = chain()
    places[6:] += 20
    assert len(Geometry.of(places, names, is_alpha).alphas) == 4


def test_a_turn_of_the_whole_changes_nothing_and_a_stretch_is_told() -> None:
    places, names, is_alpha = chain()
    geometry = Geometry.of(places, names, is_alpha)
    turned = places @ torch.tensor(((0.0, 1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0))) + 3
    assert "change by 0.000 A rms" in geometry.sentences(places, [turned])[0]
    stretched = places.clone()
    stretched[5, 1] += 0.25
    bonds, alphas = geometry.sentences(places, [turned, stretched])
    assert "most in state 2 by +0.25 A, from A/ALA 3/CA to A/ALA 3/C." in bonds
    assert "5 distances of neighbouring alpha carbons change by 0.000 A rms" in alphas


def test_of_a_model_without_bonds_nothing_is_said() -> None:
    far = torch.arange(4)[:, None] * torch.tensor((9.0, 0.0, 0.0))
    assert Geometry.of(far, list("abcd"), np.zeros(4, bool)).sentences(far, [far]) == []


def backbone(n: int = 30) -> tuple[torch.Tensor, list[str], np.ndarray]:
    """N, CA and C of a chain that winds, 1.46 A from one to the next."""
    at = torch.arange(3 * n)
    winding = torch.stack((1.3 * torch.cos(1.1 * at), 1.3 * torch.sin(1.1 * at), 0.5 * at), dim=1)
    names = [f"A/GLY {number + 1}/{name}" for number in range(n) for name in ("N", "CA", "C")]
    return winding, names, np.array([name.endswith("CA") for name in names])


def test_bonds_that_are_kept_change_by_hardly_anything_and_atoms_stay_near() -> None:
    before, names, is_alpha = backbone()
    geometry = Geometry.of(before, names, is_alpha)
    assert len(geometry.bonds) == len(before) - 1
    bent = before.clone()
    bent[:, 0] += 0.01 * before[:, 2].square()  # a bend, which stretches
    lengths = [(state[1:] - state[:-1]).norm(dim=1) for state in (before, bent, geometry.kept(before, bent))]
    assert float((lengths[1] - lengths[0]).abs().max()) > 0.2
    assert float((lengths[2] - lengths[0]).abs().max()) < 0.02
    assert float((geometry.kept(before, bent) - bent).norm(dim=1).square().mean().sqrt()) < 4


def test_what_is_not_strained_stays_where_it_is() -> None:
    before, names, is_alpha = backbone()
    turned = before @ torch.tensor(((0.0, 1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0))) + 3
    assert torch.allclose(Geometry.of(before, names, is_alpha).kept(before, turned), turned, atol=1e-3)


def test_of_alpha_carbons_alone_neighbours_are_kept() -> None:
    places, names, is_alpha = chain()
    alphas = Geometry.of(places[::2], names[::2], is_alpha[::2])
    stretched = places[::2] * 1.1
    kept = alphas.kept(places[::2], stretched)
    assert torch.allclose((kept[1:] - kept[:-1]).norm(dim=1), torch.tensor(3.8), atol=0.02)


def test_bonds_are_kept_where_a_field_jumps_from_one_part_of_the_chain_to_the_next() -> None:
    before, names, is_alpha = backbone()
    torn = before.clone()
    torn[45:] += torch.tensor((3.0, -2.0, 1.0))
    geometry = Geometry.of(before, names, is_alpha)
    kept = geometry.kept(before, torn)
    lengths = [(state[1:] - state[:-1]).norm(dim=1) for state in (before, kept)]
    assert float((lengths[1] - lengths[0]).abs().max()) <= MOST_ANGSTROMS
    assert float((kept - torn).norm(dim=1)[:30].max()) < 1.5  # far from the tear


def test_a_state_whose_bonds_cannot_be_kept_is_refused() -> None:
    before, names, is_alpha = backbone()
    with pytest.raises(UserError, match=r"bonds and angles cannot be kept: A/GLY \d+/\w+ to .* stays off by \d+\.\d\d A"):
        Geometry.of(before, names, is_alpha).kept(before, torch.zeros_like(before))
