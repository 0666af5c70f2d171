"""Images brought to another grid, against a scene that is written out analytically on both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from jobtypes.common.resampling import Resampling

WIDTH = 6.0  # A
STRETCHED, SHEARED = [[1.03, 0.0], [0.0, 0.98]], [[1.01, 0.02], [-0.015, 0.99]]


def scene(box: int, pixel_size: float, matrix: np.ndarray | None = None) -> Tensor:
    """Blobs f(B x) on a grid, (1, N, N) float64."""
    axis = (torch.arange(box, dtype=torch.float64) - box // 2) * pixel_size
    points = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)  # [y, x] -> (x, y)
    if matrix is not None:
        points = points @ torch.from_numpy(np.asarray(matrix)).T
    centres = torch.tensor([[10.0, -25.0], [-31.0, 4.0], [22.0, 17.0], [0.0, 0.0]], dtype=torch.float64)
    heights = torch.tensor([1.0, 0.7, -0.5, 0.4], dtype=torch.float64)
    squared = (points[..., None, :] - centres).square().sum(-1)
    return (torch.exp(-squared / (2 * WIDTH**2)) * heights).sum(-1)[None]


def brought(images: Tensor, pixel_size: float, to_box: int, to_pixel_size: float, matrix=((1.0, 0.0), (0.0, 1.0))) -> Tensor:
    resampling = Resampling(
        images.shape[-1],
        pixel_size,
        to_box=to_box,
        to_pixel_size_angstroms=to_pixel_size,
        magnification=np.array(matrix, dtype=float),
    )
    return resampling(images.float())


@pytest.mark.parametrize(
    ("box", "pixel_size", "to_box", "to_pixel_size"),
    [
        (48, 4.0, 64, 3.0),  # the same length
        (64, 3.0, 48, 4.0),
        (64, 4.0, 48, 4.0),  # another length
        (40, 4.0, 48, 4.0),
        (64, 2.7, 48, 4.1),  # neither
        (45, 4.0, 48, 3.9),  # odd
        (48, 3.9, 45, 4.0),
    ],
)
def test_a_scene_is_the_same_on_any_grid(box: int, pixel_size: float, to_box: int, to_pixel_size: float) -> None:
    made = brought(scene(box, pixel_size), pixel_size, to_box, to_pixel_size)
    assert made.shape == (1, to_box, to_box)
    torch.testing.assert_close(made.double(), scene(to_box, to_pixel_size), atol=2e-3, rtol=0)


@pytest.mark.parametrize("matrix", [STRETCHED, SHEARED])
@pytest.mark.parametrize(("to_box", "to_pixel_size"), [(64, 3.0), (48, 4.0)])
def test_a_magnification_is_taken_out(matrix: list[list[float]], to_box: int, to_pixel_size: float) -> None:
    # a spectrum that is that of the scene at M k: the scene at M^-T x, over det(M)
    M = np.array(matrix)
    images = scene(64, 3.0, np.linalg.inv(M).T) / np.linalg.det(M)
    made = brought(images, 3.0, to_box, to_pixel_size, matrix).double()
    torch.testing.assert_close(made, scene(to_box, to_pixel_size), atol=2e-3, rtol=0)
    for wrong in (M.T if matrix is SHEARED else np.eye(2), np.linalg.inv(M)):
        other = brought(images, 3.0, to_box, to_pixel_size, wrong).double()
        assert float((other - scene(to_box, to_pixel_size)).abs().max()) > 0.01


def test_every_term_that_both_grids_hold_is_that_of_a_sum_in_double_precision() -> None:
    images = torch.randn(2, 20, 20, generator=torch.Generator().manual_seed(0))
    made = brought(images - images.mean((1, 2), keepdim=True), 2.0, 16, 2.5).double()
    # a slow twin: the image's own terms below both Nyquist frequencies, each at each new place
    border = torch.ones(20, 20, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    images = (images - images.mean((1, 2), keepdim=True)).double()
    level = images[:, border].mean(1)[:, None, None]
    before, after = (torch.arange(20) - 10) * 2.0, (torch.arange(16) - 8) * 2.5
    k = torch.arange(-7, 8) / 40.0  # 8 / 40 is Nyquist of the new grid
    waves = torch.exp(2j * torch.pi * after[:, None].double() * k) @ torch.exp(-2j * torch.pi * k[:, None].double() * before) / 20
    expected = (waves @ (images - level).to(waves.dtype) @ waves.T).real + level
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


def test_noise_of_a_finer_grid_keeps_its_spectral_density() -> None:
    noise = torch.randn(200, 48, 48, generator=torch.Generator().manual_seed(1)) / 3.0
    made = brought(noise, 3.0, 36, 4.0)
    assert float(made.std()) * 4.0 == pytest.approx(1, rel=0.05)  # the last row and column of terms is left out


def test_outside_of_an_image_is_the_level_of_its_border() -> None:
    made = brought(scene(40, 3.0) + 5, 3.0, 64, 3.0)
    assert float((made[:, :10] - 5).abs().max()) < 0.02
    torch.testing.assert_close(made[:, 12:52, 12:52].double(), scene(40, 3.0) + 5, atol=1e-3, rtol=0)
