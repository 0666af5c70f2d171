from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from jobtypes.common.fourier import frequencies_3d, irfft3, rfft3
from jobtypes.dynamight.backprojection.moving_part import moving_part, moving_weights
from jobtypes.dynamight.model.gaussians import GaussianModel

BOX, PIXEL = 32, 3.0


def noise(generator: torch.Generator, blur_angstroms: float = 4.0) -> torch.Tensor:
    """Noise whose voxels are like their neighbours, of unit variance."""
    squared = frequencies_3d(BOX, PIXEL).square().sum(-1)
    white = torch.randn(BOX, BOX, BOX, generator=generator)
    blurred = irfft3(rfft3(white) * torch.exp(-2 * torch.pi**2 * squared * blur_angstroms**2), BOX)
    return blurred / blurred.std()


def ball(x_angstroms: float = 0.0, radius_angstroms: float = 18.0) -> torch.Tensor:
    """Sum 1 within a ball on the axis of x."""
    axis = (torch.arange(BOX) - BOX // 2) * PIXEL
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + (axis - x_angstroms) ** 2
    inside = (squared < radius_angstroms**2).float()
    return inside / inside.sum()


@pytest.mark.parametrize(("blur_angstroms", "radius_angstroms"), [(3.0, 6.0), (3.0, 18.0), (5.0, 18.0)])
def test_maps_without_a_difference_differ_by_as_much_as_the_error_says(blur_angstroms, radius_angstroms):
    generator, deviations = torch.Generator().manual_seed(1), []
    for _ in range(80):
        signal = noise(generator, blur_angstroms)
        maps = [signal + noise(generator, blur_angstroms) for _ in range(4)]
        found = moving_part(tuple(maps[:2]), tuple(maps[2:]), ball(radius_angstroms=radius_angstroms), pixel_size_angstroms=PIXEL)
        deviations.append((found.deformed - found.rigid) / found.error)
    # the scatter of 80 draws is known to 8 %
    assert 0.7 < float(torch.tensor(deviations).square().mean().sqrt()) < 1.3
    assert abs(float(torch.tensor(deviations).mean())) < 0.45


def test_a_moving_part_that_only_one_half_shows_has_fallen_there():
    generator = torch.Generator().manual_seed(0)
    signal, weights = noise(generator), (ball(-24.0, 9.0) + ball(24.0, 9.0)) / 2
    halves = [signal + 0.3 * noise(generator) for _ in range(2)]
    right = torch.arange(BOX) > BOX // 2 + 4
    spoiled = torch.where(right, noise(generator), halves[1])
    found = moving_part(tuple(halves), (halves[0], spoiled), weights, pixel_size_angstroms=PIXEL)
    assert found.fell
    assert found.lost == pytest.approx(0.5, abs=0.2)
    assert found.worst_angstroms == pytest.approx((24.0, 0.0, 0.0), abs=6.0)
    assert f"lower in {100 * found.lost:.0f} % of the moving part, most around (" in found.figures()
    gained = moving_part((halves[0], spoiled), tuple(halves), weights, pixel_size_angstroms=PIXEL)
    assert not gained.fell
    assert gained.lost == 0
    elsewhere = moving_part(tuple(halves), (halves[0], spoiled), ball(-24.0, 6.0), pixel_size_angstroms=PIXEL)
    assert not elsewhere.fell


class RightHalf:
    """Everything at x > 0 moves along y."""

    def basis(self, points: torch.Tensor) -> torch.Tensor:
        moved = torch.zeros(1, len(points), 3)
        moved[0, :, 1] = (points[:, 0] > 0).float()
        return moved

    def coefficients(self, latents: torch.Tensor) -> torch.Tensor:
        return latents


def half_set(latents: torch.Tensor, good: torch.Tensor | None = None) -> SimpleNamespace:
    positions = torch.tensor([[-20.0, 0, 0], [12.0, 0, 0], [24.0, 0, 0]])
    model = SimpleNamespace(field=RightHalf(), gaussians=GaussianModel(positions, amplitude=2.0, width_angstroms=3.0))
    return SimpleNamespace(
        model=model, latent_mean=latents, good=torch.ones(len(latents), dtype=torch.bool) if good is None else good
    )


def test_only_what_moves_counts_and_all_of_it_alike():
    weights = moving_weights([half_set(torch.linspace(-1, 1, 9)[:, None])] * 2, box=BOX, pixel_size_angstroms=PIXEL)
    expected = torch.zeros(BOX, BOX, BOX)
    for x in (4, 8):
        expected[BOX // 2, BOX // 2, BOX // 2 + x] = 0.5
    torch.testing.assert_close(weights, expected)


def test_where_all_good_particles_are_alike_nothing_moves():
    latents = torch.tensor([[2.0], [2.0], [-5.0]])
    good = torch.tensor([True, True, False])
    assert moving_weights([half_set(latents, good)], box=BOX, pixel_size_angstroms=PIXEL) is None
    assert moving_weights([half_set(latents)], box=BOX, pixel_size_angstroms=PIXEL) is not None
