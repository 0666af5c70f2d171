"""The contrast transfer function of RELION: what the microscope multiplies a projection's spectrum with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from jobtypes.common.aberrations import even_zernike_phases
from jobtypes.common.products import product_in_full

_ANGSTROMS_PER_MILLIMETRE = 1e7
DOSE = "rlnMicrographPreExposure"


@dataclass(frozen=True)
class CtfParameters:
    """CTF of b images.

    Attributes
    ----------
    voltage_kilovolts, spherical_aberration_millimetres, amplitude_contrast, defocus_u_angstroms, defocus_v_angstroms, \
defocus_angle_degrees, phase_shift_degrees, bfactor, scale_factor : (b,)
        As in RELION's columns of these names; defocus is positive for underfocus, its angle is from x to y.
    even_zernikes : (b, n) or None
        Coefficients of rlnEvenZernike, radians.
    premultiplied : (b,) bool or None
        True where the stored image was already multiplied by its CTF (rlnCtfDataAreCtfPremultiplied).
    phase_flipped : (b,) bool or None
        True where the signs of the CTF were taken out of the stored image (rlnCtfDataArePhaseFlipped).
    dose : (b,) or None
        e/A^2 that the particle had got before the image (rlnMicrographPreExposure of tilt series); see `dose_damping`.
    """

    voltage_kilovolts: Tensor
    spherical_aberration_millimetres: Tensor
    amplitude_contrast: Tensor
    defocus_u_angstroms: Tensor
    defocus_v_angstroms: Tensor
    defocus_angle_degrees: Tensor
    phase_shift_degrees: Tensor
    bfactor: Tensor
    scale_factor: Tensor
    even_zernikes: Tensor | None = None
    premultiplied: Tensor | None = None
    phase_flipped: Tensor | None = None
    dose: Tensor | None = None

    def __len__(self) -> int:
        """Return b."""
        return len(self.defocus_u_angstroms)

    def to(self, target: torch.device | torch.dtype | str) -> CtfParameters:
        """Move to a device or turn into a precision."""
        keep = isinstance(target, torch.dtype)
        return self._each(lambda values: values if keep and not values.is_floating_point() else values.to(target))

    def select(self, rows: Tensor | slice) -> CtfParameters:
        """Keep some images: an index, a mask or a slice of the b rows."""
        return self._each(lambda values: values[rows])

    def _each(self, change: Callable[[Tensor], Tensor]) -> CtfParameters:
        present = {field.name: getattr(self, field.name) for field in fields(self) if getattr(self, field.name) is not None}
        return replace(self, **{name: change(values) for name, values in present.items()})


def ctf(parameters: CtfParameters, frequencies: Tensor) -> Tensor:
    """Factor between a projection's spectrum and that of the stored image.

    Parameters
    ----------
    parameters
        Of b images.
    frequencies : (N, N // 2 + 1, 2) in 1/angstrom, from `fourier.frequencies_2d`

    Returns
    -------
    (b, N, N // 2 + 1) in the precision of the parameters. -sin(gamma) with the scale and B-factor of the image; its value at zero
    frequency is +amplitude contrast. Its square where the stored image is premultiplied, its modulus where it is phase-flipped,
    so that image = ctf * projection always holds.

    Source: -gamma = pi lambda k.D k - pi/2 Cs lambda^3 |k|^4 + phase shift + atan(Q / sqrt(1 - Q^2)) - even aberrations; Rohou &
    Grigorieff (2015), J. Struct. Biol. 192, 216, section 2, with the sign of RELION.
    """
    return CtfCurves.of(parameters)(frequencies)


@dataclass(frozen=True)
class CtfCurves:
    """CTFs of b images, ready to be worked out at any frequencies; see `ctf`.

    Attributes
    ----------
    coefficients : (b, 5)
        Factors of `_phase_functions`: -gamma without aberrations is linear in a few functions of the frequency.
    bfactor, scale_factor : (b,)
        As in `CtfParameters`.
    even_zernikes : (b, n) or None
        As in `CtfParameters`.
    premultiplied, phase_flipped : (b,) bool or None
        As in `CtfParameters`.
    dose : (b,) or None
        As in `CtfParameters`.
    """

    coefficients: Tensor
    bfactor: Tensor
    scale_factor: Tensor
    even_zernikes: Tensor | None
    premultiplied: Tensor | None
    phase_flipped: Tensor | None
    dose: Tensor | None

    @classmethod
    def of(cls, parameters: CtfParameters) -> CtfCurves:
        """Of all images of some parameters."""
        p = parameters
        optional = (p.even_zernikes, p.premultiplied, p.phase_flipped, p.dose)
        return cls(_phase_coefficients(p), p.bfactor, p.scale_factor, *optional)

    def __len__(self) -> int:
        """Return b."""
        return len(self.coefficients)

    def select(self, rows: Tensor) -> CtfCurves:
        """Keep some images."""
        optional = (self.even_zernikes, self.premultiplied, self.phase_flipped, self.dose)
        chosen = [None if values is None else values[rows] for values in optional]
        return CtfCurves(self.coefficients[rows], self.bfactor[rows], self.scale_factor[rows], *chosen)

    def __call__(self, frequencies: Tensor) -> Tensor:
        """CTFs (b, *S) at frequencies (*S, 2) in 1/angstrom."""
        if frequencies.shape[-1:] != (2,):
            raise ValueError(f"frequencies have shape {tuple(frequencies.shape)}, expected (..., 2)")

        def column(values: Tensor) -> Tensor:
            return values.view(-1, *[1] * (frequencies.ndim - 1))  # (b,) -> (b, 1, 1)

        frequencies = frequencies.to(self.coefficients.dtype)
        square = frequencies.square().sum(-1)  # (*S)
        functions = _phase_functions(frequencies, square)
        phase = product_in_full(self.coefficients, functions.flatten(1)).unflatten(1, square.shape)
        if self.even_zernikes is not None and self.even_zernikes.shape[-1]:
            phase = phase - even_zernike_phases(self.even_zernikes, frequencies)
        values: Tensor = phase.sin() * column(self.scale_factor) * torch.exp(-0.25 * column(self.bfactor) * square)
        if self.dose is not None:
            values = values * dose_damping(self.dose, square)
        if self.phase_flipped is not None:
            values = torch.where(column(self.phase_flipped), values.abs(), values)
        if self.premultiplied is not None:
            values = torch.where(column(self.premultiplied), values.square(), values)
        return values


def dose_damping(dose: Tensor, squared_frequencies: Tensor) -> Tensor:
    """What is left of the signal after doses (b,) in e/A^2, at squared frequencies (*S) in 1/A^2: (b, *S), 1 at zero frequency.

    The same curve at all voltages, as in RELION.

    Source: Grant & Grigorieff (2015), eLife 4, e06980, equation 3.
    """
    critical = 2 * (0.245 * squared_frequencies.pow(-0.8325) + 2.81)  # infinite at zero frequency
    return torch.exp(-dose.view(-1, *[1] * squared_frequencies.ndim) / critical)


def wavelength_angstroms(voltage_kilovolts: Tensor) -> Tensor:
    """Wavelength of electrons, relativistic, with RELION's constants (5e-6 off CODATA), so that curves agree to the last ring."""
    volts = voltage_kilovolts * 1e3
    return 12.2643247 / torch.sqrt(volts * (1 + 0.978466e-6 * volts))


def depth_of_quarter_wave_angstroms(voltage_kilovolts: float, resolution_angstroms: float) -> float:
    """Depth before or behind the plane of its defocus at which an atom is a quarter wave out of phase (Ewald sphere).

    Source: the phase pi lambda z |k|^2 of a depth z; DeRosier 2000, Ultramicroscopy 81, 83.
    """
    return resolution_angstroms**2 / (2 * float(wavelength_angstroms(torch.tensor(voltage_kilovolts))))


def _phase_functions(frequencies: Tensor, square: Tensor) -> Tensor:
    """Functions (5, *S) of the frequency that make up -gamma: two of astigmatism, |k|^2, |k|^4 and 1."""
    kx, ky = frequencies.unbind(-1)
    return torch.stack((kx.square() - ky.square(), 2 * kx * ky, square, square.square(), torch.ones_like(square)))


def _phase_coefficients(parameters: CtfParameters) -> Tensor:
    """(b, 5) factors of `_phase_functions`.

    The defocus along a direction a is its mean + half the difference times cos 2 (a - angle).
    """
    wavelength = wavelength_angstroms(parameters.voltage_kilovolts)
    of_defocus = math.pi * wavelength
    mean = (parameters.defocus_u_angstroms + parameters.defocus_v_angstroms) / 2
    half_difference = (parameters.defocus_u_angstroms - parameters.defocus_v_angstroms) / 2
    double_angle = 2 * torch.deg2rad(parameters.defocus_angle_degrees)
    cs_angstroms = parameters.spherical_aberration_millimetres * _ANGSTROMS_PER_MILLIMETRE
    contrast = parameters.amplitude_contrast
    contrast_phase = torch.atan2(contrast, (1 - contrast.square()).clamp_min(0).sqrt())  # finite at full amplitude contrast
    return torch.stack(
        (
            of_defocus * half_difference * double_angle.cos(),
            of_defocus * half_difference * double_angle.sin(),
            of_defocus * mean,
            -0.5 * math.pi * cs_angstroms * wavelength**3,
            torch.deg2rad(parameters.phase_shift_degrees) + contrast_phase,
        ),
        dim=1,
    )
