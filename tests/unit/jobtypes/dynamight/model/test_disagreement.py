"""The disagreement of the halves against displacements written out, and against models whose disagreement is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from jobtypes.common.checkpoints import load_checkpoint
from jobtypes.dynamight.model.disagreement import TwoMotions, held_out_errors, held_out_motions
from jobtypes.dynamight.model.result import FORMAT_VERSION, KIND, ForwardResult, build_model


def two_motions(seed: int) -> TwoMotions:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, 200, 3, generator=generator)
    first, second = first - first.mean(0), second - second.mean(0)
    basis, other = torch.randn(2, 3, 300, 3, generator=generator)
    return TwoMotions(first, basis, second, other)


def test_models_of_the_same_motion_agree() -> None:
    one = two_motions(0)
    found = TwoMotions(one.coefficients, one.basis, 2 * one.coefficients, one.basis / 2).disagreement()
    assert found.rms_error_angstroms < 1e-5
    assert found.correlation > 0.9999


def test_the_disagreement_is_that_of_all_displacements_written_out() -> None:
    both = two_motions(1)
    first = torch.einsum("pk,knc->pnc", both.coefficients, both.basis).double()
    second = torch.einsum("pk,knc->pnc", both.other_coefficients, both.other_basis).double()
    error, motion = (first - second).square().sum(2), (0.5 * (first + second)).square().sum(2)
    found = both.disagreement()
    assert torch.allclose(found.particle_error, error.mean(1).sqrt(), rtol=1e-4)
    assert torch.allclose(found.gaussian_error, error.mean(0).sqrt(), rtol=1e-4)
    assert torch.allclose(found.particle_motion, motion.mean(1).sqrt(), rtol=1e-4)
    assert torch.allclose(found.gaussian_motion, motion.mean(0).sqrt(), rtol=1e-4)
    assert torch.allclose(both.difference(7).norm(dim=1).double(), error[7].sqrt(), rtol=1e-3)
    assert abs(found.correlation) < 0.2  # of independent motions


def test_the_agreement_is_the_correlation_of_all_displacements_and_its_spread_over_orders_of_the_particles() -> None:
    motions = two_motions(2)
    own = torch.einsum("pk,knc->pnc", motions.coefficients, motions.basis).double().flatten(1)
    other = torch.einsum("pk,knc->pnc", motions.other_coefficients, motions.other_basis).double().flatten(1)
    centred = motions.agreement(torch.arange(200))

    def correlation(order: torch.Tensor) -> float:
        return float((own * other[order]).sum() / (own.norm() * other.norm()))

    assert centred.correlation == pytest.approx(correlation(torch.arange(len(own))), abs=1e-6)
    generator = torch.Generator().manual_seed(0)
    by_chance = torch.tensor([correlation(torch.randperm(len(own), generator=generator)) for _ in range(4000)])
    assert centred.chance == pytest.approx(float(by_chance.std()), rel=0.05)
    assert float(by_chance.mean()) == pytest.approx(0, abs=5 * centred.chance / 4000**0.5)


def test_models_of_one_motion_agree_for_sure_and_nothing_is_sure_of_models_at_rest_or_of_one_particle() -> None:
    one = two_motions(3)
    all_images, same_image = torch.arange(200), torch.zeros(200, dtype=torch.int64)
    itself = TwoMotions(one.coefficients, one.basis, one.coefficients, one.basis)
    assert itself.agreement(all_images).is_sure
    assert not itself.agreement(same_image).is_sure
    still = torch.zeros_like(one.coefficients)
    assert not TwoMotions(one.coefficients, one.basis, still, one.basis).agreement(all_images).is_sure
    assert not TwoMotions(one.coefficients[:1], one.basis, one.coefficients[:1], one.basis).agreement(all_images[:1]).is_sure


def test_copies_that_say_the_same_change_neither_the_agreement_nor_its_chance() -> None:
    one = two_motions(2)
    once = one.agreement(torch.arange(200))
    eight = TwoMotions(one.coefficients.repeat(8, 1), one.basis, one.other_coefficients.repeat(8, 1), one.other_basis)
    found = eight.agreement(torch.arange(200).repeat(8))
    assert (found.correlation, found.chance) == pytest.approx((once.correlation, once.chance))


def test_models_without_a_common_motion_agree_for_sure_no_more_often_than_three_deviations_say() -> None:
    generator = torch.Generator().manual_seed(4)
    basis, image = torch.ones(1, 1, 3), torch.arange(60).repeat_interleave(8)
    first, other = torch.randn(2, 3000, 60, 1, generator=generator)
    sure = [
        TwoMotions(a[image] - a.mean(), basis, b[image] - b.mean(), basis).agreement(image).is_sure
        for a, b in zip(first, other, strict=True)
    ]
    assert sum(sure) <= 12  # 0.13 % of a Gaussian lie above 3: 4 of 3000, with a deviation of 2


@pytest.mark.parametrize("half", [1, 2])
def test_errors_are_of_displacements_at_the_same_points_about_their_means(forward: ForwardResult, half: int) -> None:
    part, other = forward.halves[half], forward.halves[3 - half].model
    own = part.model.displacement(part.latent_mean[part.held_out])
    # the Gaussians in the state of the particle nearest to the other consensus, and where they come from there
    in_theirs = (other.displacement(part.latent_by_other).square().sum(2) * other.gaussians.amplitudes).sum(1)
    nearest = int(in_theirs.argmin())
    there = part.model.gaussians.positions + own[nearest]
    points = there
    for _ in range(40):
        points = there - other.displacement(part.latent_by_other, points)[nearest]
    theirs = other.displacement(part.latent_by_other, points)
    difference = own - own.mean(0) - (theirs - theirs.mean(0))
    errors = held_out_errors(forward, half)
    assert np.allclose(errors[part.held_out], difference.square().sum(2).mean(1).sqrt(), rtol=1e-3)
    assert np.isnan(errors[~part.held_out]).all()


def with_one_model(forward: ForwardResult, mistake: float = 0.0) -> ForwardResult:
    """Half 2 has the model of half 1, and says the same of its held-out particles, but of number 3 something else."""
    part = forward.halves[1]
    by_other = part.latent_mean[part.held_out].clone()
    by_other[3, 0] += mistake
    halves = {1: replace(part, latent_by_other=by_other), 2: replace(forward.halves[2], model=part.model)}
    return replace(forward, halves=halves)


def test_halves_with_one_model_do_not_disagree(forward: ForwardResult) -> None:
    assert np.nanmax(held_out_errors(with_one_model(forward), 1)) < 1e-3


def test_which_conformation_a_half_calls_its_consensus_does_not_count(forward: ForwardResult) -> None:
    same = with_one_model(forward)
    contents = load_checkpoint(forward.path, kind=KIND, version=FORMAT_VERSION)
    model = build_model(contents["halves"][1]["model"], contents["settings"]).eval()  # its consensus is that of latent zero
    assert (model.gaussians.positions - same.halves[1].model.gaussians.positions).norm(dim=1).max() > 0.5
    same.halves[2] = replace(same.halves[2], model=model)
    found = held_out_motions(same, 1).disagreement()
    assert found.rms_error_angstroms < 0.05 * found.rms_motion_angstroms


def test_a_particle_that_the_other_half_takes_for_another_is_off_by_the_way_between_the_two(forward: ForwardResult) -> None:
    mistaken = with_one_model(forward, mistake=2.0)
    part = mistaken.halves[1]
    two = part.model.displacement(torch.stack((part.latent_mean[part.held_out][3], part.latent_by_other[3])))
    distance = float((two[1] - two[0]).square().sum(1).mean().sqrt())
    errors = held_out_errors(mistaken, 1)[part.held_out]
    share = np.full(5, 1 / 5)  # a fifth of the mistake is in the mean over the five held-out particles
    share[3] = 4 / 5
    assert distance > 1
    assert np.allclose(errors, share * distance, rtol=0.02, atol=0.02)


def test_nothing_is_known_before_the_training_has_ended_or_of_a_single_particle(forward: ForwardResult) -> None:
    parts = dict(forward.halves)
    forward.halves[1] = replace(parts[1], latent_by_other=None)
    assert np.isnan(held_out_errors(forward, 1)).all()
    one = np.arange(30) == 6
    forward.halves[1] = replace(parts[1], held_out=one, latent_by_other=parts[1].latent_by_other[1:2])
    assert np.isnan(held_out_errors(forward, 1)).all()
