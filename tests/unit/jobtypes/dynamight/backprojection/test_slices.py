from __future__ import annotations

import pytest
import torch

from jobtypes.common.fourier import convolve_padded, rfft2
from jobtypes.common.padded_grid import padded_spectrum, trilinear
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.backprojection.slices import SliceGrid, SlicePlane, read_slices


def rotations(n: int) -> torch.Tensor:
    return euler_matrices(torch.rand(n, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 360 - 180).float()


def test_the_plane_holds_every_pixel_inside_nyquist_once():
    plane = SlicePlane(16)
    assert len(plane) == int(((torch.fft.fftfreq(16)[:, None] * 16) ** 2 + torch.arange(9) ** 2 < 64).sum())
    assert (plane.shells <= 8).all()


def test_shares_of_a_place_sum_to_one_and_whole_places_have_one_neighbour():
    places = torch.tensor([[3.25, -1.5, 2.0], [4.0, 0.0, -3.0]])
    shares = torch.stack([share for _, share in trilinear(places, 16)])
    torch.testing.assert_close(shares.sum(0), torch.ones(2))
    assert (shares[:, 1] > 0).sum() == 1


@pytest.mark.parametrize("box", [12, 13])
def test_inserting_is_the_transpose_of_reading(box):
    plane, views = SlicePlane(box), rotations(5)
    generator = torch.Generator().manual_seed(1)
    volume = torch.randn(box, box, box, generator=generator)
    data = torch.randn(5, len(plane), dtype=torch.complex64, generator=generator)
    read = read_slices(padded_spectrum(volume), plane, views)
    grid = SliceGrid(plane)
    grid.insert(data, torch.ones(5, len(plane)), views)
    left = ((read.conj() * data).real * plane.weights).sum()
    right = (volume * grid.numerator()).sum() * (2 * box) ** 3
    torch.testing.assert_close(left, right, rtol=2e-4, atol=2e-3 * float(left.abs()))


def test_a_view_down_the_z_axis_reads_the_projection_along_z():
    box = 16
    axis = (torch.arange(box) - box // 2).float()
    blob = torch.exp(-(((axis - 0.3) ** 2)[:, None, None] + ((axis + 0.5) ** 2)[:, None] + (axis - 1) ** 2) / 4)
    plane = SlicePlane(box)
    read = read_slices(padded_spectrum(blob), plane, torch.eye(3)[None])
    expected = plane.take(rfft2(blob.sum(0))[None])
    torch.testing.assert_close(read, expected, rtol=0, atol=0.03 * float(expected.abs().max()))


def test_the_kernel_gives_the_power_of_the_projections():
    box = 16
    plane, views = SlicePlane(box), rotations(40)
    axis = (torch.arange(box) - box // 2).float()
    squared = (axis**2)[:, None, None] + (axis**2)[:, None] + axis**2
    volume = torch.randn(box, box, box, generator=torch.Generator().manual_seed(4)) * torch.exp(-squared / 18)
    weights = torch.rand(40, len(plane), generator=torch.Generator().manual_seed(5))
    grid = SliceGrid(plane)
    grid.insert(torch.zeros(40, len(plane), dtype=torch.complex64), weights, views)
    ours = float((volume * convolve_padded(volume, grid.kernel())).sum()) * (2 * box) ** 3
    power = read_slices(padded_spectrum(volume), plane, views).abs().square()
    assert ours == pytest.approx(float((power * weights * plane.weights).sum()), rel=0.02)
