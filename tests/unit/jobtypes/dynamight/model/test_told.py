"""Which latents images tell of, and how far out."""

from __future__ import annotations

import torch

from jobtypes.dynamight.model.told import ToldLatents

GUESSES = torch.linspace(-2, 2, 401)[:, None] * torch.tensor([1.0, 0.5, 3.0])


def test_latents_that_images_tell_enough_of_reach_as_far_as_nearly_all_guesses():
    told = ToldLatents.among(GUESSES, torch.tensor([1.2, 0.02, 0.4]), 0.1)
    assert told.places.tolist() == [0, 2]
    assert torch.allclose(told.high, torch.tensor([1.96, 5.88]))
    assert torch.allclose(told.low, -told.high)
    assert len(told) == 2


def test_where_images_tell_hardly_anything_it_is_the_latent_they_tell_most_of():
    assert ToldLatents.among(GUESSES, torch.tensor([0.02, 0.04, 0.01]), 0.1).places.tolist() == [1]


def test_only_these_latents_are_bounded():
    told = ToldLatents(torch.tensor([0, 2]), torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 2.0]))
    assert told.within(torch.tensor([[5.0, -5.0, 5.0], [0.5, 0.5, -7.0]])).tolist() == [[1.0, -2.0, 5.0], [0.5, 0.5, -7.0]]
    unbounded = torch.tensor([[5.0, -50.0, 5.0]])
    assert torch.equal(ToldLatents.everything(3, torch.device("cpu")).within(unbounded), unbounded)
    assert told.put_into(torch.tensor([[8.0, 9.0]]), torch.zeros(1, 3)).tolist() == [[8.0, 0.0, 9.0]]
