"""A state of one half is found in the other, whatever its latents and its consensus are."""

from __future__ import annotations

import pytest
import torch

from jobtypes.dynamight.states.matching import Matching


@pytest.mark.parametrize("project", ["swinging", "centred_elsewhere"])
def test_the_other_half_moves_the_density_to_the_same_place(project, request):
    known = request.getfixturevalue(project)
    sessions = {half: known.session(half) for half in (1, 2)}
    latent = torch.tensor([[0.3]])
    here = sessions[1].latent_states(latent)[0]
    found = Matching(sessions[1], sessions[2]).match(here)
    right = sessions[2].latent_states(-latent)[0]
    assert found.moved_angstroms > 3
    assert found.left_angstroms < 0.15 * found.moved_angstroms
    # the halves' means differ, since their particles do
    assert float((found.coordinates[2] - right).norm()) < 0.15 * found.moved_angstroms
    torch.testing.assert_close(found.coordinates[1], here)


def test_what_only_one_half_knows_is_not_found(swinging):
    still = swinging.session(2)
    still.model.field.trunk.levels[0].values.mul_(0)
    for level in still.model.field.trunk.levels:
        level.values[:] = torch.randn(level.values.shape, generator=torch.Generator().manual_seed(5))
    session = swinging.session(1)
    found = Matching(session, still).match(session.latent_states(torch.tensor([[0.3]]))[0])
    assert found.left_angstroms > 0.5 * found.moved_angstroms
