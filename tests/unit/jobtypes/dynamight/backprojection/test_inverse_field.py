from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jobtypes.dynamight.backprojection import inverse_field
from jobtypes.dynamight.model.inverse_displacement import InverseDisplacement, InverseHalf


@pytest.fixture
def trained(monkeypatch):
    """Inverses of both halves, as a job has them."""
    torch.manual_seed(0)
    halves = {
        half: InverseHalf(
            InverseDisplacement(n_coefficients=2, n_coordinates=1, box_length_angstroms=60.0, width=4).requires_grad_(False), None
        )
        for half in (1, 2)
    }
    monkeypatch.setattr(inverse_field.inverse_displacement, "load_inverses", lambda *_: halves)
    return halves


def identity() -> str:
    found, _ = inverse_field.load_inverses(Path(), None, "inverse", torch.device("cpu"))
    return found.identity


def test_inverses_are_named_by_their_networks(trained):
    before = identity()
    assert identity() == before
    trained[2].network.last.bias[0] = 1e-6
    assert identity() != before


def test_no_inverse_is_read_where_the_forward_field_is_wanted(trained):
    assert inverse_field.load_inverses(Path(), None, "forward", torch.device("cpu"))[0] is None
