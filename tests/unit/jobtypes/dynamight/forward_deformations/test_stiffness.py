"""The weight of the strain goes where held-out particles ask for it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from jobtypes.dynamight.forward_deformations import stiffness
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan, plan_epoch
from jobtypes.dynamight.forward_deformations.stiffness import learn_stiffness, sentence

EPOCH = EpochPlan(deforms=True, resolution_angstroms=12.0, kl_weight=0.01, learning_rate=1.0, stiffness=0.25)


def never() -> bool:
    return False


@pytest.fixture(autouse=True)
def _of_few_images(monkeypatch):
    monkeypatch.setattr(stiffness, "FEWEST_IMAGES", 4)


@pytest.fixture
def trained(new_training):
    """The swinging dumbbell, its motion found."""
    training = new_training()
    for _ in range(40):
        training.run_epoch(EPOCH, never)
    training.held_out_objective(EPOCH)
    return training


def asked(training) -> float:
    """The weight that is learned of one look."""
    learn_stiffness(training, EPOCH)
    return training.learned_stiffness


def change_fields(training, change) -> None:
    with torch.no_grad():
        for values in training.model.field.trunk.parameters():
            values.copy_(change(values))


def test_fields_that_follow_noise_are_made_stiffer(trained):
    generator = torch.Generator().manual_seed(1)
    change_fields(trained, lambda values: values + 3 * torch.randn(values.shape, generator=generator))
    assert asked(trained) > 1.1


def test_a_motion_that_is_held_back_is_let_go(trained):
    change_fields(trained, lambda values: 0.4 * values)
    assert asked(trained) < 0.8


def test_one_look_changes_the_weight_alone(trained):
    before = [values.detach().clone() for values in trained.model.state_dict().values()]
    optimiser = [values.clone() for state in trained.networks.state.values() for values in state.values()]
    assert asked(trained) != 1.0
    assert all(torch.equal(one, other) for one, other in zip(before, trained.model.state_dict().values(), strict=True))
    after = [values for state in trained.networks.state.values() for values in state.values()]
    assert all(torch.equal(one, other) for one, other in zip(optimiser, after, strict=True))


def test_a_handful_of_images_says_nothing(trained, monkeypatch):
    monkeypatch.setattr(stiffness, "FEWEST_IMAGES", 5)
    assert asked(trained) == 1.0


def test_a_molecule_at_rest_says_nothing(trained):
    change_fields(trained, torch.zeros_like)
    assert asked(trained) == 1.0


def test_the_change_of_one_look_is_bounded_and_grows_with_how_sure_it_is(trained, monkeypatch):
    found = []
    for scatter in (1e-6, 1.0, 100.0):
        misfits = iter([torch.zeros(4), torch.ones(4) + scatter * torch.tensor([-1.0, 1.0, -1.0, 1.0])])
        monkeypatch.setattr(stiffness, "_held_out_misfits", lambda *_, misfits=misfits: next(misfits))
        trained.learned_stiffness = 1.0
        found.append(asked(trained))
    # the error of a mean of four that scatter by one is 1.15 / 2
    assert found == pytest.approx([math.exp(0.5), math.exp(0.5 / (2 * 0.577)), 1.0], abs=0.01)


def test_it_is_learned_once_motions_are_found():
    learned = [epoch for epoch in range(36) if plan_epoch(epoch, 36, 8.0).learns_stiffness]
    assert learned == list(range(18, 35))


def test_it_multiplies_the_weight_of_each_epoch_and_is_said(trained):
    trained.settings, trained.learned_stiffness = replace(trained.settings, stiffness=6.0), 0.833
    assert trained.stiffness(EPOCH) == pytest.approx(0.25 * 6 * 0.833)
    assert sentence(trained) == "The strain weighs 0.83 times what is usual, as held-out particles ask for."
    trained.learned_stiffness = 161.2
    assert "weighs 161 times" in sentence(trained)
    trained.settings = replace(trained.settings, learns_stiffness=False)
    assert sentence(trained) == "The strain weighs what reg_factor says."


def test_where_too_few_are_held_out_to_ask_that_is_said(trained, monkeypatch):
    monkeypatch.setattr(stiffness, "FEWEST_IMAGES", 50)
    assert asked(trained) == 1
    assert sentence(trained) == (
        "The strain weighs what is usual: fewer than 50 images are held out, too few to ask for another weight."
    )


def test_it_is_kept_and_taken_up_again(trained, new_training):
    asked(trained)
    again = new_training()
    again.restore(trained.state())
    assert again.learned_stiffness == trained.learned_stiffness != 1.0
    older = trained.state()
    del older["learned_stiffness"]
    again.restore(older)
    assert again.learned_stiffness == 1.0
