from __future__ import annotations

import numpy as np
import torch

from jobtypes.dynamight.inverse_deformations.geometry import Geometry


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
