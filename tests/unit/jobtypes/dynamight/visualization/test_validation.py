from __future__ import annotations

import pytest
import torch

from jobtypes.dynamight.visualization.held_out import TwoMotions, encode_with
from jobtypes.dynamight.visualization.validation import compare_halves
from relion_jobs.contract.errors import UserError


def two_motions(seed: int) -> TwoMotions:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, 200, 3, generator=generator)
    first, second = first - first.mean(0), second - second.mean(0)
    basis, other = torch.randn(2, 3, 300, 3, generator=generator)
    return TwoMotions(first, basis, second, other)


def test_models_of_the_same_motion_agree() -> None:
    one = two_motions(0)
    found = TwoMotions(one.coefficients, one.basis, 2 * one.coefficients, one.basis / 2).disagreement()
    assert found.rms_error < 1e-5
    assert found.correlation > 0.9999


def test_the_disagreement_is_that_of_all_displacements_written_out() -> None:
    both = two_motions(1)
    first = torch.einsum("pk,knc->pnc", both.coefficients, both.basis).double()
    second = torch.einsum("pk,knc->pnc", both.other_coefficients, both.other_basis).double()
    error, motion = (first - second).square().sum(2), (0.5 * (first + second)).square().sum(2)
    found = both.disagreement()
    assert torch.allclose(found.particle_error, error.mean(1).sqrt(), rtol=1e-4)
    assert torch.allclose(found.gaussian_error, error.mean(0).sqrt(), rtol=1e-4)
    assert torch.allclose(found.particle_motion, motion.mean(1).sqrt(), rtol=1e-4)
    assert torch.allclose(found.gaussian_motion, motion.mean(0).sqrt(), rtol=1e-4)
    assert torch.allclose(both.difference(7).norm(dim=1).double(), error[7].sqrt(), rtol=1e-3)
    assert abs(found.correlation) < 0.2  # of independent motions


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
