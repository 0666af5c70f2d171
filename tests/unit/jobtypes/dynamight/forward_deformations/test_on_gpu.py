"""A training on a pretended GPU: nothing is mixed with the CPU, hardly anything is waited for, and the result is the CPU's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobtypes.dynamight import layout
from jobtypes.dynamight.forward_deformations import task
from jobtypes.dynamight.forward_deformations.plan import make_plan
from jobtypes.dynamight.forward_deformations.preparation import prepare_half
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.model import projection
from jobtypes.dynamight.model.backend import WHOLE_TENSORS
from jobtypes.dynamight.model.result import load_centred_result
from jobtypes.dynamight.options import ForwardOptions
from tests.pretended_gpu import counted, pretended_gpu

EPOCH = EpochPlan(deforms=True, resolution_angstroms=12.0, kl_weight=0.1, learning_rate=1.0)
LAUNCHES_OF_A_STEP = 900  # 876 now, of which a quarter is torch's backward pass and Adam


@pytest.fixture
def gpu():
    with pretended_gpu() as device:
        yield device


@pytest.fixture
def training(project, values, gpu):
    plan = make_plan(ForwardOptions.from_values(values(extra="--n-gaussian-widths 2")), Path.cwd())
    return prepare_half(1, plan, device=gpu, scratch=None, after_batch=lambda count: None)


def test_a_step_waits_once_for_its_figures(training):
    steps = training.run([EPOCH], lambda: True)
    next(steps)
    with counted() as counts:
        assert next(steps) is None  # left after one step
    assert [operation for operation, place in counts.waits.elements()] == ["_to_copy"]
    assert sum(counts.launches.values()) < LAUNCHES_OF_A_STEP


def test_held_out_particles_are_waited_for_once_whatever_their_number(training):
    waits = []
    for held_out in (training.training[:5], training.training[:15]):
        training.held_out = held_out
        with counted() as counts:
            training.held_out_objective(EPOCH)
        waits.append(sum(counts.waits.values()))
    assert waits[0] == waits[1]


def test_the_end_of_an_epoch_is_not_waited_for_by_each_of_its_tensors(training):
    steps = training.run([EPOCH], lambda: True)
    while training.progress is None or training.progress.seen + 5 < len(training.training):
        next(steps)
    with counted() as counts:
        assert next(steps)["loss"] > 0
    assert sum(counts.waits.values()) < 8


def test_a_whole_training_comes_out_as_on_a_cpu_that_computes_with_whole_tensors(project, values, recording_job, monkeypatch):
    with pretended_gpu():
        task.run(values(), recording_job(project, "DynaMight/job001"))
    monkeypatch.setattr(projection, "backend_for", lambda device: WHOLE_TENSORS)
    monkeypatch.setattr(task, "is_gpu", lambda device: True)  # both half sets in this process
    task.run(values(), recording_job(project, "DynaMight/job002"))
    on_gpu, on_cpu = (json.loads(Path(f"DynaMight/job00{n}", layout.HISTORY).read_text()) for n in (1, 2))
    assert [row["held_out"] for row in on_gpu] == pytest.approx([row["held_out"] for row in on_cpu], rel=1e-3)
    halves = load_centred_result(Path("DynaMight/job001")).halves
    assert all(bool(half.latent_by_other.isfinite().all()) for half in halves.values())
