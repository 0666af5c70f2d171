from __future__ import annotations

import pytest
import torch

from jobtypes.dynamight.visualization.validation import compare_halves, disagreement, encode_with
from relion_jobs.contract.errors import UserError


def test_models_that_differ_by_their_consensus_only_agree() -> None:
    motion = torch.randn(20, 30, 3, generator=torch.Generator().manual_seed(0))
    found = disagreement(motion, motion + torch.tensor((5.0, 0.0, 1.0)))
    assert found.rms_error < 1e-5
    assert found.correlation > 0.9999


def test_independent_motions_do_not_correlate() -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 200, 300, 3, generator=generator)
    found = disagreement(first, second)
    assert abs(found.correlation) < 0.02
    assert abs(found.rms_error - 6**0.5) < 0.05


def test_a_model_encodes_its_own_particles_as_in_training(flexible_job, forward) -> None:
    """The stored latents are made up; what two calls with one model give must agree, whatever else is encoded with it."""
    part = forward.halves[1]
    all_rows = encode_with(part.model, forward, part.rows, flexible_job, "encoding")
    some = encode_with(part.model, forward, part.rows[[3, 8]], flexible_job, "encoding")
    assert all_rows.shape == (30, 2)
    assert torch.allclose(all_rows[[3, 8]], some, atol=1e-5)


def test_halves_with_a_single_held_out_particle_cannot_be_compared(flexible_job, forward) -> None:
    for part in forward.halves.values():
        part.held_out[1:] = False
    with pytest.raises(UserError, match=r"Half 1 has 1 held-out particle\(s\), .* expected at least 2"):
        compare_halves(forward, flexible_job, flexible_job.directory)
