"""All tasks on a GPU, a pretended and a real one: nothing is mixed with the CPU, hardly anything is waited for."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch

from jobtypes.common.checkpoints import load_checkpoint, save_checkpoint
from jobtypes.dynamight import layout
from jobtypes.dynamight.backprojection import outputs
from jobtypes.dynamight.backprojection import task as backprojection_task
from jobtypes.dynamight.forward_deformations import task
from jobtypes.dynamight.forward_deformations.plan import make_plan
from jobtypes.dynamight.forward_deformations.preparation import prepare_half
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.inverse_deformations import task as inverse_task
from jobtypes.dynamight.model import projection
from jobtypes.dynamight.model.backend import WHOLE_TENSORS
from jobtypes.dynamight.model.result import load_centred_result
from jobtypes.dynamight.options import ForwardOptions
from jobtypes.dynamight.states import task as states_task
from tests.pretended_gpu import GPUS, counted, pretended_gpu

EPOCH = EpochPlan(deforms=True, resolution_angstroms=12.0, kl_weight=0.1, learning_rate=1.0)
LAUNCHES_OF_A_STEP = 950  # 928 now, of which a quarter is torch's backward pass and Adam


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


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_torch_itself_sees_a_real_gpu_waited_for_once_in_a_step(project, values):
    plan = make_plan(ForwardOptions.from_values(values()), Path.cwd())
    training = prepare_half(1, plan, device=torch.device("cuda", 0), scratch=None, after_batch=lambda count: None)
    steps = training.run([EPOCH], lambda: True)
    next(steps)
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        next(steps)
        torch.cuda.set_sync_debug_mode("default")
    assert len([warning for warning in noticed if "synchroniz" in str(warning.message)]) == 1


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


@pytest.mark.parametrize("a_gpu", GPUS)
def test_every_task_runs_on_it_and_a_training_comes_out_as_on_a_cpu(project, values, recording_job, monkeypatch, a_gpu):
    job, on_cpu = (recording_job(project, f"DynaMight/job00{number}") for number in (1, 2))
    of_training = values(extra="--n-training-epochs 3")
    with a_gpu(), monkeypatch.context() as without_pictures:
        for name in ("draw_fsc", "draw_slices", "gather_logbook"):
            without_pictures.setattr(outputs, name, lambda *_, **__: None)
        without_pictures.setattr(inverse_task, "_PAIRS_PER_EPOCH", 1000)
        given = {"fn_star": "particles.star", "backproject_batchsize": 16, "max_bins": 2, "reconstruction_iterations": 2}
        task.run(of_training, job)
        inverse_task.run({"nr_epochs": 1}, job)
        backprojection_task.run({**given, "backprojection_field": "inverse"}, job)
        states_task.run({**given, "n_states": 2}, job)
    assert all(bool(half.latent_by_other.isfinite().all()) for half in load_centred_result(job.directory).halves.values())
    assert len(list((job.directory / layout.BACKPROJECTION).glob("map_half?.mrc"))) == 2
    assert len(list((job.directory / "states").glob("state00?_half?.mrc"))) == 4
    assert any("On the GPU it takes up to" in line for line in job.reports)
    monkeypatch.setattr(projection, "backend_for", lambda device: WHOLE_TENSORS)
    monkeypatch.setattr(task, "choose_devices", lambda *_, **__: ([torch.device("cpu")] * 2, "the CPU"))
    monkeypatch.setattr(task, "is_gpu", lambda device: True)  # both half sets in this process
    task.run(of_training, on_cpu)
    found, expected = ([row["held_out"] for row in history_of(each)] for each in (job, on_cpu))
    assert found == pytest.approx(expected, rel=1e-3)


def test_a_training_goes_on_from_what_a_checkpoint_keeps_of_it(project, values, gpu, tmp_path):
    def prepared():
        plan = make_plan(ForwardOptions.from_values(values()), Path.cwd())
        return prepare_half(1, plan, device=gpu, scratch=None, after_batch=lambda count: None)

    training, other = prepared(), prepared()
    assert training.run_epoch(EPOCH, lambda: True) is None
    save_checkpoint(tmp_path / "state.pth", training.state(), kind="state", version=1)
    other.restore(load_checkpoint(tmp_path / "state.pth", kind="state", version=1))
    figures, expected = (each.run_epoch(EPOCH, lambda: False) for each in (other, training))
    assert figures == pytest.approx(expected)
    assert other.latent_mean.device == gpu


def history_of(job) -> list[dict[str, float]]:
    return json.loads((job.directory / layout.HISTORY).read_text())
