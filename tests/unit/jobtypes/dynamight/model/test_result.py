"""What reading a training makes of it."""

from __future__ import annotations

import torch

from jobtypes.common.checkpoints import load_checkpoint, save_checkpoint
from jobtypes.dynamight.model.result import FORMAT_VERSION, KIND, build_model, load_centred_result


def as_trained(forward, half: int):
    """The model of a half as its checkpoint holds it, and what else is there of it."""
    contents = load_checkpoint(forward.path, kind=KIND, version=FORMAT_VERSION)
    part = contents["halves"][half]
    return build_model(part["model"], contents["settings"]).eval().requires_grad_(False), part


def test_the_consensus_is_the_particle_nearest_to_the_mean_deformation(forward):
    trained, part = as_trained(forward, 1)
    latents = part["latent_mean"]
    moved = trained.displacement(latents)  # (n_h, n, 3)
    weights = trained.gaussians.amplitudes / trained.gaussians.amplitudes.sum()
    training = ~part["held_out"]
    away = (moved - moved[training].mean(0)).square().sum(2) @ weights
    nearest = int(torch.where(training, away, torch.inf).argmin())
    half = forward.halves[1]
    assert float(half.model.displacement(latents[nearest : nearest + 1]).abs().max()) < 1e-4
    assert torch.allclose(half.model.gaussians.positions, trained.gaussians.positions + moved[nearest], atol=1e-4)


def test_another_consensus_of_the_same_training_has_another_name(flexible_job, forward):
    assert load_centred_result(flexible_job.directory).identity == forward.identity
    contents = load_checkpoint(forward.path, kind=KIND, version=FORMAT_VERSION)
    at_rest = forward.halves[1].model.displacement(forward.halves[1].latent_mean).square().sum((1, 2)).argmin()
    contents["halves"][1]["held_out"][at_rest] = True  # so that another particle is the central one
    save_checkpoint(forward.path, contents, kind=KIND, version=FORMAT_VERSION)
    changed = load_centred_result(flexible_job.directory)
    assert not torch.allclose(changed.halves[1].model.gaussians.positions, forward.halves[1].model.gaussians.positions, atol=0.1)
    assert changed.identity != forward.identity


def test_the_states_of_all_particles_are_those_of_the_training(forward):
    for number, half in forward.halves.items():
        trained, part = as_trained(forward, number)
        states = trained.gaussians.positions + trained.displacement(part["latent_mean"])
        found = half.model.gaussians.positions + half.model.displacement(half.latent_mean)
        assert torch.allclose(found, states, atol=1e-4)


def test_the_displacement_of_a_particle_is_the_rms_over_its_gaussians(forward):
    half = forward.halves[2]
    expected = half.model.displacement(half.latent_mean).square().sum(2).mean(1).sqrt()
    assert torch.allclose(half.rms_displacement, expected, rtol=1e-3, atol=1e-3)
