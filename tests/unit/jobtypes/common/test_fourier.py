from __future__ import annotations

import math

import pytest
import torch

from jobtypes.common import fourier
from relion_jobs.contract.errors import UserError


@pytest.mark.parametrize("box", [6, 7])
def test_a_delta_at_the_centre_has_a_flat_spectrum_without_phase(box: int) -> None:
    image = torch.zeros(box, box)
    image[box // 2, box // 2] = 1
    assert torch.allclose(fourier.rfft2(image), torch.ones(box, box // 2 + 1, dtype=torch.complex64))
    volume = torch.zeros(box, box, box)
    volume[box // 2, box // 2, box // 2] = 1
    assert torch.allclose(fourier.rfft3(volume), torch.ones(box, box, box // 2 + 1, dtype=torch.complex64))


@pytest.mark.parametrize("box", [8, 9])
def test_the_spectrum_of_a_point_has_the_phase_of_its_coordinates(box: int) -> None:
    volume = torch.zeros(box, box, box, dtype=torch.float64)
    z, y, x = box // 2 - 2, box // 2 + 1, box // 2 + 3
    volume[z, y, x] = 1
    point = torch.tensor([3.0, 1.0, -2.0], dtype=torch.float64) * 1.5
    expected = torch.exp(-2j * math.pi * (fourier.frequencies_3d(box, 1.5, dtype=torch.float64) @ point))
    assert torch.allclose(fourier.rfft3(volume), expected)


def test_frequencies_are_x_first_in_reciprocal_angstroms() -> None:
    plane = fourier.frequencies_2d(8, 2.5)
    assert plane.shape == (8, 5, 2)
    assert plane[0, 3].tolist() == pytest.approx([3 / 20, 0])
    assert plane[7, 0].tolist() == pytest.approx([0, -1 / 20])
    assert fourier.frequencies_3d(8, 2.5)[6, 1, 2].tolist() == pytest.approx([2 / 20, 1 / 20, -2 / 20])


def test_a_box_or_pixel_size_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="pixel size 0"):
        fourier.frequencies_2d(8, 0)


def test_shells_count_cycles_per_box() -> None:
    shells = fourier.shells_2d(8)
    assert shells[0].tolist() == [0, 1, 2, 3, 4]
    assert shells[4, 4] == 6
    assert shells[7, 1] == 1
    assert fourier.shells_3d(7)[1, 2, 3] == 4


def test_a_shell_average_of_the_shell_number_is_the_shell_number() -> None:
    shells = fourier.shells_3d(9)
    assert fourier.shell_average(shells.double(), shells).tolist() == [0, 1, 2, 3, 4]
    batch = torch.stack((shells.double(), 2 * shells.double()))
    assert fourier.shell_average(batch, shells)[1].tolist() == [0, 2, 4, 6, 8]


def test_a_shell_without_weight_averages_to_zero() -> None:
    shells = fourier.shells_2d(8)
    average = fourier.shell_average(torch.ones(8, 5), shells, (shells > 1).float())
    assert average.tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("box", [8, 9])
@pytest.mark.parametrize("small", [4, 5])
def test_cropping_keeps_the_values_of_low_frequencies(box: int, small: int) -> None:
    points = torch.randn(5, 3, dtype=torch.float64)

    def spectrum(n: int) -> torch.Tensor:  # of points in a box of n pixels, length 20 A
        return torch.exp(-2j * math.pi * (fourier.frequencies_3d(n, 20 / n, dtype=torch.float64) @ points.T)).sum(-1)

    assert torch.allclose(fourier.crop_spectrum_3d(spectrum(box), small), spectrum(small))


def test_growing_by_cropping_is_an_error() -> None:
    with pytest.raises(ValueError, match="cannot crop a spectrum of box 4 to box 8"):
        fourier.crop_spectrum_3d(torch.zeros(4, 4, 3, dtype=torch.complex64), 8)


def test_wrong_shapes_name_what_was_expected() -> None:
    with pytest.raises(ValueError, match=r"\(4, 5\), expected \(\.\.\., N, N\)"):
        fourier.rfft2(torch.zeros(4, 5))
    with pytest.raises(ValueError, match=r"expected \(\.\.\., 6, 4\) for box 6"):
        fourier.irfft2(torch.zeros(5, 3, dtype=torch.complex64), 6)
    with pytest.raises(ValueError, match=r"expected \(b, 2\)"):
        fourier.shift_phases(torch.zeros(2), fourier.frequencies_2d(4, 1))


@pytest.mark.parametrize("box", [12, 13])
def test_a_shift_moves_an_image_forward(box: int) -> None:
    image = torch.randn(1, box, box, dtype=torch.float64)
    frequencies = fourier.frequencies_2d(box, 2.0, dtype=torch.float64)
    phases = fourier.shift_phases(torch.tensor([[4.0, -6.0]], dtype=torch.float64), frequencies)  # +2 px in x, -3 px in y
    moved = fourier.irfft2(fourier.rfft2(image) * phases, box)
    assert torch.allclose(moved, torch.roll(image, (-3, 2), (1, 2)))


def test_the_fsc_of_a_volume_with_itself_is_one_and_with_its_negative_minus_one() -> None:
    volume = torch.randn(8, 8, 8)
    assert torch.allclose(fourier.fsc(volume, volume * 3), torch.ones(5))
    assert torch.allclose(fourier.fsc(volume, -volume), -torch.ones(5))
    assert fourier.fsc(volume, torch.zeros(8, 8, 8)).tolist() == [0] * 5


def test_the_fsc_looks_only_inside_its_mask() -> None:
    a, b = torch.randn(2, 12, 12, 12)
    mask = torch.zeros(12, 12, 12)
    mask[3:9, 3:9, 3:9] = 1
    b = torch.where(mask > 0, a, b)
    assert torch.allclose(fourier.fsc(a, b, mask), torch.ones(7), atol=1e-5)
    assert fourier.fsc(a, b)[3] < 0.9


@pytest.mark.parametrize(
    ("curve", "resolution"),
    [
        ([1, 1, 1, 1, 1], 2 * 2.5),  # never below: Nyquist
        ([1, 1, 0.5, 0.1, 0], 20 / (2 + 0.357 / 0.4)),
        ([1, 0.9, -0.1, 0.9, 0.9], 20 / (1 + 0.757)),
        ([1, 0, 0, 0, 0], 20.0),
        ([1, 1, float("nan"), 1, 1], 20.0),
    ],
)
def test_resolution_is_interpolated_where_the_curve_first_falls(curve: list[float], resolution: float) -> None:
    assert fourier.resolution_at(torch.tensor(curve, dtype=torch.float64), 8, 2.5) == pytest.approx(resolution)


@pytest.mark.parametrize(("box", "n_columns"), [(8, 1), (8, 4), (9, 5)])
def test_the_first_columns_are_those_of_the_whole_transform_and_are_inverted_by_its_adjoint(box: int, n_columns: int) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, box, box, generator=generator, dtype=torch.float64)
    columns = fourier.rfft2_columns(image, n_columns)
    torch.testing.assert_close(columns, torch.fft.fft2(image.to(torch.complex128))[..., :n_columns])
    other = torch.randn(2, box, n_columns, generator=generator, dtype=torch.complex128)
    there = (columns * other.conj()).real.sum()
    halved = other * torch.tensor([1.0] + [0.5] * (n_columns - 1))
    torch.testing.assert_close(there, (image * fourier.irfft2_columns(halved, box)).sum())


def test_rows_of_an_otherwise_empty_image_have_its_transform_and_are_a_part_of_the_inverse() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.zeros(2, 9, 9, dtype=torch.float64)
    image[:, 3:7] = torch.randn(2, 4, 9, generator=generator, dtype=torch.float64)
    columns = fourier.rfft2_columns(image, 5)
    torch.testing.assert_close(fourier.rfft2_columns(image[:, 3:7], 5, first_row=3), columns)
    torch.testing.assert_close(fourier.irfft2_columns(columns, 9, slice(3, 7)), fourier.irfft2_columns(columns, 9)[:, 3:7])
    with pytest.raises(ValueError, match="4 rows from row 6 are more than the 9"):
        fourier.rfft2_columns(image[:, 3:7], 5, first_row=6)


@pytest.mark.parametrize(("at_least", "size"), [(2, 2), (7, 8), (14, 16), (118, 120), (121, 128)])
def test_a_fast_size_is_even_and_has_small_factors_only(at_least: int, size: int) -> None:
    assert fourier.fast_size(at_least) == size
