"""Several processes that train a half set together learn what one learns, but for rounding; threads stand for them here."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from jobtypes.dynamight.forward_deformations import stiffness
from jobtypes.dynamight.forward_deformations.held_out_latents import seen_by_other
from jobtypes.dynamight.forward_deformations.posteriors import PosteriorStage, held_out_verdict
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from tests.crews import ThreadCrew, work_together

WARM_UP = EpochPlan(deforms=False, resolution_angstroms=16.0, kl_weight=0.1, learning_rate=1.0)
EPOCH = EpochPlan(deforms=True, resolution_angstroms=12.0, kl_weight=0.1, learning_rate=1.0)
PLANS = (WARM_UP, EPOCH, replace(EPOCH, looks_for_parts=True, remakes_consensus=True))
OF_ROUNDING = "field.branch.2.bias"  # a shift of all fields together changes nothing


@pytest.fixture(autouse=True)
def _of_few_images(monkeypatch):
    monkeypatch.setattr(stiffness, "FEWEST_IMAGES", 4)


def never() -> bool:
    return False


def train(training: HalfTraining, plans: Sequence[EpochPlan] = PLANS) -> list[float]:
    """Some epochs; the held-out objective after each."""
    found = []
    for plan in plans:
        assert training.run_epoch(plan, never)
        found.append(training.held_out_objective(plan))
        if plan.deforms:
            stiffness.learn_stiffness(training, plan)
    return found


def learned(training: HalfTraining) -> dict[str, torch.Tensor]:
    """Every number that was learned."""
    state = deepcopy(training.state())
    model = {name: value for name, value in state["model"].items() if name != OF_ROUNDING}
    numbers = {"learned_stiffness": torch.tensor(state["learned_stiffness"])}
    return model | numbers | {name: state[name] for name in ("latent_mean", "latent_log_variance", "motion_power")}


def errors(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> dict[str, float]:
    """Largest difference of each tensor over its largest value."""
    assert found.keys() == expected.keys()
    return {
        name: float((found[name] - value).abs().max() / value.abs().max().clamp(min=1e-9))
        for name, value in expected.items()
        if value.numel()
    }


@pytest.fixture
def alone(new_training):
    training = new_training()
    objectives = train(training)
    return learned(training), objectives


@pytest.mark.parametrize("count", [2, 4])
def test_a_crew_learns_what_one_process_learns(new_training, alone, count):
    def work(crew):
        training = new_training(crew=crew)
        return train(training), learned(training)

    for objectives, found in work_together(count, work):
        assert objectives == pytest.approx(alone[1], rel=1e-5)
        off = errors(found, alone[0])
        assert max(off.values()) < 0.02, off
        of_all = {name: error for name, error in off.items() if name.startswith(("gaussians", "encoder", "noise", "field"))}
        assert max(of_all.values()) < 1e-3, of_all


def test_members_of_a_crew_have_the_same_bytes(new_training):
    def work(crew):
        training = new_training(crew=crew)
        train(training)
        return training.state()

    first, *others = work_together(3, work)
    for other in others:
        for name, value in first["model"].items():
            assert torch.equal(other["model"][name], value), name
        assert torch.equal(other["latent_mean"], first["latent_mean"])
        assert torch.equal(other["generator"], first["generator"])


def test_four_leave_together_and_two_go_on_there(new_training, alone):
    def begin(crew):
        training = new_training(crew=crew)
        training.run_epoch(WARM_UP, never)
        training.held_out_objective(WARM_UP)
        # one wishes to leave after the second batch, which all hear in the third
        assert training.run_epoch(EPOCH, lambda: crew.place == 2 and training.progress.seen == 10) is None
        return deepcopy(training.state())

    first, *others = work_together(4, begin)
    assert {state["progress"]["seen"] for state in (first, *others)} == {15}

    def go_on(crew):
        training = new_training(crew=crew)
        training.restore(deepcopy(first))
        train(training, PLANS[1:])
        return learned(training)

    for found in work_together(2, go_on):
        off = errors(found, alone[0])
        assert max(off.values()) < 0.02, off


def test_a_wish_of_the_last_step_of_an_epoch_leaves_the_next_one_alone(new_training):
    def work(crew):
        training = new_training(crew=crew)
        assert training.run_epoch(WARM_UP, lambda: training.progress.seen == 20)
        return training.run_epoch(EPOCH, never)

    assert all(work_together(2, work))


def test_the_last_stage_and_what_is_said_of_the_motion_are_those_of_one_process(new_training):
    def work(crew):
        training = new_training(crew=crew)
        training.run_epoch(EPOCH, never)
        training.held_out_objective(EPOCH)
        stage = PosteriorStage(training)
        left = 0
        # each wants to leave at another time, and all do
        while not stage.run(EPOCH, lambda: (stage.encoded + stage.refined) % (2 + crew.place) == 0):
            left += 1
        other = deepcopy(training.model)
        seen = seen_by_other(training, other, EPOCH, lambda done: None)
        evidence = held_out_verdict(training, EPOCH).motion
        figures = [evidence.mean, seen.evidence.mean, seen.agreement.correlation, training.rms_motion()]
        return left, figures, learned(training) | {"by_other": seen.latents}

    ((_, figures, expected),) = work_together(1, work)
    found = work_together(3, work)
    assert len({left for left, _, _ in found}) == 1
    assert found[0][0] > 2
    for _, of_crew, learned_by_crew in found:
        assert of_crew == pytest.approx(figures, rel=0.02)
        off = errors(learned_by_crew, expected)
        assert max(off.values()) < 0.03, off


def test_a_step_is_one_exchange_of_slopes_motion_and_a_few_figures(new_training):
    def work(crew: ThreadCrew):
        training = new_training(crew=crew)
        training.run_epoch(EPOCH, never)
        training._begin_epoch(EPOCH, 50)
        frame, progress = training.model.field.frame(training.model.field.anchors), training.progress
        crew.calls.clear()
        training._learn(progress.order[:5], EPOCH, progress, 50, frame)
        parameters = [part for group in training.networks.param_groups for part in group["params"]]
        return crew.calls, 4 * (sum(part.numel() for part in parameters) + len(training.motion_power) + 8 + len(parameters))

    for calls, expected in work_together(2, work):
        assert calls == [expected]


def test_where_one_has_an_objective_that_is_not_finite_all_fail(new_training):
    from relion_jobs.contract.errors import JobFailed

    def work(crew):
        training = new_training(crew=crew)
        if crew.place == 1:
            training.observations.spectra[:, 0] = torch.nan
        with pytest.raises(JobFailed, match="the last good checkpoint is kept"):
            training.run_epoch(EPOCH, never)
        return True

    assert work_together(2, work) == [True, True]
