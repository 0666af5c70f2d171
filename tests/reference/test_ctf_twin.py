"""The CTF and FSC against slow twins in float64, one frequency at a time, written from the formulas and not from the code."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from jobtypes.common.ctf import CtfParameters, ctf
from jobtypes.common.fourier import frequencies_2d, fsc
from jobtypes.common.rotations import euler_angles, euler_matrices

COLUMNS = {
    "voltage_kilovolts": (300, 200),
    "spherical_aberration_millimetres": (2.7, 1.4),
    "amplitude_contrast": (0.1, 0.07),
    "defocus_u_angstroms": (16072.5, 9300.0),
    "defocus_v_angstroms": (15860.7, 12100.0),
    "defocus_angle_degrees": (87.6, 31.0),
    "phase_shift_degrees": (0, 63.0),
    "bfactor": (50.0, 0),
    "scale_factor": (1.1, 0.8),
}
EVEN = ((0.3, 40.0, -8.0, 3.0), (0.0, 0.0, 0.0, 0.0))


def slow_ctf(row: int, kx: float, ky: float) -> float:
    """Im of exp(i chi), chi from the defocus along the direction of k, the constants of CODATA."""
    p = {name: values[row] for name, values in COLUMNS.items()}
    energy = p["voltage_kilovolts"] * 1e3
    wavelength = 12.2642598 / math.sqrt(energy + 9.78475598e-7 * energy**2)
    radius, angle = math.hypot(kx, ky), math.atan2(ky, kx)
    between = 2 * (angle - math.radians(p["defocus_angle_degrees"]))
    u, v = p["defocus_u_angstroms"], p["defocus_v_angstroms"]
    defocus = ((u + v) + (u - v) * math.cos(between)) / 2
    chi = (
        math.pi
        * wavelength
        * radius**2
        * (defocus - 0.5 * wavelength**2 * radius**2 * p["spherical_aberration_millimetres"] * 1e7)
    )
    chi += math.radians(p["phase_shift_degrees"]) + math.asin(p["amplitude_contrast"])
    one, across, round_, along = EVEN[row]
    chi -= one + radius**2 * (across * math.sin(2 * angle) + along * math.cos(2 * angle)) + round_ * (2 * radius**2 - 1)
    return cmath.exp(1j * chi).imag * p["scale_factor"] * math.exp(-p["bfactor"] * radius**2 / 4)


def parameters(**changes: torch.Tensor) -> CtfParameters:
    columns = {name: torch.tensor(values, dtype=torch.float64) for name, values in COLUMNS.items()}
    return CtfParameters(**{**columns, "even_zernikes": torch.tensor(EVEN, dtype=torch.float64), **changes})


@pytest.mark.parametrize("box", [8, 9])
def test_the_ctf_is_that_of_its_slow_twin(box: int) -> None:
    frequencies = frequencies_2d(box, 1.1, dtype=torch.float64)
    fast = ctf(parameters(), frequencies)
    slow = [[[slow_ctf(row, *k) for k in line] for line in frequencies.tolist()] for row in (0, 1)]
    assert torch.allclose(fast, torch.tensor(slow, dtype=torch.float64), atol=2e-3)  # RELION's wavelength is 5e-6 off


def test_the_ctf_has_the_gradient_of_finite_differences() -> None:
    frequencies = frequencies_2d(5, 2.0, dtype=torch.float64)
    names = ("defocus_u_angstroms", "defocus_v_angstroms", "phase_shift_degrees", "scale_factor", "amplitude_contrast")
    inputs = tuple(torch.tensor(COLUMNS[name], dtype=torch.float64, requires_grad=True) for name in names)
    function = lambda *values: ctf(parameters(**dict(zip(names, values, strict=True))), frequencies)  # noqa: E731
    assert torch.autograd.gradcheck(function, inputs, eps=1e-4, atol=1e-6)


@pytest.mark.parametrize("box", [10, 11])
def test_the_fsc_is_that_of_its_slow_twin(box: int) -> None:
    rng = np.random.default_rng(box)
    a, b = rng.normal(size=(2, box, box, box))
    fa, fb = np.fft.fftn(a), np.fft.fftn(b)
    k = np.fft.fftfreq(box) * box
    radius = np.round(np.sqrt(k[:, None, None] ** 2 + k[None, :, None] ** 2 + k[None, None, :] ** 2)).astype(int)
    slow = []
    for shell in range(box // 2 + 1):
        x, y = fa[radius == shell], fb[radius == shell]
        slow.append((x * y.conj()).sum().real / math.sqrt((abs(x) ** 2).sum() * (abs(y) ** 2).sum()))
    assert np.allclose(fsc(torch.from_numpy(a), torch.from_numpy(b)).numpy(), slow, atol=1e-12)


def test_euler_matrices_are_scipys_and_the_product_of_three_turns() -> None:
    angles = np.random.default_rng(0).uniform(-180, 180, size=(50, 3))
    ours = euler_matrices(torch.from_numpy(angles)).numpy()
    # scipy turns points, RELION turns the frame: the inverse of the intrinsic ZYZ rotation
    assert np.allclose(ours, Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix(), atol=1e-14)
    for matrix, (rot, tilt, psi) in zip(ours, np.radians(angles), strict=True):
        about_z = lambda t: np.array([[math.cos(t), math.sin(t), 0], [-math.sin(t), math.cos(t), 0], [0, 0, 1]])  # noqa: E731
        about_y = np.array([[math.cos(tilt), 0, -math.sin(tilt)], [0, 1, 0], [math.sin(tilt), 0, math.cos(tilt)]])
        assert np.allclose(matrix, about_z(psi) @ about_y @ about_z(rot), atol=1e-14)
    assert np.allclose(euler_matrices(euler_angles(torch.from_numpy(ours))).numpy(), ours, atol=1e-12)
