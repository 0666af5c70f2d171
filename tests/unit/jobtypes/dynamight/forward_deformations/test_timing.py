"""The time that a training will take, measured before it starts."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import torch

from jobtypes.dynamight.forward_deformations import posteriors, timing
from jobtypes.dynamight.forward_deformations.plan import make_plan
from jobtypes.dynamight.options import ForwardOptions
from relion_jobs.contract.errors import UserError


@pytest.fixture
def sentence(project, values):
    def make(device: str = "cpu") -> str:
        options = ForwardOptions.from_values(values())
        plan = make_plan(options, Path.cwd())
        return timing.time_sentence(plan, timing.take_first_steps(plan, torch.device(device)), side_by_side=True)

    return make


def test_the_time_of_a_step_an_epoch_and_all_is_told_and_nothing_written(sentence, project, monkeypatch):
    refine = posteriors.refine_posterior

    def slow(*words: object, **settings: object) -> object:
        time.sleep(0.05)
        return refine(*words, **settings)

    monkeypatch.setattr(posteriors, "refine_posterior", slow)
    before = sorted(project.rglob("*"))
    words = r"(\d+) ms for a step .* about (\S+) s for an epoch, (\S+) s for all 4, and then (\S+) s for .* (\S+) s together"
    step, epoch, epochs, latents, together = (float(number) for number in re.search(words, sentence()).groups())
    assert 5 * step / 1000 <= 1.2 * epoch  # 21 particles of a half train, in batches of 5
    assert epochs == pytest.approx(4 * epoch, rel=0.1)
    assert latents > 3 * 0.05  # 24 particles, 20 at once, and 3 that were held out once more
    assert together == pytest.approx(epochs + latents, rel=0.1)
    assert sorted(project.rglob("*")) == before


def test_measuring_does_not_touch_the_random_numbers_of_others(sentence):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    sentence()
    assert torch.equal(torch.rand(3), expected)


def test_a_gpu_that_does_not_hold_a_step_is_named_with_a_remedy(sentence, monkeypatch):
    def too_much(*_: object) -> timing.FirstSteps:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(timing, "_measure", too_much)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2_500_000_000, 8_000_000_000))
    with pytest.raises(UserError, match=r"of whose 8 GB 2\.5 GB are free; take a smaller training_batch_size"):
        sentence("cuda")
