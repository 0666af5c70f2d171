from __future__ import annotations

import pytest
import torch

from jobtypes.dynamight.inverse_deformations import pairs as module
from jobtypes.dynamight.inverse_deformations.pairs import PairSource, bytes_of_pairs, pairs_per_draw
from jobtypes.dynamight.inverse_deformations.training import StoredPairs
from jobtypes.dynamight.model.result import ForwardResult


def source(forward: ForwardResult) -> PairSource:
    part = forward.halves[1]
    return PairSource(part.model, part.latent_mean, part.latent_log_variance, box_length_angstroms=96.0, n_pairs=900)


def test_a_pair_is_a_point_and_where_the_forward_field_takes_it(forward: ForwardResult) -> None:
    pairs = source(forward).draw(3)
    basis = forward.halves[1].model.field.basis(pairs.consensus)
    moved = pairs.consensus + torch.einsum("mk,kmc->mc", pairs.coefficients, basis)
    assert torch.allclose(pairs.deformed, moved, atol=1e-4)


def test_pairs_at_gaussians_lie_at_gaussians_and_the_others_fill_the_box(forward: ForwardResult) -> None:
    pairs = source(forward).draw(3)
    gaussians = forward.halves[1].model.gaussians.positions
    distance = torch.cdist(pairs.consensus, gaussians, compute_mode="donot_use_mm_for_euclid_dist").min(1).values
    assert bool((distance[pairs.at_gaussian] < 1e-3).all())
    assert pairs.consensus[~pairs.at_gaussian].abs().max() > 40


def test_a_draw_depends_on_its_key_only(forward: ForwardResult) -> None:
    first, second = source(forward), source(forward)
    first.draw(1)
    assert torch.equal(first.draw(2).deformed, second.draw(2).deformed)
    assert not torch.equal(first.draw(1).deformed, second.draw(2).deformed)


def test_every_particle_takes_part_in_each_draw_alike(forward: ForwardResult) -> None:
    pairs = source(forward).draw(1)
    states, counts = torch.unique(pairs.coefficients, dim=0, return_counts=True)
    assert len(states) == 30
    assert bool((counts == 30).all())


def test_the_memory_of_a_draw_is_known_beforehand(forward: ForwardResult) -> None:
    pairs = source(forward).draw(1)
    n_fields = forward.halves[1].model.field.n_fields
    assert len(pairs) == pairs_per_draw(30, 900) == pairs_per_draw(30, 899)
    assert pairs.bytes == bytes_of_pairs(900, n_fields)


def test_pairs_worked_out_in_parts_are_the_same(forward: ForwardResult, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = source(forward).draw(1)
    monkeypatch.setattr(module, "_CHUNK", 70)
    in_parts = source(forward).draw(1)
    torch.testing.assert_close(in_parts.deformed, whole.deformed)
    torch.testing.assert_close(in_parts.determinant, whole.determinant)


def test_draws_that_the_memory_does_not_hold_are_drawn_again_alike(forward: ForwardResult) -> None:
    one = source(forward).draw(1).bytes
    roomy, tight = (StoredPairs(source(forward), 3, room) for room in (3 * one, 2 * one - 1))
    for epoch in (1, 2, 3, 4):
        assert torch.equal(roomy.draw(epoch).deformed, tight.draw(epoch).deformed)
    assert (roomy.n_kept, tight.n_kept) == (3, 1)
    assert tight.bytes < 2 * one
