"""The whole way from the images to a training step, and on to the results, with what a CPU computes with and what a GPU does."""

from __future__ import annotations

from dataclasses import astuple, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from jobtypes.dynamight.forward_deformations import task
from jobtypes.dynamight.forward_deformations.plan import make_plan
from jobtypes.dynamight.forward_deformations.posteriors import PosteriorStage, held_out_verdict
from jobtypes.dynamight.forward_deformations.preparation import prepare_half
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.model import projection
from jobtypes.dynamight.model.backend import COMPILED_LOOPS, WHOLE_TENSORS, Backend
from jobtypes.dynamight.model.observations import ObservedBatch
from jobtypes.dynamight.model.projection import Projector
from jobtypes.dynamight.model.result import load_centred_result
from jobtypes.dynamight.options import ForwardOptions

BOTH = COMPILED_LOOPS, WHOLE_TENSORS
WARM_UP = EpochPlan(deforms=False, resolution_angstroms=16.0, kl_weight=0.1, learning_rate=1.0)
EPOCH = EpochPlan(deforms=True, resolution_angstroms=12.0, kl_weight=0.1, learning_rate=1.0)


@pytest.fixture
def training_with(project, values, monkeypatch):
    """Make the training of half 1 of the swinging dumbbell, computed by a backend."""

    def make(backend: Backend) -> HalfTraining:
        monkeypatch.setattr(projection, "backend_for", lambda device: backend)
        options = ForwardOptions.from_values(values(extra="--n-gaussian-widths 2"))
        plan = make_plan(options, Path.cwd())
        return prepare_half(1, plan, device=torch.device("cpu"), scratch=None, after_batch=lambda count: None)

    return make


def batch_in(dtype: torch.dtype, batch: ObservedBatch) -> ObservedBatch:
    floats = {name: getattr(batch, name).to(dtype) for name in ("ctf", "matrices", "shifts")}
    return replace(batch, spectra=batch.spectra.to(dtype.to_complex()), **floats)


def in_double(training: HalfTraining, backend: Backend) -> HalfTraining:
    """The same training in double precision, with a backend of its own."""
    band = training.observations.band.to(torch.device("cpu"))
    band.frequencies, band.weights = band.frequencies.double(), band.weights.double()
    training.model.double()
    single = training.observations.batch
    training.observations.batch = lambda *which: batch_in(torch.float64, single(*which))
    training.observations.band, training.projector = band, Projector(band, backend=backend)
    for name in ("latent_mean", "latent_log_variance", "motion_power"):
        setattr(training, name, getattr(training, name).double())
    return training


def step(training: HalfTraining, dtype: torch.dtype) -> dict[str, Tensor]:
    """Losses of a batch, power of the residuals, and the gradient by everything that is trained."""
    model, n_terms = training.model, training.observations.band.n_terms(EPOCH.resolution_angstroms)
    batch = batch_in(dtype, training.observations.batch(training.training[:5], n_terms))
    corrections = model.poses.corrections[batch.index].requires_grad_()
    training.generator.manual_seed(1)
    frame = model.field.frame(model.field.anchors)
    draws = training._draws(training.training[:5])
    losses, _, power, _ = training._losses(batch, corrections, EPOCH, n_terms, frame, draws)
    sum(losses.values()).mean().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {"power": power, "pose gradient": corrections.grad, **losses, **gradients}


def errors(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """Of each tensor the norm of the difference over that of what is expected.

    A shift that all fields have in common is taken off them, so its slope is nothing but rounding: it is not divided by.
    """
    assert found.keys() == expected.keys()
    return {
        name: float((found[name] - tensor).detach().norm() / tensor.detach().norm().clamp(min=1e-3))
        for name, tensor in expected.items()
    }


def test_the_losses_and_gradients_of_a_step_are_the_same_in_double_precision(training_with):
    trainings = [in_double(training_with(COMPILED_LOOPS), backend) for backend in BOTH]
    for training in trainings:
        training.model.poses.corrections.uniform_(-0.02, 0.02, generator=torch.Generator().manual_seed(0))
    compiled, whole = (step(training, torch.float64) for training in trainings)
    assert {"data", "kl", "strain", "gaussians.positions", "field.trunk.levels.0.values", "encoder.mean.weight"} < compiled.keys()
    assert max(errors(whole, compiled).values()) < 1e-11


def test_those_of_single_precision_are_theirs_within_rounding(training_with, backend):
    exact = step(in_double(training_with(backend), backend), torch.float64)
    assert max(errors(step(training_with(backend), torch.float32), exact).values()) < 1e-4


def trained(training: HalfTraining) -> dict[str, Tensor]:
    """What a few epochs make of it, and what later tasks take from it."""
    losses = [training.run_epoch(plan, lambda: False)["loss"] for plan in (WARM_UP, EPOCH, EPOCH)]
    objective = training.held_out_objective(EPOCH)
    PosteriorStage(training).run(EPOCH, lambda: False)
    model = training.model.eval().requires_grad_(False)
    return {
        "loss": torch.tensor(losses),
        "held-out objective": torch.tensor(objective),
        "evidence": torch.tensor(astuple(held_out_verdict(training, EPOCH).motion)),
        "latents": training.latent_mean,
        "displacements": model.displacement(training.latent_mean),
        "positions": model.gaussians.positions,
        "amplitudes": model.gaussians.amplitudes,
        "noise": model.noise_power,
        "poses": model.poses.corrections,
    }


def test_a_short_training_comes_out_alike(training_with):
    # in double precision: a step of Adam makes of a slope that is hardly more than rounding a step like any other
    compiled, whole = (trained(in_double(training_with(backend), backend)) for backend in BOTH)
    found = errors(whole, compiled)
    assert {name: error for name, error in found.items() if error > 1e-6} == {}


def test_a_whole_job_runs_on_either(project, values, new_job, backend, monkeypatch):
    monkeypatch.setattr(projection, "backend_for", lambda device: backend)
    other = type(WHOLE_TENSORS if backend is COMPILED_LOOPS else COMPILED_LOOPS)
    for name in vars(other):
        if not name.startswith("_"):
            monkeypatch.setattr(other, name, None)  # not to be called
    task.run(values(), new_job())
    forward = load_centred_result(project / "DynaMight/job001")
    assert forward.epoch == 4
    assert all(bool(half.latent_by_other.isfinite().all()) for half in forward.halves.values())
