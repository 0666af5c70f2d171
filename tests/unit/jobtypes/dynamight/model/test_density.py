from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from jobtypes.common.fourier import rfft2
from jobtypes.dynamight.model.deformed import undeformed
from jobtypes.dynamight.model.density import render_density, splat_points
from jobtypes.dynamight.model.gaussians import GaussianModel
from jobtypes.dynamight.model.observations import Band
from jobtypes.dynamight.model.projection import Projector


def gaussians(width: float, n: int = 12) -> GaussianModel:
    generator = torch.Generator().manual_seed(0)
    return GaussianModel(
        8 * torch.randn(n, 3, generator=generator).clamp(-2, 2), amplitude=2.5, width_angstroms=width, n_widths=2
    )


def direct(model: GaussianModel, box: int, pixel: float) -> Tensor:
    """Slow twin: every Gaussian at every voxel, float64."""
    axis = (torch.arange(box, dtype=torch.float64) - box // 2) * pixel
    total = torch.zeros(box, box, box, dtype=torch.float64)
    for shares, width in zip(model.class_amplitudes().double(), model.widths_angstroms.double(), strict=True):
        for (x, y, z), amplitude in zip(model.positions.double(), shares, strict=True):
            squared = (axis[:, None, None] - z) ** 2 + (axis[:, None] - y) ** 2 + (axis - x) ** 2
            total += amplitude * torch.exp(-squared / (2 * width**2)) * (pixel / (width * math.sqrt(2 * math.pi))) ** 3
    return total


@pytest.mark.parametrize("box", [32, 33])
def test_a_map_is_the_sum_of_its_gaussians(box: int) -> None:
    model = gaussians(width=4.0)
    twin = direct(model, box, 2.0)
    found = render_density(model, model.positions, box, 2.0)
    assert (found - twin).abs().max() < 0.005 * twin.max()


def test_the_projection_of_a_map_is_what_the_model_predicts() -> None:
    """Along z, also for Gaussians narrower than a voxel."""
    model, box, pixel = gaussians(width=1.5), 32, 2.0
    volume = render_density(model, model.positions, box, pixel)
    band = Band(box, pixel, 6.0)
    front = undeformed(model.positions, 1), torch.eye(3)[None], torch.zeros(1, 2)
    terms = Projector(band)(*front, model.class_amplitudes(), len(band))[0]
    predicted = (terms * model.transfer(band.squared_frequencies)).sum(0)
    projected = rfft2(volume.sum(0)).flatten()[band.index]
    assert (projected - predicted).abs().max() < 0.05 * predicted.abs().max()


def test_a_splat_on_a_voxel_fills_that_voxel_and_outside_leaves_no_trace() -> None:
    points = torch.tensor([[3.0, 5.0, 1.0], [-4.0, 0.0, 0.0], [2.5, 0.0, 0.0]])
    grid = splat_points(points, torch.tensor([2.0, 1.0, 4.0]), 8)
    assert float(grid[1, 5, 3]) == 2.0
    assert float(grid[0, 0, 2]) == float(grid[0, 0, 3]) == 2.0
    assert float(grid.sum()) == 6.0
