"""The worked-out posterior against a slow float64 optimiser and a Hessian by finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from jobtypes.common.particles import read_particles
from jobtypes.dynamight.model import inference
from jobtypes.dynamight.model.half_model import HalfModel, Posterior
from jobtypes.dynamight.model.inference import estimate_poses, refine_posterior, told_latents, weights_of_states
from jobtypes.dynamight.model.likelihood import Likelihood
from jobtypes.dynamight.model.observations import Band, Observations, ObservedBatch, image_mask
from jobtypes.dynamight.model.poses import corrected
from jobtypes.dynamight.model.projection import Projector
from jobtypes.dynamight.model.representatives import Representatives
from jobtypes.dynamight.model.told import ToldLatents

NOISE_POWER, FRACTION, PARTICLES = 300.0, 0.6, 12


class Problem:
    """Particles of known latents, predicted by the model and with noise of the power that it assumes."""

    def __init__(self, model: HalfModel) -> None:
        self.model = model
        band = Band(24, 4.0, 14.0)
        self.projector, self.n_terms = Projector(band), len(band)
        self.model.noise_power.fill_(NOISE_POWER)
        table = read_particles("particles.star")
        mask, _ = image_mask(24, 4.0, None, 10.0)
        batch = Observations(table, np.flatnonzero(table.half == 1)[:PARTICLES], band, mask, device=torch.device("cpu")).batch(
            torch.arange(PARTICLES)
        )
        self.batch = batch
        generator = torch.Generator().manual_seed(3)
        self.truth = torch.randn(PARTICLES, 2, generator=generator)
        noise = torch.randn(PARTICLES, self.n_terms, 2, generator=generator) * (NOISE_POWER / 2) ** 0.5
        with torch.no_grad():
            self.batch = replace(batch, spectra=self.predict(self.truth, batch) + torch.view_as_complex(noise))

    def predict(self, latent: Tensor, batch: ObservedBatch) -> Tensor:
        """(b, q) terms, by autograd's own way through the model."""
        model = self.model
        matrices, shifts = model.poses(batch.index, batch.matrices, batch.shifts)
        return batch.ctf * model.project(model.deformed(latent), matrices, shifts, self.projector, self.n_terms)

    def objective(self, latent: Tensor) -> Tensor:
        """(b,) minus the log posterior, written out."""
        weights = FRACTION * self.projector.band.weights / self.model.noise_power[0, 0]
        residual = self.batch.spectra - self.predict(latent, self.batch)
        return (weights * residual.abs().square()).sum(1) + latent.square().sum(1) / 2

    def likelihood(self, **moving: bool | ToldLatents) -> Likelihood:
        return Likelihood(
            self.model,
            self.batch,
            self.projector,
            n_terms=self.n_terms,
            independent_fraction=FRACTION,
            **({"move_poses": False} | moving),
        )

    def refine(self, start: Tensor, *, others: Representatives | None = None, **moving: bool | ToldLatents) -> Posterior:
        guess = Posterior(start, torch.zeros_like(start))
        posterior, corrections = refine_posterior(self.likelihood(**moving), guess, prior_weight=1.0, others=others)
        self.model.poses.corrections[self.batch.index] = corrections
        return posterior

    def double(self) -> Problem:
        """All of it in float64."""
        self.model.double()
        floats = {name: getattr(self.batch, name).double() for name in ("ctf", "matrices", "shifts")}
        self.batch = replace(self.batch, spectra=self.batch.spectra.to(torch.complex128), **floats)
        band = self.projector.band
        for name in ("squared_frequencies", "frequencies", "weights"):
            setattr(band, name, getattr(band, name).double())
        self.projector, self.truth = Projector(band), self.truth.double()
        return self


@pytest.fixture
def problem(forward) -> Problem:
    return Problem(forward.halves[1].model)


