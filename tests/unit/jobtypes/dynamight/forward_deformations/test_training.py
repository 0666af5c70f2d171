"""One half set's training: its held-out objective is a log likelihood, and nothing of its state is lost."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from jobtypes.dynamight.forward_deformations import training as training_module
from jobtypes.dynamight.forward_deformations.continuation import gone_on
from jobtypes.dynamight.forward_deformations.large_motions import FAR_ANGSTROMS, follow_large_motions
from jobtypes.dynamight.forward_deformations.plan import make_plan
from jobtypes.dynamight.forward_deformations.preparation import prepare_half
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.model.projection import Projector
from jobtypes.dynamight.options import ForwardOptions
from relion_jobs.contract.errors import JobFailed

FRACTION = 0.4  # as in fixture `new_training`
EPOCH = EpochPlan(deforms=True, resolution_angstroms=12.0, kl_weight=0.1, learning_rate=1.0)
WARM_UP = EpochPlan(deforms=False, resolution_angstroms=16.0, kl_weight=0.1, learning_rate=1.0)


def test_a_step_makes_no_tensor_on_a_device_of_its_own_and_waits_for_none(new_training, monkeypatch):
    # "meta" holds no numbers: to mix it with the CPU, or to ask for a number, as one that waits for a GPU does, is an error
    training = new_training()
    assert training.run_epoch(EPOCH, never)
    training._begin_epoch(EPOCH, 50)
    meta, n_terms = torch.device("meta"), len(training.observations.band)
    batch = training.observations.batch(training.training[:5], n_terms)
    frame = training.model.field.frame(training.model.field.anchors)  # neighbours are looked up on the CPU, once an epoch
    frame = replace(
        frame,
        nearest=[replace(part, index=part.index.to(meta)) for part in frame.nearest],
        motions=frame.motions.to(meta),
        shares=frame.shares.to(meta),
    )
    model, band, graph = training.model.to(meta), training.observations.band.to(meta), training.graph
    training.observations.band, training.projector = band, Projector(band)
    training.graph = replace(graph, edges=graph.edges.to(meta), positions=graph.positions.to(meta))
    monkeypatch.setattr(training, "keep", lambda *kept: None)  # latents are still on the CPU
    batch = replace(batch, **{name: tensor.to(meta) for name, tensor in vars(batch).items() if tensor is not None})
    corrections = model.poses.corrections[batch.index].requires_grad_()
    draws = training._draws(training.training[:5])
    draws = replace(draws, latents=draws.latents.to(meta), edges=draws.edges.to(meta))
    training.motion_power = training.motion_power.to(meta)
    losses, projected, residual_power, _ = training._losses(batch, corrections, EPOCH, n_terms, frame, draws)
    training.judge(batch, projected.detach(), n_terms)
    sum(losses.values()).mean().backward()
    gradients = [corrections.grad, *(parameter.grad for parameter in model.parameters() if parameter.requires_grad)]
    assert {tensor.device for tensor in (*losses.values(), residual_power, *gradients)} == {meta}


def never() -> bool:
    return False


def residuals(training: HalfTraining, n_terms: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Residuals (b, q) of the held-out particles at their posterior means, and the noise power (b, q) assumed."""
    model = training.model.eval()
    batch = training.observations.batch(training.held_out)
    with torch.no_grad():
        latent = model.encode(batch, training.projector, n_terms).mean
        terms = model.project(model.deformed(latent), batch.matrices, batch.shifts, training.projector, n_terms)
        terms = model.transfer(batch, n_terms) * terms
    power = model.noise_power[batch.group][:, training.observations.band.shells[:n_terms]]
    return batch.spectra[:, :n_terms] - terms, power


def test_the_held_out_objective_is_minus_the_log_likelihood_of_complex_noise(new_training):
    training = new_training()
    training.run_epoch(EPOCH, never)
    band = training.observations.band
    residual, power = residuals(training, band.n_terms(EPOCH.resolution_angstroms))
    noise = torch.distributions.Normal(0.0, (power.double() / 2).sqrt())
    log_likelihood = noise.log_prob(residual.real.double()) + noise.log_prob(residual.imag.double()) + math.log(math.pi)
    quality = training.model.quality.probability[training.held_out].double()
    of_each = (log_likelihood * band.weights[: residual.shape[1]]).sum(1)
    expected = -FRACTION * float((quality * of_each).sum() / quality.sum())
    qualities_stay = replace(EPOCH, judges_held_out=False)
    assert training.held_out_objective(qualities_stay) == pytest.approx(expected, rel=1e-4)


def test_the_held_out_objective_is_least_where_the_noise_is_what_is_left(new_training):
    training = new_training()
    training.run_epoch(EPOCH, never)
    training.model.field.branch[-1].weight.data.zero_()  # the noise is part of what the encoder sees: let nothing follow it
    band = training.observations.band
    residual, _ = residuals(training, band.n_terms(EPOCH.resolution_angstroms))
    weights = band.weights[: residual.shape[1]]
    training.model.noise_power.fill_(float((residual.abs().square() * weights).sum() / (weights.sum() * len(residual))))
    objectives = {}
    power = training.model.noise_power.clone()
    for factor in (0.5, 1.0, 2.0):
        training.model.noise_power.copy_(factor * power)
        objectives[factor] = training.held_out_objective(replace(EPOCH, judges_held_out=False))  # qualities stay
    assert objectives[1.0] < min(objectives[0.5], objectives[2.0])


