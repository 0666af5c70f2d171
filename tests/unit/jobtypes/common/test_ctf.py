from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from jobtypes.common.aberrations import zernike_polynomial
from jobtypes.common.ctf import CtfCurves, CtfParameters, ctf, depth_of_quarter_wave_angstroms
from jobtypes.common.fourier import frequencies_2d


def parameters(n: int = 1, **changes: float) -> CtfParameters:
    values = {
        "voltage_kilovolts": 300.0,
        "spherical_aberration_millimetres": 2.7,
        "amplitude_contrast": 0.1,
        "defocus_u_angstroms": 15000.0,
        "defocus_v_angstroms": 14000.0,
        "defocus_angle_degrees": 30.0,
        "phase_shift_degrees": 0.0,
        "bfactor": 0.0,
        "scale_factor": 1.0,
        **changes,
    }
    return CtfParameters(**{name: torch.full((n,), value, dtype=torch.float64) for name, value in values.items()})


@pytest.fixture
def frequencies() -> torch.Tensor:
    return frequencies_2d(16, 1.5, dtype=torch.float64)


def test_at_zero_frequency_it_is_the_amplitude_contrast_and_positive(frequencies: torch.Tensor) -> None:
    assert ctf(parameters(amplitude_contrast=0.07), frequencies)[0, 0, 0] == pytest.approx(0.07)
    assert ctf(parameters(amplitude_contrast=1.0), frequencies)[0, 0, 0] == pytest.approx(1)


def test_a_phase_plate_of_90_degrees_gives_full_contrast_at_low_frequency(frequencies: torch.Tensor) -> None:
    assert ctf(parameters(amplitude_contrast=0.0, phase_shift_degrees=90.0), frequencies)[0, 0, 0] == pytest.approx(1)


def test_underfocus_turns_low_frequencies_positive(frequencies: torch.Tensor) -> None:
    values = ctf(parameters(defocus_u_angstroms=3000.0, defocus_v_angstroms=3000.0), frequencies)[0]
    assert values[0, 1] > values[0, 0] > 0


def test_bfactor_and_scale_multiply(frequencies: torch.Tensor) -> None:
    plain, scaled = ctf(parameters(), frequencies), ctf(parameters(bfactor=80.0, scale_factor=0.7), frequencies)
    assert torch.allclose(scaled, plain * 0.7 * torch.exp(-20 * frequencies.square().sum(-1)))


def test_defocus_u_lies_along_its_angle_from_x_to_y() -> None:
    along_y = parameters(defocus_u_angstroms=20000.0, defocus_v_angstroms=10000.0, defocus_angle_degrees=90.0)
    round_u = parameters(defocus_u_angstroms=20000.0, defocus_v_angstroms=20000.0)
    frequencies = frequencies_2d(16, 1.5, dtype=torch.float64)
    assert torch.allclose(ctf(along_y, frequencies)[0, :, 0], ctf(round_u, frequencies)[0, :, 0])


def test_premultiplied_images_have_the_square_in_their_rows_only(frequencies: torch.Tensor) -> None:
    both = replace(parameters(2), premultiplied=torch.tensor([False, True]))
    values = ctf(both, frequencies)
    assert torch.allclose(values[1], values[0].square())
    assert (values[0] < 0).any()


def test_no_even_zernikes_and_zero_ones_are_the_same(frequencies: torch.Tensor) -> None:
    plain = parameters(2)
    zero = replace(plain, even_zernikes=torch.zeros(2, 9, dtype=torch.float64))
    assert torch.equal(ctf(plain, frequencies), ctf(zero, frequencies))


def test_a_selection_and_a_move_keep_all_columns() -> None:
    both = replace(parameters(3), even_zernikes=torch.arange(6.0).reshape(3, 2), premultiplied=torch.tensor([True, False, True]))
    chosen = both.select(torch.tensor([2, 1])).to(torch.float32)
    assert len(chosen) == 2
    assert chosen.even_zernikes is not None
    assert chosen.even_zernikes.tolist() == [[4, 5], [2, 3]]
    assert chosen.premultiplied is not None
    assert chosen.premultiplied.tolist() == [True, False]
    assert chosen.bfactor.dtype == torch.float32


def test_single_precision_is_enough_to_the_last_ring() -> None:
    frequencies = frequencies_2d(256, 0.8, dtype=torch.float64)
    far = parameters(defocus_u_angstroms=40000.0, defocus_v_angstroms=38000.0)
    error = (ctf(far.to(torch.float32), frequencies.float()).double() - ctf(far, frequencies)).abs()
    assert error.max() < 1e-3


@pytest.mark.parametrize(("m", "n"), [(0, 2), (2, 2), (-2, 2), (1, 3), (-3, 3), (0, 4)])
def test_a_zernike_polynomial_is_one_at_the_rim_times_its_angle(m: int, n: int) -> None:
    angle = torch.linspace(0, 6, 13, dtype=torch.float64)
    rim = torch.stack((angle.cos(), angle.sin()), dim=-1)
    expected = torch.cos(m * angle) if m >= 0 else torch.sin(-m * angle)
    assert torch.allclose(zernike_polynomial(m, n, rim), expected)


def test_phase_flipped_images_have_the_modulus_in_their_rows_only(frequencies: torch.Tensor) -> None:
    both = replace(
        parameters(3), phase_flipped=torch.tensor([False, True, True]), premultiplied=torch.tensor([False, False, True])
    )
    raw, flipped, twice = ctf(both, frequencies)
    assert raw.min() < 0
    assert torch.equal(flipped, raw.abs())
    assert torch.allclose(twice, raw.square())
    assert torch.equal(CtfCurves.of(both).select(torch.tensor([1]))(frequencies)[0], flipped)


@pytest.mark.parametrize(("voltage", "resolution", "depth"), [(300.0, 3.0, 228.6), (200.0, 4.0, 319.0), (300.0, 6.0, 914.3)])
def test_the_depth_of_a_quarter_wave_on_the_ewald_sphere(voltage: float, resolution: float, depth: float) -> None:
    # a defocus that is wrong by this depth turns -gamma by pi / 2
    assert depth_of_quarter_wave_angstroms(voltage, resolution) == pytest.approx(depth, rel=1e-3)
