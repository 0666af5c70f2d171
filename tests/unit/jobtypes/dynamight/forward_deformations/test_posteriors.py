"""The last stage of a half set: every particle has a posterior in the end, however often the stage was left."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch

from jobtypes.dynamight.forward_deformations.evidence import Evidence
from jobtypes.dynamight.forward_deformations.held_out_latents import seen_by_other
from jobtypes.dynamight.forward_deformations.posteriors import PosteriorStage, held_out_verdict
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.model.disagreement import AgreementOfMotions

EPOCH = EpochPlan(deforms=True, resolution_angstroms=12.0, kl_weight=0.1, learning_rate=1.0)


@pytest.fixture
def trained(new_training):
    """Make the same trained half set again and again."""

    def make():
        training = new_training()
        training.run_epoch(EPOCH, lambda: False)
        return training

    return make


def test_every_particle_has_a_posterior_in_the_end(trained):
    stage = PosteriorStage(trained())
    heard: list[int] = []
    assert stage.run(EPOCH, lambda: heard.append(stage.refined))
    training = stage.training
    assert heard == [0, 0, 20, 24]  # four of the training's batches of 5 at once
    assert stage.is_done
    assert bool((training.latent_log_variance != 0).all())
    # an image tells no less than the prior, but for what several maxima spread
    assert float(training.latent_log_variance.max()) < -math.log(EPOCH.kl_weight) + 0.5


def test_a_stage_that_is_left_after_every_batch_goes_on_elsewhere_with_the_same_numbers(trained):
    whole = PosteriorStage(trained())
    whole.run(EPOCH, lambda: False)
    left, steps = PosteriorStage(trained()), 0
    while not left.run(EPOCH, lambda: True):
        state = deepcopy(left.training.state() | left.state())
        left, steps = PosteriorStage(trained()), steps + 1
        left.training.restore(state)
        left.restore(state)
    assert steps == 2 + 1
    for name in ("latent_mean", "latent_log_variance", "motion_power"):
        assert torch.equal(getattr(whole.training, name), getattr(left.training, name)), name
    assert torch.equal(whole.training.model.poses.corrections, left.training.model.poses.corrections)
    assert torch.equal(whole.others.latents, left.others.latents)
    assert torch.equal(whole.others.shares, left.others.shares)
    assert whole.others.doubt == left.others.doubt
    assert all(torch.equal(*pair) for pair in zip(vars(whole.told).values(), vars(left.told).values(), strict=True))
    assert held_out_verdict(whole.training, EPOCH).motion == held_out_verdict(left.training, EPOCH).motion


def test_a_latent_that_images_tell_nothing_of_stays_at_the_prior(trained):
    training = trained()
    with torch.no_grad():
        training.model.field.branch[0].weight[:, 1:] = 0
    stage = PosteriorStage(training)
    stage.run(EPOCH, lambda: False)
    assert stage.told.places.tolist() == [0]
    assert bool((training.latent_mean[:, 1:] == 0).all())
    assert training.latent_log_variance[:, 1:].unique().tolist() == pytest.approx([-math.log(EPOCH.kl_weight)])
    assert len(training.latent_mean[:, 0].unique()) > 20


def test_where_images_tell_hardly_anything_the_latent_they_tell_most_of_is_worked_out(trained):
    training = trained()
    training.model.noise_power.mul_(1e6)
    stage = PosteriorStage(training)
    stage.run(EPOCH, lambda: False)
    assert len(stage.told) == 1


def test_a_stage_of_a_version_that_worked_out_all_latents_goes_on_with_all(trained):
    stage = PosteriorStage(trained())
    assert not stage.run(EPOCH, lambda: stage.refined > 0)
    state = deepcopy(stage.training.state() | stage.state())
    del state["posteriors"]["told"]
    left = PosteriorStage(trained())
    left.training.restore(state)
    left.restore(state)
    assert left.run(EPOCH, lambda: False)
    assert left.told is None


def test_the_parts_of_the_other_half_are_judged_in_each_held_out_particle(trained):
    """As many as have a part is no answer for one of them."""
    training = trained()
    other = deepcopy(training.model)
    other.parts.add(other.gaussians.positions[:, 0] > 8.0, 0.7)
    seen_by_other(training, other, EPOCH, lambda done: None)
    of_held_out = other.parts.presence[training.held_out, 0]
    assert len(of_held_out.unique()) == len(training.held_out)
    assert other.parts.presence[training.training, 0].unique().tolist() == pytest.approx([0.7])


def test_held_out_copies_of_one_image_are_one_witness_of_both_models(trained):
    stage = PosteriorStage(trained())
    stage.run(EPOCH, lambda: False)
    training, other = stage.training, trained().model
    assert held_out_verdict(training, EPOCH).motion.error > 0
    assert seen_by_other(training, other, EPOCH, lambda done: None).evidence.error > 0
    training.observations.image_of[training.held_out] = 0
    seen = seen_by_other(training, other, EPOCH, lambda done: None)
    assert held_out_verdict(training, EPOCH).motion == seen.evidence == Evidence(0.0, 0.0)
    assert seen.agreement == AgreementOfMotions(0.0, 0.0)