def slow_minimum(problem: Problem, start: Tensor) -> Tensor:
    """(b, d) minimum by many steps of L-BFGS in float64."""
    latent = start.clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS(
        [latent], max_iter=400, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = problem.objective(latent).sum()
        value.backward()
        return value

    optimiser.step(closure)
    return latent.detach()


def test_gauss_newton_steps_reach_the_minimum_of_a_slow_optimiser(problem):
    refined = problem.refine(problem.truth + 0.4).mean
    slow = problem.double()
    best = slow_minimum(slow, slow.truth)
    excess = slow.objective(refined.double()) - slow.objective(best)
    # a tenth of a log-likelihood unit is less than half a standard deviation of the posterior
    assert float(excess.max()) < 0.1
    assert float(excess.mean()) < 0.03


def test_the_worked_out_posterior_is_never_worse_than_its_start(problem):
    generator = torch.Generator().manual_seed(5)
    for spread in (0.1, 1.0, 6.0):
        start = spread * torch.randn(PARTICLES, 2, generator=generator)
        before, after = problem.objective(start), problem.objective(problem.refine(start).mean)
        assert bool((after <= before * (1 + 1e-6)).all())


def test_a_state_that_fits_better_leads_out_of_a_wrong_maximum(problem):
    wrong = 6 * torch.randn(PARTICLES, 2, generator=torch.Generator().manual_seed(7))
    alone, right = problem.objective(problem.refine(wrong).mean), problem.objective(problem.refine(problem.truth).mean)
    assert float((alone - right).max()) > 1  # some are stuck
    others = Representatives(problem.truth, torch.full((PARTICLES,), 1 / PARTICLES))
    helped = problem.objective(problem.refine(wrong, others=others).mean)
    assert float((helped - right).max()) < 1  # the mean over several maxima is beside the highest


def moments_on_a_grid(problem: Problem, step: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance (b, 2) of the posteriors, and the grid (g, 2)."""
    axis = torch.arange(-4.0, 4.01, step)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        objective = torch.stack([problem.objective(z.expand(PARTICLES, 2)) for z in grid], dim=1)  # (b, g)
    weights = (objective.min() - objective).double().softmax(dim=1)
    mean = weights @ grid.double()
    return mean, weights @ grid.double().square() - mean.square(), grid


def test_around_a_maximum_the_mean_is_that_of_the_posterior_and_not_its_peak(problem, monkeypatch):
    mean, variance, _ = moments_on_a_grid(problem, 0.2)
    nowhere = Representatives(torch.full((1, 2), 50.0), torch.ones(1))  # no other state counts
    errors = []
    for most in (0, inference.MOST_LATENTS_BY_POINTS):  # by Laplace's approximation; by points
        monkeypatch.setattr(inference, "MOST_LATENTS_BY_POINTS", most)
        found = problem.refine(problem.truth, others=nowhere)
        errors.append(float(((found.mean - mean).square() / variance).sum(1).median().sqrt()))  # some have maxima elsewhere
    assert errors[1] < 0.7 * errors[0]
    assert torch.allclose(found.log_variance.exp().mean(0).double(), variance.mean(0), rtol=0.2)


def test_a_posterior_that_is_very_narrow_is_worked_out_as_well(problem):
    problem.model.noise_power.mul_(1e-6)
    found = problem.refine(problem.truth, others=Representatives(torch.zeros(1, 2), torch.ones(1)))
    assert bool(found.mean.isfinite().all() and found.log_variance.isfinite().all())
    assert float(found.log_variance.max()) < -8


def test_no_particle_is_found_beyond_those_that_the_decoder_was_trained_on(problem):
    bounds = torch.tensor([-0.5, -0.3]), torch.tensor([0.4, 0.6])
    told = ToldLatents(torch.arange(2), *bounds)
    free = problem.refine(problem.truth).mean
    assert bool((free > bounds[1]).any() and (free < bounds[0]).any())
    for others in (None, Representatives(torch.zeros(1, 2), torch.ones(1))):
        found = problem.refine(problem.truth, others=others, told=told).mean
        assert bool(((found >= bounds[0] - 1e-6) & (found <= bounds[1] + 1e-6)).all())
    inside = ((free > bounds[0]) & (free < bounds[1])).all(1)
    assert 0 < int(inside.sum()) < PARTICLES
    assert torch.allclose(problem.refine(problem.truth, told=told).mean[inside], free[inside], atol=0.1)


def test_the_mean_and_variance_are_those_of_the_whole_posterior(problem):
    problem.model.noise_power.mul_(8)  # broad posteriors
    mean, variance, grid = moments_on_a_grid(problem, 0.25)
    standard_normal = torch.distributions.Normal(0.0, 1.0)
    others = Representatives(grid, standard_normal.log_prob(grid).sum(1).exp() * 0.25**2)
    found = problem.refine(problem.truth, others=others)
    assert float((found.mean - mean).square().mean().sqrt()) < 0.25 * float(variance.mean().sqrt())
    assert torch.allclose(found.log_variance.exp().mean(0).double(), variance.mean(0), rtol=0.3)


def ignore_latent_of(problem: Problem, place: int) -> None:
    """Let the fields not depend on a latent."""
    with torch.no_grad():
        problem.model.field.branch[0].weight[:, place] = 0


def test_an_image_tells_of_a_latent_what_its_posterior_is_narrower_than_the_prior(problem):
    start = Posterior(problem.truth, torch.zeros_like(problem.truth))
    told = told_latents(problem.likelihood(), start, prior_weight=1.0)
    variance = problem.refine(problem.truth).log_variance.exp()
    assert torch.allclose(told, -0.5 * variance.log(), atol=1e-5)
    ignore_latent_of(problem, 1)
    told = told_latents(problem.likelihood(), start, prior_weight=1.0)
    assert bool((told[:, 0] > 0.3).all())
    assert float(told[:, 1].abs().max()) < 0.05


@pytest.mark.parametrize("with_states", [False, True])
def test_a_latent_that_images_tell_nothing_of_is_left_at_its_prior_and_the_others_are_worked_out(problem, with_states):
    ignore_latent_of(problem, 0)
    others = Representatives(2 * problem.truth, torch.full((PARTICLES,), 1 / PARTICLES)) if with_states else None
    start = problem.truth + 0.3
    whole = problem.refine(start, others=others)
    second = ToldLatents(torch.tensor([1]), torch.tensor([-torch.inf]), torch.tensor([torch.inf]))
    found = problem.refine(start, others=others, told=second)
    assert bool((found.mean[:, 0] == 0).all())
    assert bool((found.log_variance[:, 0] == 0).all())
    deviations = (0.5 * whole.log_variance[:, 1]).exp()
    away = ((found.mean - whole.mean)[:, 1] / deviations).abs()
    assert float(away.max()) < 0.3  # a tenth of a deviation is near enough for either
    assert float(away.mean()) < 0.1
    ratio = (found.log_variance - whole.log_variance)[:, 1]  # derivatives of a place up to a deviation away
    assert float(ratio.abs().max()) < 0.4
    assert float(ratio.abs().mean()) < 0.1


def test_new_derivatives_are_taken_only_for_those_that_are_long_on_their_way(problem, monkeypatch):
    asked: list[int] = []
    renew = Likelihood.renew_latents

    def heard(target: Likelihood, columns: Tensor, unknown: Tensor, predicted: Tensor) -> None:
        asked.append(len(unknown))
        renew(target, columns, unknown, predicted)

    monkeypatch.setattr(Likelihood, "renew_latents", heard)
    problem.refine(problem.truth + 0.1)
    assert sum(asked) < PARTICLES / 2
    asked.clear()
    problem.refine(problem.truth + 3.0)
    assert 0 < sum(asked) < 2 * PARTICLES


def test_the_variance_is_that_of_the_inverse_curvature(problem):
    refined = problem.refine(problem.truth)
    slow = problem.double()
    latent = refined.mean.double()
    # the Gauss-Newton curvature is the Hessian where image and prediction agree
    slow.batch = replace(slow.batch, spectra=slow.predict(latent, slow.batch).detach())
    step = 0.02
    offsets = step * torch.eye(2, dtype=torch.float64)
    hessian = torch.empty(PARTICLES, 2, 2, dtype=torch.float64)
    for i, one in enumerate(offsets):
        for j, other in enumerate(offsets):
            corners = [slow.objective(latent + a * one + b * other) * a * b for a in (-1, 1) for b in (-1, 1)]
            hessian[:, i, j] = sum(corners) / (4 * step**2)
    expected = torch.linalg.inv(hessian).diagonal(dim1=1, dim2=2)
    # derivatives are those of a place up to a standard deviation away
    ratio = refined.log_variance.double().exp() / expected
    assert float(ratio.log().mean().exp()) == pytest.approx(1, abs=0.1)
    assert float(ratio.log().abs().max().exp()) < 1.5


def test_poses_and_latents_reach_the_minimum_together(problem):
    with torch.no_grad():
        problem.batch = replace(problem.batch, shifts=problem.batch.shifts + torch.tensor([1.0, -0.7]))  # a wrong input
    poses = problem.model.poses
    poses.scale.copy_(torch.tensor([0.02] * 3 + [1.5] * 2))
    poses.sigmas.copy_(poses.scale)
    refined = problem.refine(problem.truth, move_poses=True).mean
    found = poses.corrections.clone()
    slow = problem.double()
    poses = slow.model.poses
    unknown = torch.cat((slow.truth, torch.zeros(PARTICLES, 5)), dim=1).double().requires_grad_(True)

    def objective(latent: Tensor, corrections: Tensor) -> Tensor:
        weights = FRACTION * slow.projector.band.weights / NOISE_POWER
        matrices, shifts = corrected(corrections, slow.batch.matrices, slow.batch.shifts)
        terms = slow.model.project(slow.model.deformed(latent), matrices, shifts, slow.projector, slow.n_terms)
        predicted = slow.batch.ctf * terms
        data = (weights * (slow.batch.spectra - predicted).abs().square()).sum(1)
        return data + latent.square().sum(1) / 2 + poses.penalty(corrections)

    optimiser = torch.optim.LBFGS([unknown], max_iter=400, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = objective(unknown[:, :2], unknown[:, 2:] * poses.scale).sum()
        value.backward()
        return value

    optimiser.step(closure)
    with torch.no_grad():
        best = objective(unknown[:, :2], unknown[:, 2:] * poses.scale)
        excess = objective(refined.double(), found[slow.batch.index].double()) - best
    assert float(excess.max()) < 0.1
    assert float(excess.mean()) < 0.05


def test_rotations_stay_where_only_shifts_are_worked_out(problem):
    poses = problem.model.poses
    poses.scale.copy_(torch.tensor([0.02] * 3 + [1.5] * 2))
    poses.sigmas.copy_(poses.scale)
    poses.corrections[:, :3] = 0.01
    with torch.no_grad():
        problem.batch = replace(problem.batch, shifts=problem.batch.shifts + torch.tensor([1.0, -0.7]))  # a wrong input
    problem.refine(problem.truth, move_poses=True, turn=False)
    found = poses.corrections[problem.batch.index]
    assert bool((found[:, :3] == 0.01).all())
    assert torch.allclose(found[:, 3:].mean(0), torch.tensor([-1.0, 0.7]), atol=0.5)


def test_a_state_beyond_doubt_is_not_tried_and_loses_what_little_it_weighs(problem):
    problem.model.noise_power.mul_(8)
    axis = torch.arange(-4.0, 4.01, 0.5)
    grid = torch.cartesian_prod(axis, axis)
    shares = torch.distributions.Normal(0.0, 1.0).log_prob(grid).sum(1).exp() * 0.5**2
    everywhere = Representatives(grid, shares)
    start = Posterior(problem.truth, torch.zeros_like(problem.truth))
    distances, weights = weights_of_states(problem.likelihood(), start, everywhere, prior_weight=1.0)
    assert distances.shape == weights.shape == (PARTICLES, len(grid))
    assert bool((weights[distances < 9] == 0).all())
    nearby = everywhere.tried_on(distances, weights)
    assert 3 < nearby.doubt < float(distances.max().sqrt())
    whole, part = problem.refine(problem.truth, others=everywhere), problem.refine(problem.truth, others=nearby)
    assert not torch.equal(whole.mean, part.mean)
    assert float((whole.mean - part.mean).abs().max()) < 0.1


def test_the_likelihood_of_some_particles_is_that_of_the_batch(problem):
    whole, places = problem.likelihood(move_poses=True), torch.tensor([3, 0, 3])
    unknown = whole.unknowns(problem.truth)
    expected = whole.misfit(whole.predict(unknown))[places]
    some = whole.of(places)
    assert torch.allclose(some.misfit(some.predict(unknown[places])), expected, rtol=1e-5)


def test_estimates_by_likelihood_alone_scatter_about_the_true_poses_as_their_variances_say(problem):
    poses = problem.model.poses
    poses.scale.copy_(torch.tensor([0.02] * 3 + [1.5] * 2))
    poses.sigmas.copy_(poses.scale)
    estimates, variances, curvature = estimate_poses(
        problem.model,
        problem.batch,
        problem.truth,
        problem.projector,
        n_terms=problem.n_terms,
        independent_fraction=1.0,  # the noise of this test is independent everywhere
        prior_weight=1.0,
    )
    scores = (estimates / variances.sqrt())[:, 3:]  # shifts: the little molecule is nearly a ball, whose rotations nobody sees
    assert 0.45 < float(scores.square().mean()) < 1.8  # 24 values of a chi square with one degree of freedom
    assert bool((torch.linalg.eigvalsh(curvature) > 0).all())


def test_no_step_takes_the_default_device_for_that_of_its_data(problem):
    expected = problem.refine(problem.truth)
    # as on a GPU, what is made there without naming a device cannot be mixed with the data
    with torch.device("meta"):
        found, _ = refine_posterior(problem.likelihood(), Posterior(problem.truth, problem.truth), prior_weight=1.0)
    assert torch.equal(found.mean, expected.mean)
    assert torch.equal(found.log_variance, expected.log_variance)
