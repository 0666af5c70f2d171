"""What a training takes of the memory, and what is done where it does not all fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jobtypes.dynamight.forward_deformations import memory_use
from jobtypes.dynamight.forward_deformations.memory_use import MemoryUse, learned_bytes, step_bytes
from jobtypes.dynamight.forward_deformations.plan import TrainingPlan, make_plan
from jobtypes.dynamight.options import ForwardOptions
from relion_jobs.contract.errors import UserError

SIZES = {"gaussians": 30_000, "batch": 64, "n_fields": 16, "n_latent": 4, "n_terms": 8000, "grid": 288}


@pytest.fixture
def plan_with(project, values, monkeypatch):
    """Make a plan on a machine with so many bytes free; returns it with its sentences in one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def make(free: float, **changes: str) -> tuple[TrainingPlan, str]:
        monkeypatch.setattr(memory_use, "available_memory_bytes", lambda: int(free))
        options = ForwardOptions.from_values(values(**changes))
        plan = make_plan(options, Path.cwd())
        return plan, " ".join(plan.sentences())

    return make


def test_a_step_keeps_no_numbers_per_gaussian_and_particle():
    def of_a_larger_batch(gaussians: int) -> int:
        return step_bytes(**SIZES | {"batch": 128, "gaussians": gaussians}) - step_bytes(**SIZES | {"gaussians": gaussians})

    assert of_a_larger_batch(30_000) == of_a_larger_batch(3000)


def test_derivatives_of_the_last_stage_count_with_the_latent_dimensions():
    assert step_bytes(**SIZES | {"n_latent": 8}) - step_bytes(**SIZES) > 4 * 64 * 8000 * 8 * 4


def test_two_half_sets_of_a_large_model_fit_into_four_and_eight_gigabytes():
    assert 2 * step_bytes(**SIZES) < 4e9
    assert 2 * step_bytes(**SIZES | {"gaussians": 100_000}) < 8e9


def use(**bytes_of: int) -> MemoryUse:
    return MemoryUse(
        **{"spectra_bytes": 0, "step_bytes": 10**9, "table_bytes": 0, "learned_bytes": 0, "free_bytes": 4 * 10**9} | bytes_of
    )


def test_another_process_needs_a_table_of_its_own_and_what_is_learned_of_the_particles_counts():
    assert use().holds(2)
    assert not use(table_bytes=2 * 10**9).holds(2)
    assert use(table_bytes=2 * 10**9).holds(1)
    assert not use(learned_bytes=2 * 10**9).holds(2)
    assert use(step_bytes=0, learned_bytes=10**9).holds(4)
    assert not use(step_bytes=0, learned_bytes=2 * 10**9).holds(4)
    assert use(spectra_bytes=2 * 10**9).holds_spectra(share=1.0)
    assert not use(spectra_bytes=2 * 10**9, learned_bytes=2 * 10**9).holds_spectra(share=1.0)


def test_what_is_learned_grows_with_the_particles_as_the_state_of_a_training_does(new_training):
    training = new_training()
    n_particles = len(training.observations)
    tensors = [*training.model.state_dict().values(), *(x for x in training.state().values() if isinstance(x, torch.Tensor))]
    of_each = sum(x.numel() * x.element_size() for x in tensors if len(x.shape) and len(x) == n_particles) / n_particles
    assert of_each < learned_bytes(1, n_latent=2) / 3 < 3 * of_each
    assert learned_bytes(10**6, n_latent=6) < 1e9


def test_with_much_memory_both_half_sets_train_at_once_and_the_spectra_stay_in_it(plan_with):
    plan, words = plan_with(1e10, nr_threads="2")
    assert plan.halves_side_by_side
    assert plan.spectra_in_memory
    assert "10.0 GB of this machine's are free." in words


def test_with_little_memory_one_half_set_trains_after_the_other(plan_with):
    step = plan_with(1e10)[0].memory.step_bytes
    plan, words = plan_with(1.5 * step, nr_threads="2")
    assert not plan.halves_side_by_side
    assert "one half set is trained after the other" in words


def test_spectra_that_do_not_fit_are_not_preloaded_and_that_is_said(plan_with):
    step = plan_with(1e10)[0].memory.step_bytes
    plan, words = plan_with(1.01 * step, do_preload="Yes")
    assert not plan.spectra_in_memory
    assert "in a scratch file" in words
    assert "they are not preloaded in RAM" in words


def test_a_step_that_does_not_fit_is_refused_with_a_remedy(plan_with):
    step = plan_with(1e10)[0].memory.step_bytes
    with pytest.raises(UserError, match=r"60 Gaussians and 5 particles takes about .* take a smaller training_batch_size"):
        plan_with(0.9 * step)
