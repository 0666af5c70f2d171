"""The motions that a training begins with: on made-up likelihoods, whose answer is known, and on images of a model that moves."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from jobtypes.dynamight.forward_deformations import first_motions
from jobtypes.dynamight.forward_deformations.continuation import gone_on
from jobtypes.dynamight.forward_deformations.first_motions import (
    LinearPosterior,
    Responses,
    find_first_motions,
    fitted,
    shares_of_points,
)
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan, plan_epoch
from jobtypes.dynamight.model.deformed import Deformed
from jobtypes.dynamight.model.half_model import Posterior
from jobtypes.dynamight.model.inference import responses_of_displacements
from jobtypes.dynamight.model.poses import corrected
from relion_jobs.contract.errors import JobFailed

PLAN = EpochPlan(deforms=True, resolution_angstroms=12.0, kl_weight=1.0, learning_rate=1.0)
B = 12


def made_up(factors: Tensor, particles: int = 1500, seed: int = 0, information: float = 1.0) -> tuple[Responses, Tensor]:
    """What particles say of B displacements that follow these factors (B, d), each from a view of its own; and their latents."""
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(particles, factors.shape[1], generator=generator)
    looks = torch.randn(particles, 2 * B, B, generator=generator) * (information / B) ** 0.5
    curvature = looks.transpose(1, 2) @ looks
    noise = (looks.transpose(1, 2) @ torch.randn(particles, 2 * B, 1, generator=generator))[..., 0]
    return Responses((curvature @ (latent @ factors.T)[..., None])[..., 0] + noise, curvature), latent


def planted() -> Tensor:
    factors = torch.zeros(B, 2)
    factors[:4, 0], factors[6:9, 1] = 1.0, torch.tensor([1.0, -1.0, 0.5])
    return factors


def test_evidence_and_posterior_are_those_of_the_joint_normal_distribution():
    factors = planted().double()
    found, _ = made_up(planted(), particles=5)
    responses = Responses(found.gradient.double(), found.curvature.double())
    latents = LinearPosterior.of(responses, factors)
    for gradient, curvature, mean, covariance, evidence in zip(
        responses.gradient, responses.curvature, latents.mean, latents.covariance, latents.evidence, strict=True
    ):
        # the gradient is normal with the curvature as its covariance at rest, and wider where displacements scatter
        rest = MultivariateNormal(torch.zeros(B).double(), curvature)
        moves = MultivariateNormal(torch.zeros(B).double(), curvature + curvature @ factors @ factors.T @ curvature)
        assert float(evidence) == pytest.approx(float(moves.log_prob(gradient) - rest.log_prob(gradient)), abs=1e-6)
        gain = factors.T @ curvature @ torch.linalg.inv(curvature + curvature @ factors @ factors.T @ curvature)
        assert mean.tolist() == pytest.approx((gain @ gradient).tolist(), abs=1e-8)
        assert torch.allclose(covariance, torch.eye(2).double() - gain @ curvature @ factors, atol=1e-8)


def test_planted_factors_are_found():
    responses, latent = made_up(planted())
    start = 0.1 * torch.randn(B, 2, generator=torch.Generator().manual_seed(5))
    factors = fitted(start, responses, torch.zeros(B, B), 40)
    # latents may be turned: what is known is the covariance of the displacements
    truth = planted() @ planted().T
    assert float((factors @ factors.T - truth).norm() / truth.norm()) < 0.15
    predicted = LinearPosterior.of(responses, factors).mean @ factors.T
    assert float((predicted - latent @ planted().T).square().sum() / (latent @ planted().T).square().sum()) < 0.35


def test_every_iteration_raises_the_evidence():
    responses, _ = made_up(planted(), particles=300)
    factors = 0.1 * torch.randn(B, 2, generator=torch.Generator().manual_seed(5))
    evidence = []
    for _ in range(12):
        factors = fitted(factors, responses, torch.zeros(B, B), 1)
        evidence.append(float(LinearPosterior.of(responses, factors).evidence.mean()))
    assert all(after > before - 1e-4 for before, after in itertools.pairwise(evidence))
    assert evidence[-1] > evidence[0] + 0.1


def test_a_stiff_molecule_moves_less():
    responses, _ = made_up(planted(), particles=300)
    start = 0.1 * torch.randn(B, 2, generator=torch.Generator().manual_seed(5))
    sizes = [float(fitted(start, responses, weight * torch.eye(B), 20).norm()) for weight in (0.0, 1.0, 1e4)]
    assert sizes[0] > sizes[1] > 1e3 * sizes[2]


@pytest.mark.parametrize("moves", [True, False])
def test_a_motion_is_chosen_only_where_particles_that_were_not_fitted_show_it(moves):
    for seed in range(3):
        responses, _ = made_up(planted() if moves else torch.zeros(B, 2), particles=800, seed=seed)
        start = 0.1 * torch.randn(B, 2, generator=torch.Generator().manual_seed(5))
        assert (first_motions._chosen(responses, start, 0.1 * torch.eye(B)) is not None) is moves


def test_every_gaussian_follows_the_points_around_it():
    positions = 60 * torch.rand(800, 3, generator=torch.Generator().manual_seed(0))
    shares = shares_of_points(positions)
    assert len(shares) <= first_motions.MOST_POINTS
    assert torch.allclose(shares.sum(0), torch.ones(800))
    centres = (shares @ positions) / shares.sum(1, keepdim=True)
    assert float((shares.T @ centres - positions).norm(dim=1).mean()) < 15


def test_responses_are_the_derivatives_of_the_likelihood(new_training):
    """Where priors hold poses and scales: against sums over every Gaussian in float64."""
    training = new_training()
    model, observations, band = training.model, training.observations, training.observations.band
    model.quality.scale_spread.fill_(1e-4)
    model.poses.sigmas.fill_(1e-6)
    n_terms = len(band)
    batch = observations.batch(torch.arange(4), n_terms)
    positions = model.gaussians.positions.detach().double()
    shares = torch.stack((positions[:, 0] > 0, positions[:, 1] > 0)).double()
    gradient, curvature = responses_of_displacements(
        model, batch, training.projector, shares.float(), n_terms=n_terms, independent_fraction=0.4
    )
    weights = 0.4 * band.weights * model.precision(band, n_terms)[batch.group]
    matrices, shifts = (poses.double() for poses in corrected(model.poses.corrections[batch.index], batch.matrices, batch.shifts))
    frequencies = band.frequencies.double()
    places = torch.einsum("bxc,nc->bnx", matrices, positions)[..., :2] + shifts[:, None]
    waves = torch.exp(-2j * math.pi * torch.einsum("qx,bnx->bqn", frequencies, places)) * model.gaussians.amplitudes.detach()
    transfer = model.transfer(batch, n_terms) * model.gaussians.transfer(band.squared_frequencies)[0].detach()
    left = batch.spectra - transfer * waves.sum(2)
    turns = -2j * math.pi * torch.einsum("qx,bxc->bqc", frequencies, matrices[:, :2])
    columns = torch.einsum("bq,bqn,pn,bqc->bpcq", transfer.to(waves), waves, shares.to(waves), turns).flatten(1, 2)
    slopes = 2 * torch.einsum("bq,bmq->bm", weights.to(left) * left, columns.conj()).real
    bends = 2 * torch.einsum("bq,bmq,bkq->bmk", weights.to(left), columns, columns.conj()).real
    assert torch.allclose(gradient.double(), slopes, atol=0.01 * float(slopes.abs().max()))
    assert torch.allclose(curvature.double(), bends, atol=0.01 * float(bends.abs().max()))


SWINGS = torch.tensor([14.0, 0.0, 8.0])  # A, the ball that moves


@pytest.fixture
def moving(new_training, given_images, monkeypatch):
    """Make a training on images in which a ball of its own model goes to and fro by 3 A along y; `states` says how far."""
    monkeypatch.setattr(first_motions, "JUDGES", 3)  # of so few particles

    observations = new_training().observations  # of all trainings
    spectra, scale = observations.spectra.clone(), observations.scale.clone()

    @torch.no_grad()
    def make():
        observations.spectra.copy_(spectra)
        observations.scale.copy_(scale)
        training = new_training()
        model = training.model
        positions = model.gaussians.positions.detach()
        swings = ((positions - SWINGS).norm(dim=1) < 9).float()
        training.states = 3.0 * torch.randn(len(observations), generator=torch.Generator().manual_seed(2)).sign()
        batch = observations.batch(torch.arange(len(observations)))
        moved = Deformed(positions, training.states[:, None], (swings[:, None] * torch.tensor([0.0, 1.0, 0.0]))[None])
        poses = model.poses(batch.index, batch.matrices, batch.shifts)
        given_images(training, model.project(moved, *poses, training.projector, batch.ctf.shape[1]), noise_share=0.1)
        return training

    return make


def test_a_training_begins_with_the_motion_of_its_images(moving):
    training = moving()
    assert find_first_motions(training, PLAN)
    model, positions = training.model, training.model.gaussians.positions.detach()
    swings = (positions - SWINGS).norm(dim=1) < 9
    displacements = model.displacement(training.latent_mean[training.training]).detach()
    along = displacements[:, swings, 1].mean(1)
    assert float(torch.corrcoef(torch.stack((along, training.states[training.training])))[0, 1]) > 0.9
    rms = displacements.square().sum(2).mean(0).sqrt()
    assert float(rms[swings].mean()) > 1.4 * float(rms[positions[:, 0] < -8].mean())  # of twenty particles
    assert torch.allclose(training.motion_power.sqrt(), rms, rtol=0.1, atol=0.05)


@torch.no_grad()
def test_the_encoder_learns_as_long_as_it_guesses_better_for_others(new_training):
    training = new_training()
    sample, n_terms = training.training, len(training.observations.band)
    batch = training.observations.batch(sample, n_terms)
    inputs = training.model.encoder_inputs(batch, training.projector, n_terms)
    brightness = inputs.abs().mean(1)
    mean = ((brightness - brightness.mean()) / brightness.std())[:, None] * torch.tensor([1.0, 0.0])
    target = Normal(mean, 0.5)

    def divergence():
        guess = training.model.encode(batch, training.projector, n_terms)
        return kl_divergence(target, Normal(guess.mean, (0.5 * guess.log_variance).exp())).sum(1)

    before = divergence()
    first_motions._teach(training, PLAN, sample, Posterior(mean, torch.full_like(mean, 2 * math.log(0.5))))
    after, judges = divergence(), torch.arange(len(sample)) < len(sample) // first_motions.JUDGES
    assert float(after[judges].mean()) < float(before[judges].mean())
    assert float(after[~judges].mean()) < 0.7 * float(before[~judges].mean())


def test_a_training_without_a_sure_motion_begins_as_it_was(new_training, monkeypatch):
    training = new_training()
    training.model.quality.typical.fill_(1.0)
    monkeypatch.setattr(first_motions, "SURE_DEVIATIONS", 1e9)
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    assert not find_first_motions(training, PLAN)
    assert not training.latent_mean.any()
    assert all(torch.equal(value, before[name]) for name, value in training.model.state_dict().items())


def test_motions_are_looked_for_in_the_first_epoch_that_deforms_if_there_are_none(new_training, monkeypatch):
    training, calls = new_training(), []
    monkeypatch.setattr(
        "jobtypes.dynamight.forward_deformations.training.find_first_motions", lambda one, plan: calls.append(plan.deforms)
    )
    plans = [plan_epoch(epoch, 12, 12.0) for epoch in range(12)]
    assert [plan.looks_for_motions for plan in plans] == [
        plan.deforms and not plans[max(0, n - 1)].deforms for n, plan in enumerate(plans)
    ]
    for plan in (*plans[:3], plans[1]):
        training.run_epoch(plan, lambda: False)
    assert calls == [True]


def test_a_training_that_is_left_after_it_began_with_motions_goes_on_with_the_same_numbers(new_training, moving):
    plans = [replace(PLAN, looks_for_motions=True), PLAN]
    ended = []
    for leaves in (False, True):
        training = moving()
        figures = training.run_epoch(plans[0], partial(bool, leaves))
        if figures is None:
            state = copy.deepcopy(training.state())
            training = gone_on(moving(), state, {"n_latent": 2, "n_fields": 4})
            training.run_epoch(plans[0], lambda: False)
        training.run_epoch(plans[1], lambda: False)
        ended.append(training.model.state_dict())
    assert float(training.latent_mean.square().sum()) > 0
    assert [name for name in ended[0] if not torch.equal(ended[0][name], ended[1][name])] == []


def test_images_that_say_nothing_finite_are_told(new_training):
    training = new_training()
    training.model.quality.typical.fill_(1.0)
    training.observations.spectra[training.training[0], 0] = float("nan")
    with pytest.raises(JobFailed, match="the last good checkpoint is kept"):
        find_first_motions(training, PLAN)
