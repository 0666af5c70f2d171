"""Higher aberrations that RELION's CtfRefine measures: beam tilt, odd and even Zernike polynomials.

Even ones change the CTF's phase; odd ones shift phases of the image, which `particle_images` takes out when it reads an image.
Zernike polynomials are RELION's: not normalised, their radius is |k| in 1/angstrom.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from jobtypes.common.products import product_in_full

_ANGSTROMS_PER_MILLIMETRE = 1e7


def even_zernike_phases(coefficients: Tensor, frequencies: Tensor) -> Tensor:
    """Phase of the symmetric aberrations.

    Parameters
    ----------
    coefficients : (b, n) radians, in the order of rlnEvenZernike
    frequencies : (N, N // 2 + 1, 2) 1/angstrom

    Returns
    -------
    (b, N, N // 2 + 1) radians, to add to RELION's gamma (ctf = -sin(gamma))
    """
    return _polynomial_sum(coefficients, frequencies, [_even_order(i) for i in range(coefficients.shape[-1])])


def odd_zernike_phases(coefficients: Tensor, frequencies: Tensor) -> Tensor:
    """Phase of the antisymmetric aberrations, as `even_zernike_phases`, for rlnOddZernike: the spectrum turns by exp(i phase)."""
    return _polynomial_sum(coefficients, frequencies, [_odd_order(i) for i in range(coefficients.shape[-1])])


def beam_tilt_phases(
    tilt_milliradians: Tensor, *, wavelength_angstroms: Tensor, spherical_aberration_millimetres: Tensor, frequencies: Tensor
) -> Tensor:
    """Phase of axial coma from beam tilt, by which the image's spectrum is turned: exp(i phase).

    Parameters
    ----------
    tilt_milliradians : (b, 2) x, y
    wavelength_angstroms, spherical_aberration_millimetres : (b,)
    frequencies : (N, N // 2 + 1, 2) 1/angstrom

    Returns
    -------
    (b, N, N // 2 + 1) radians, -2 pi Cs lambda^2 |k|^2 (k . tilt)

    Source: Zivanov et al. (2020), IUCrJ 7, 253; the sign was measured with relion_reconstruct.
    """
    strength = -2 * math.pi * spherical_aberration_millimetres * _ANGSTROMS_PER_MILLIMETRE * wavelength_angstroms.square() * 1e-3
    along = product_in_full(tilt_milliradians * strength[:, None], frequencies.to(tilt_milliradians.dtype).flatten(0, -2).T)
    phases: Tensor = along.unflatten(1, frequencies.shape[:-1]) * frequencies.square().sum(-1).to(along.dtype)
    return phases


def zernike_polynomial(m: int, n: int, frequencies: Tensor) -> Tensor:
    """R_n^|m|(|k|) cos(m a) for m >= 0, sin(-m a) for m < 0, a the angle of k from x to y: (*S, 2) -> S."""
    kx, ky = frequencies.unbind(-1)
    square, order = kx.square() + ky.square(), abs(m)
    # |k|^m (cos, sin)(m a) as a product of (kx + i ky), so that there is no angle at zero frequency
    cosine, sine = torch.ones_like(kx), torch.zeros_like(kx)
    for _ in range(order):
        cosine, sine = cosine * kx - sine * ky, cosine * ky + sine * kx
    radial = torch.zeros_like(kx)
    for k in range((n - order) // 2 + 1):
        factor = (-1) ** k * math.factorial(n - k)
        factor /= math.factorial(k) * math.factorial((n + order) // 2 - k) * math.factorial((n - order) // 2 - k)
        radial = radial + factor * square ** ((n - order) // 2 - k)
    return radial * (cosine if m >= 0 else sine)


def _even_order(index: int) -> tuple[int, int]:
    """Return (m, n) of the i-th even polynomial: n = 0, 2, 4, ... and within each n, m = -n, -n + 2, ..., n."""
    row = math.isqrt(index)
    return 2 * (index - row * row - row), 2 * row


def _odd_order(index: int) -> tuple[int, int]:
    """Return (m, n) of the i-th odd polynomial: n = 1, 3, 5, ... and within each n, m = -n, -n + 2, ..., n."""
    row = (math.isqrt(1 + 4 * index) - 1) // 2
    n = 2 * row + 1
    return 2 * (index - row * (row + 1)) - n, n


def _polynomial_sum(coefficients: Tensor, frequencies: Tensor, orders: list[tuple[int, int]]) -> Tensor:
    frequencies = frequencies.to(coefficients.dtype)
    basis = torch.stack([zernike_polynomial(m, n, frequencies) for m, n in orders])
    phases: Tensor = product_in_full(coefficients, basis.flatten(1)).unflatten(-1, basis.shape[1:])
    return phases
