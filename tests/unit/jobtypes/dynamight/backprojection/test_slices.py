from __future__ import annotations

import pytest
import torch

from jobtypes.common.fourier import rfft2
from jobtypes.common.padded_grid import padded_spectrum, trilinear
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.backprojection.slices import SliceGrid, SlicePlane, normal_operator, read_slices


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
def test_a_map_solves_the_normal_equations_of_its_own_slices(box):
    """Whatever the weights of the shells, here as steep as squared CTFs at low resolution."""
    plane, views = SlicePlane(box), rotations(300)
    axis = (torch.arange(box) - box // 2).float()
    squared = (axis**2)[:, None, None] + (axis**2)[:, None] + axis**2
    volume = torch.randn(box, box, box, generator=torch.Generator().manual_seed(1)) * torch.exp(-squared / (box / 5) ** 2)
    profile = 0.01 + torch.linspace(0, 1, box // 2 + 1) ** 4
    weights = profile[plane.shells].expand(300, -1)
    grid = SliceGrid(plane, profile)
    grid.insert(weights * read_slices(padded_spectrum(volume), plane, views), weights, views)
    right, left = grid.numerator(), normal_operator(volume, grid.weights())
    assert float((left - right).norm() / right.norm()) < 0.03


def test_a_view_down_the_z_axis_reads_the_projection_along_z():
    box = 16
    axis = (torch.arange(box) - box // 2).float()
    blob = torch.exp(-(((axis - 0.3) ** 2)[:, None, None] + ((axis + 0.5) ** 2)[:, None] + (axis - 1) ** 2) / 4)
    plane = SlicePlane(box)
    read = read_slices(padded_spectrum(blob), plane, torch.eye(3)[None])
    expected = plane.take(rfft2(blob.sum(0))[None])
    torch.testing.assert_close(read, expected, rtol=0, atol=0.03 * float(expected.abs().max()))


@pytest.mark.parametrize("n_views", [1, 3, 30])
@pytest.mark.parametrize("box", [6, 7])
def test_the_normal_operator_is_symmetric_and_not_negative_for_any_number_of_views(box, n_views):
    plane, views = SlicePlane(box), rotations(n_views)
    grid = SliceGrid(plane)
    weights = torch.rand(n_views, len(plane), generator=torch.Generator().manual_seed(5))
    grid.insert(torch.zeros(n_views, len(plane), dtype=torch.complex64), weights, views)
    summed = grid.weights().double()
    units = torch.eye(box**3, dtype=torch.float64).view(-1, box, box, box)
    matrix = torch.stack([normal_operator(unit, summed).flatten() for unit in units])
    torch.testing.assert_close(matrix, matrix.T)
    values = torch.linalg.eigvalsh(matrix)
    assert float(values[0]) > -1e-12 * float(values[-1])
    assert float(summed.min()) == 0
