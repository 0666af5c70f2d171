"""Images of something else among those of the swinging dumbbell."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from jobtypes.dynamight.forward_deformations.judging import group_scales_in_words
from jobtypes.dynamight.forward_deformations.noise import image_power, sample_of_groups
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.model.quality import ParticleQuality

EPOCH = EpochPlan(deforms=True, resolution_angstroms=12.0, kl_weight=0.1, learning_rate=1.0)
WARM_UP = EpochPlan(deforms=False, resolution_angstroms=16.0, kl_weight=0.1, learning_rate=1.0)
LOUD = 5.0  # times as loud as the other images


def never() -> bool:
    return False


def spoil(training, seed: int = 0) -> torch.Tensor:
    """Make three images that train, and one held out, loud noise; returns their indices."""
    junk = torch.cat((training.training[[2, 7, 11]], training.held_out[:1]))
    images = training.observations
    rms = float((images.spectra[:2].float() * images.scale[:2, None, None]).std())
    noise = torch.randn(images.spectra[junk].shape, generator=torch.Generator().manual_seed(seed))
    images.spectra[junk] = (5000 * noise).half()
    images.scale[junk] = LOUD * rms / 5000
    return junk


def all_but(junk: torch.Tensor, count: int) -> torch.Tensor:
    others = torch.ones(count, dtype=torch.bool)
    others[junk] = False
    return others


def test_images_of_something_else_are_found_at_once(new_training):
    training = new_training()
    junk = spoil(training)
    training.run_epoch(WARM_UP, never)
    training.held_out_objective(WARM_UP)
    probability = training.model.quality.probability
    assert probability[junk].max() < 0.05
    assert probability[all_but(junk, len(probability))].mean() > 0.9


def test_noise_and_scale_are_those_of_the_sound_images(new_training):
    sound, training = new_training(), new_training()
    n_terms = training.observations.band.n_terms(WARM_UP.resolution_angstroms)
    sound.look_at_all(WARM_UP, n_terms, never)
    spoil(training)  # both have the same images
    training.look_at_all(WARM_UP, n_terms, never)
    shells = training.observations.band.shells[:n_terms].unique()
    ratio = training.model.noise_power[:, shells] / sound.model.noise_power[:, shells]
    assert float(ratio.log().abs().mean()) < 0.2
    scales = [each.model.gaussians.log_scale.item() for each in (sound, training)]
    assert scales[1] == pytest.approx(scales[0], abs=0.1)


def test_an_image_of_something_else_trains_nothing(new_training):
    """Whatever it shows, an epoch gives the same model, noise and poses of the others."""
    models = []
    for seed, training in enumerate([new_training(), new_training()]):
        junk = spoil(training, seed)
        training.model.quality.typical.fill_(1.0)
        training.judged = len(training.observations)  # all have been
        training.model.quality.probability[junk] = 0.0
        training.run_epoch(EPOCH, never)
        models.append(training.model.state_dict())
    one, other = models
    learned = [name for name in one if not name.startswith(("quality.", "poses.corrections"))]
    assert [name for name in learned if not torch.equal(one[name], other[name])] == []
    others = all_but(junk, len(one["poses.corrections"]))
    assert torch.equal(one["poses.corrections"][others], other["poses.corrections"][others])


def test_judging_changes_with_the_state_of_a_training_that_is_carried_over(new_training):
    """Particles of other images are judged in the states that are known of them, not at rest."""
    training = new_training()
    training.run_epoch(WARM_UP, never)
    training.run_epoch(EPOCH, never)
    training.model.quality.typical.zero_()
    training.judged = 0
    assert not training.model.quality.is_ready
    training.run_epoch(EPOCH, never)
    assert training.model.quality.is_ready
    assert all(math.isfinite(float(value)) for value in training.model.quality.probability)


def test_qualities_of_held_out_particles_stay_while_epochs_are_compared(new_training):
    training = new_training()
    training.run_epoch(EPOCH, never)
    training.held_out_objective(EPOCH)
    kept = training.model.quality.probability[training.held_out].clone()
    training.observations.scale[training.held_out[:1]] *= LOUD
    training.held_out_objective(replace(EPOCH, judges_held_out=False))
    assert torch.equal(training.model.quality.probability[training.held_out], kept)
    training.held_out_objective(EPOCH)
    assert training.model.quality.probability[training.held_out[0]] < kept[0]


@pytest.mark.parametrize("factor", [5.0, 0.4])
def test_the_signal_of_each_optics_group_is_measured_and_said(new_training, factor):
    training = new_training()
    images, model = training.observations, training.model
    second = torch.arange(len(images)) % 2 == 1
    images.group[second] = 1
    noise = 0.5 * training.observations.mask.square().sum().sqrt()  # deviation of its terms
    terms = factor * torch.view_as_complex(images.spectra.float()) * images.scale[:, None]
    g = torch.Generator().manual_seed(1)
    more = torch.randn(*terms.shape, 2, generator=g)  # both groups end with the same noise, whatever their signal
    power = (max(1, factor) ** 2 - torch.where(second, factor, 1.0) ** 2).sqrt()
    mixed = torch.where(second[:, None], terms, terms / factor) + power[:, None] * noise * torch.view_as_complex(more) / 2**0.5
    parts = torch.view_as_real(mixed)
    images.scale.copy_(parts.abs().amax((1, 2)) / 3e4)
    images.spectra.copy_((parts / images.scale[:, None, None]).half())
    model.noise_power = image_power(images, 2, training.training)
    model.quality.typical.zero_()
    training.look_at_all(WARM_UP, images.band.n_terms(WARM_UP.resolution_angstroms), never)
    found = model.quality.scale[second].mean() / model.quality.scale[~second].mean()
    assert float(found) == pytest.approx(factor, rel=0.25)  # of a dozen particles each
    assert float(model.quality.probability.mean()) > 0.9
    words = group_scales_in_words(model.quality, images.group, ["one", "two"])
    assert words.startswith(" The signal beside that of a mean particle: ")
    assert "in two (optics groups)" in words


def test_groups_of_one_scale_are_not_spoken_of():
    quality = ParticleQuality(4, 3)
    assert group_scales_in_words(quality, torch.tensor([0, 0, 1, 1]), ["one", "two"]) == ""


def test_every_optics_group_is_in_the_sample(new_training):
    training = new_training()
    training.observations.group[-6:] = 1
    sample = sample_of_groups(training.observations, training.training, 4, fewest=1)
    assert training.observations.group[sample].tolist() == [0, 0, 1, 1]
    training.observations.group[:] = 0
    assert torch.equal(sample_of_groups(training.observations, training.training, 4, fewest=1), training.training[:4])
