from __future__ import annotations

import torch

from jobtypes.dynamight.inverse_deformations.pairs import PairSource
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
