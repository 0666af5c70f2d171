"""Microscope and defocus of every particle, and RELION's CTF of it, written down once more as an independent check."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common.fourier import frequencies_2d

Array = NDArray[np.float64]
PARTICLES_PER_MICROGRAPH = 100


@dataclass(frozen=True)
class Optics:
    """Optics of p particles; they lie on micrographs of `PARTICLES_PER_MICROGRAPH` that share a defocus within 400 A.

    Parameters
    ----------
    micrograph
        (p,) number of the micrograph, from 1.
    defocus_u_angstroms, defocus_v_angstroms
        (p,) positive: underfocus.
    defocus_angle_degrees
        (p,) from x to y.
    voltage_kilovolts, spherical_aberration_millimetres, amplitude_contrast
        The same for all.
    dose, scale
        (p,) e/A^2 before each image of a tilt series, and strength of its signal; None: no dose, 1.
    """

    micrograph: NDArray[np.int64]
    defocus_u_angstroms: Array
    defocus_v_angstroms: Array
    defocus_angle_degrees: Array
    voltage_kilovolts: float
    spherical_aberration_millimetres: float = 2.7
    amplitude_contrast: float = 0.1
    dose: Array | None = None
    scale: Array | None = None

    @property
    def wavelength_angstroms(self) -> float:
        """Relativistic wavelength of the electrons."""
        volts = 1000 * self.voltage_kilovolts
        return float(12.2643247 / np.sqrt(volts * (1 + 0.978466e-6 * volts)))

    def defocus_columns(self) -> Array:
        """(p, 3) defocus u, v in A, angle in degrees."""
        return np.stack([self.defocus_u_angstroms, self.defocus_v_angstroms, self.defocus_angle_degrees], axis=1)


def random_optics(
    particles: int, rng: np.random.Generator, *, defocus_angstroms: tuple[float, float], voltage_kilovolts: float
) -> Optics:
    """Micrographs with uniform mean defocus in the given range, up to 400 A of astigmatism and particles at differing heights."""
    micrograph = np.arange(particles) // PARTICLES_PER_MICROGRAPH
    count = int(micrograph[-1]) + 1
    mean = rng.uniform(*defocus_angstroms, count)[micrograph] + rng.normal(0, 100, particles)
    difference = rng.uniform(0, 400, count)[micrograph]
    angle = rng.uniform(0, 180, count)[micrograph]
    return Optics(micrograph + 1, mean + difference / 2, mean - difference / 2, angle, voltage_kilovolts)


def ctf(optics: Optics, rows: slice | NDArray[np.int64], box: int, pixel_size_angstroms: float) -> Tensor:
    """Contrast transfer (b, N, N//2+1) of the particles in `rows`, positive at zero frequency (white protein).

    sin(pi lambda D k^2 - pi/2 Cs lambda^3 k^4 + asin(A)), D the defocus along the direction of k, A the amplitude contrast.

    Source: Mindell and Grigorieff (2003) J. Struct. Biol. 142, 334, eq. 2-4, with RELION's sign (defocus positive, contrast
    white); unlike there, the amplitude contrast enters as a phase, as in RELION.
    """
    frequencies = frequencies_2d(box, pixel_size_angstroms, dtype=torch.float64)
    kx, ky = frequencies.unbind(-1)
    squared = kx**2 + ky**2

    def column(values: Array) -> Tensor:
        return torch.from_numpy(np.asarray(values[rows], float))[:, None, None]

    u, v = column(optics.defocus_u_angstroms), column(optics.defocus_v_angstroms)
    direction = torch.atan2(ky, kx) - torch.deg2rad(column(optics.defocus_angle_degrees))
    defocus = (u + v) / 2 + (u - v) / 2 * torch.cos(2 * direction)
    wavelength = optics.wavelength_angstroms
    aberration = 1e7 * optics.spherical_aberration_millimetres
    phase = np.pi * wavelength * defocus * squared - np.pi / 2 * aberration * wavelength**3 * squared**2
    transfer = torch.sin(phase + np.arcsin(optics.amplitude_contrast))
    if optics.dose is not None and optics.scale is not None:
        # Grant and Grigorieff (2015) eLife 4, e06980, equation 3: 0.245 k^-1.665 + 2.81 is half of what leaves 1/e
        transfer = transfer * column(optics.scale) * torch.exp(-column(optics.dose) / (0.49 * squared**-0.8325 + 5.62))
    return transfer.float()