def test_the_held_out_objective_changes_nothing_that_trains(new_training):
    training = new_training()
    training.run_epoch(WARM_UP, never)
    before = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    randomness = training.generator.get_state()
    training.held_out_objective(EPOCH)
    after = training.model.state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(before[name], tensor)}
    assert changed <= {"quality.probability", "quality.scale"}
    for name in changed:
        assert torch.equal(before[name][training.training], after[name][training.training])
    assert torch.equal(training.generator.get_state(), randomness)


def test_a_training_goes_on_from_its_state_in_the_middle_of_an_epoch(new_training):
    whole, left, taken_up = (new_training(n_widths=2) for _ in range(3))
    for plan in (WARM_UP, EPOCH, EPOCH):
        whole.run_epoch(plan, never)
    left.run_epoch(WARM_UP, never)
    assert left.run_epoch(EPOCH, lambda: left.progress.seen >= 10) is None
    taken_up.restore(left.state())
    assert taken_up.visits == left.visits == len(left.training) + 10
    for plan in (EPOCH, EPOCH):
        taken_up.run_epoch(plan, never)
    states = whole.model.state_dict(), taken_up.model.state_dict()
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []
    assert torch.equal(whole.latent_mean, taken_up.latent_mean)
    assert torch.equal(whole.motion_power, taken_up.motion_power)


def test_the_first_look_at_the_particles_can_be_left_and_goes_on_from_its_state(new_training, monkeypatch):
    whole, left = new_training(), new_training()
    expected = whole.run_epoch(EPOCH, never)
    monkeypatch.setattr(training_module, "JUDGED_TOGETHER", 9)
    assert left.run_epoch(EPOCH, lambda: True) is None
    assert (left.judged, left.progress, left.epochs_done) == (9, None, 0)
    again = new_training()
    again.restore(deepcopy(left.state()))
    assert again.run_epoch(EPOCH, never) == pytest.approx(expected, rel=1e-5)  # other batches round otherwise
    assert again.judged == len(again.observations)
    older = whole.state()
    del older["judged"]
    again.restore(older)
    assert again.judged == len(again.observations)


def test_a_warm_up_moves_no_network(new_training):
    training = new_training()
    before = [parameter.clone() for parameter in (*training.model.field.parameters(), *training.model.encoder.parameters())]
    training.run_epoch(WARM_UP, never)
    after = [*training.model.field.parameters(), *training.model.encoder.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert training.rms_motion() == 0.0


def test_an_objective_that_is_not_finite_is_told_and_touches_no_parameter(new_training):
    training = new_training()
    training.observations.spectra[training.training[0], 0] = np.nan
    training.settings = replace(training.settings, batch_size=100)
    before = training.model.gaussians.positions.clone()
    with pytest.raises(JobFailed, match="the last good checkpoint is kept"):
        training.run_epoch(EPOCH, never)
    assert torch.equal(training.model.gaussians.positions, before)


def test_held_out_particles_train_nothing_not_even_the_first_guess_of_noise_and_scale(project, values):
    plan = make_plan(ForwardOptions.from_values(values()), Path.cwd())
    prepare = partial(prepare_half, 1, plan, device=torch.device("cpu"), scratch=None)
    before = prepare(after_batch=lambda count: None)
    with mrcfile.open(project / "particles.mrcs", mode="r+") as file:
        rows = plan.rows(1)[before.held_out.numpy()]
        file.data[rows] += np.random.default_rng(2).normal(0, 3, file.data[rows].shape).astype(np.float32)
    after = prepare(after_batch=lambda count: None)
    assert not torch.equal(before.observations.spectra, after.observations.spectra)
    for training in (before, after):
        training.run_epoch(EPOCH, never)
    states = before.model.state_dict(), after.model.state_dict()
    for state in states:
        for name in ("quality.probability", "quality.scale"):
            state[name] = state[name][before.training]  # held-out particles are judged, each by itself
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []


def test_a_consensus_that_lies_far_from_the_particles_is_made_anew_and_the_training_goes_on_from_its_state(new_training):
    training = new_training()
    training.run_epoch(EPOCH, never)
    remakes = replace(EPOCH, remakes_consensus=True)
    near = training.model.gaussians.positions.detach().clone()
    training.latent_mean.fill_(2.0)
    with torch.no_grad():
        for level in training.model.field.trunk.levels:
            level.values *= 100  # all lie many A from rest
    follow_large_motions(training, remakes)
    assert float((training.model.gaussians.positions.detach() - near).norm(dim=1).mean()) > FAR_ANGSTROMS
    assert torch.equal(training.latent_mean, torch.zeros_like(training.latent_mean))
    here = training.model.gaussians.positions.detach().clone()
    follow_large_motions(training, remakes)
    assert torch.equal(training.model.gaussians.positions, here)
    training.run_epoch(remakes, never)
    other = gone_on(new_training(), deepcopy(training.state()), {"n_latent": 2, "n_fields": 4})
    for part in (training, other):
        part.run_epoch(EPOCH, never)
    assert all(torch.equal(a, b) for a, b in zip(training.model.parameters(), other.model.parameters(), strict=True))
