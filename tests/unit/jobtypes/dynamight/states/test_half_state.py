"""A half set seen from a state: the model stays, and the state is where displacements start."""

from __future__ import annotations

import torch

from jobtypes.dynamight.states.half_state import seen_from


def test_displacements_start_at_the_state_and_lead_to_where_they_did(swinging):
    result = swinging.forward.halves[1]
    model, latents = result.model, torch.tensor([[-0.3], [0.1], [0.4]])
    before = model.displacement(latents) + model.gaussians.positions
    state = model.field.coefficients(latents[:1])[0]
    seen = seen_from(result, state, torch.arange(10))
    torch.testing.assert_close(seen.model.gaussians.positions, before[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(seen.model.displacement(latents) + seen.model.gaussians.positions, before, atol=1e-3, rtol=0)
    torch.testing.assert_close(model.displacement(latents) + model.gaussians.positions, before)
    assert len(seen.rows) == len(seen.latent_mean) == len(seen.quality) == len(seen.presence) == 10


def test_the_field_between_the_gaussians_starts_at_the_state_too(centred_elsewhere):
    result = centred_elsewhere.forward.halves[2]
    latents = torch.tensor([[-0.3], [0.2]])
    state = result.model.field.coefficients(latents[:1])[0]
    positions = result.model.gaussians.positions
    between = (positions[:40] + positions[1:41]) / 2  # in the consensus
    moved = between + result.model.displacement(latents, between)
    seen = seen_from(result, state, torch.arange(2)).model
    torch.testing.assert_close(moved[0] + seen.displacement(latents[1:], moved[0])[0], moved[1], atol=0.05, rtol=0)
