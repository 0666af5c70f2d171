"""How the bins of a half set are chosen."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from jobtypes.dynamight.backprojection.bins import Binning
from jobtypes.dynamight.backprojection.half_problem import bins_of
from jobtypes.dynamight.model.gaussians import GaussianModel
from jobtypes.dynamight.model.result import HalfResult

_PIXEL_ANGSTROMS = 2.0


class _Slide:
    """The first ten Gaussians slide along x by the latent, in A; the others stay."""

    n_fields = 1

    def basis(self, points: torch.Tensor) -> torch.Tensor:
        fields = torch.zeros(1, len(points), 3)
        fields[0, :10, 0] = 1
        return fields

    def coefficients(self, latent: torch.Tensor) -> torch.Tensor:
        return latent


def _result(still: int, *, motion_angstroms: float = 10.0, deviation_angstroms: float = 1e-3) -> HalfResult:
    n = 200
    latents = torch.linspace(0, motion_angstroms, n)[:, None]
    gaussians = GaussianModel(torch.randn(10 + still, 3), amplitude=1.0, width_angstroms=2.0).requires_grad_(False)
    return HalfResult(
        1,
        SimpleNamespace(field=_Slide(), gaussians=gaussians),
        np.arange(n),
        np.arange(n) % 10 == 0,
        latents,
        torch.full_like(latents, 2 * np.log(deviation_angstroms)),
        torch.eye(3).expand(n, 3, 3),
        torch.zeros(n, 2),
        torch.zeros(n),
        quality=torch.ones(n),
        scale=torch.ones(n),
        presence=torch.ones(n, 0),
    )


def _bins(result: HalfResult):
    return bins_of(result, Binning(tolerance_pixels=0.2, most=100, seed=0), _PIXEL_ANGSTROMS)


def test_a_core_that_does_not_move_hides_no_motion():
    alone, with_core = _bins(_result(still=0)), _bins(_result(still=990))
    assert torch.equal(alone.labels, with_core.labels)
    assert alone.rms_residual_angstroms == pytest.approx(with_core.rms_residual_angstroms, rel=1e-4)
    assert with_core.rms_residual_angstroms <= 0.2 * _PIXEL_ANGSTROMS
    assert with_core.rms_motion_angstroms == pytest.approx(10 / 12**0.5, rel=0.05)


def test_what_is_known_less_well_needs_fewer_bins():
    sure, unsure = _bins(_result(still=90)), _bins(_result(still=90, deviation_angstroms=2.0))
    assert len(unsure) < len(sure)
    assert unsure.tolerance_angstroms == pytest.approx(1.0, rel=1e-3)


def test_where_nothing_moves_there_is_one_bin():
    bins = _bins(_result(still=90, motion_angstroms=0.0))
    assert len(bins) == 1
    assert bins.rms_motion_angstroms == 0
