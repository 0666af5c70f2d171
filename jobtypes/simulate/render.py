"""Exact Fourier sums over atoms: images and maps without any grid, interpolation or projection of a map.

The transform of a projection is sum_j f_j(|k|) exp(-2 pi i (kx x_j + ky y_j)): a product of two tables of sines and cosines, one
per axis, so a matrix product. The product's own projector shares nothing with it, which is what makes the simulated truth a test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common import fourier
from relion_jobs.contract.errors import UserError

# Electron scattering factors f(s) = sum a exp(-b s^2), s = |k| / 2: five (a in A, b in A^2).
# Source: Peng, Ren, Dudarev and Whelan (1996) Acta Cryst. A52, 257, table 1.
SCATTERING = {
    "C": ((0.0893, 0.2465), (0.2563, 1.7100), (0.7570, 6.4094), (1.0487, 18.6113), (0.3575, 50.2523)),
    "N": ((0.1022, 0.2451), (0.3219, 1.7481), (0.7982, 6.1925), (0.8197, 17.3894), (0.1715, 48.1431)),
    "O": ((0.0974, 0.2067), (0.2921, 1.3815), (0.6910, 4.6943), (0.6990, 12.7105), (0.2039, 32.4726)),
    "S": ((0.2497, 0.2681), (0.5628, 1.6711), (1.3899, 7.0267), (2.1865, 19.5377), (0.7715, 50.3888)),
}
SOLVENT_BFACTOR = 200.0


class AtomRenderer:
    """Images and maps of atoms in solvent.

    Parameters
    ----------
    box
        N, pixels.
    pixel_size_angstroms
        Pixel size.
    elements
        (n,) element letters out of `SCATTERING`.
    magnification
        Atoms and solvent edge are this much larger than in nature (adenylate kinase of the reference set: 1.5).
    bfactor
        A^2, applied after the magnification.
    solvent_share
        Babinet's bulk solvent: the factor 1 - share exp(-200 A^2 |k|^2 / 4).
    amplitude
        Overall scale of the density.

    Notes
    -----
    The Nyquist row and column of an even box stay zero: a real image cannot hold their phases.
    """

    def __init__(
        self,
        box: int,
        pixel_size_angstroms: float,
        elements: Sequence[str] | NDArray[np.str_],
        *,
        magnification: float = 1.0,
        bfactor: float = 100.0,
        solvent_share: float = 0.6,
        amplitude: float = 1.0,
    ) -> None:
        self.box = box
        self.pixel_size_angstroms = pixel_size_angstroms
        self.elements = np.asarray(elements)
        self.magnification = magnification
        self.bfactor = bfactor
        self.solvent_share = solvent_share
        self.amplitude = amplitude
        unknown = sorted(set(self.elements.tolist()) - set(SCATTERING))
        if unknown:
            raise UserError(f"The model holds the element {unknown[0]}; only {', '.join(SCATTERING)} can be rendered.")

    def scattering(self, element: str, frequency: Tensor) -> Tensor:
        """Scattering of one element in solvent at |k| (any shape, 1/A), in A."""
        squared = frequency.double() ** 2
        natural = squared * self.magnification**2
        bare = sum((a * torch.exp(-b * natural / 4) for a, b in SCATTERING[element]), torch.zeros_like(squared))
        solvent = 1 - self.solvent_share * torch.exp(-SOLVENT_BFACTOR * natural / 4)
        return (self.amplitude * bare * solvent * torch.exp(-self.bfactor * squared / 4)).float()

    def spectra(self, positions_xy: Tensor, atoms: NDArray[np.int64] | None = None) -> Tensor:
        """Spectra of projections along z.

        Parameters
        ----------
        positions_xy
            (b, n, 2) A from the image centre, in the image frame.
        atoms
            Which atoms of the model these are; None: all.

        Returns
        -------
        (b, N, N//2+1) complex64, zero frequency in the corner, phase origin at pixel N//2; in grey values times pixels.
        """
        frequency = fourier.frequencies_2d(self.box, self.pixel_size_angstroms).norm(dim=-1)
        total = torch.zeros((len(positions_xy), *frequency.shape), dtype=torch.complex64)
        for element, members in self._by_element(atoms):
            x, y = (self._waves(positions_xy[:, members, axis]) for axis in (0, 1))
            total += self.scattering(element, frequency) * self._plane(y, x)
        return self._without_nyquist(total) / self.pixel_size_angstroms**3

    def images(self, positions_xy: Tensor) -> Tensor:
        """Projections (b, N, N) of atoms at (b, n, 2) A, no CTF; each pixel is the sum of the map's voxels along z."""
        return fourier.irfft2(self.spectra(positions_xy), self.box)

    def volume(self, positions: NDArray[np.float32] | Tensor) -> Tensor:
        """Map (N, N, N) [z, y, x] of atoms at (n, 3) A from the box centre."""
        points = torch.as_tensor(positions, dtype=torch.float32)
        box, half = self.box, self.box // 2 + 1
        frequency = fourier.frequencies_3d(box, self.pixel_size_angstroms).norm(dim=-1)
        spectrum = torch.zeros(frequency.shape, dtype=torch.complex64)
        for element, members in self._by_element(None):
            x, y, z = (self._waves(points[members, axis]) for axis in range(3))
            f = self.scattering(element, frequency)
            for row in range(half):
                cosine, sine = z[row], z[half + row]
                # y waves times the real and the imaginary part of the z wave; -kz is the conjugate of it
                even, odd = self._plane(y * cosine, x), self._plane(y * sine, x)
                spectrum[row] += f[row] * (even - 1j * odd)
                if row:
                    spectrum[box - row] += f[box - row] * (even + 1j * odd)
        if box % 2 == 0:
            spectrum[box // 2] = 0
        return fourier.irfft3(self._without_nyquist(spectrum), box) / self.pixel_size_angstroms**3

    def _by_element(self, atoms: NDArray[np.int64] | None) -> list[tuple[str, Tensor]]:
        elements = self.elements if atoms is None else self.elements[atoms]
        return [(str(element), torch.from_numpy(np.flatnonzero(elements == element))) for element in np.unique(elements)]

    def _waves(self, coordinate: Tensor) -> Tensor:
        """Cosines, then sines, of 2 pi k x for k = 0 .. N//2 cycles per box: (..., n) A -> (..., 2 (N//2+1), n)."""
        cycles = torch.arange(self.box // 2 + 1, dtype=torch.float32)
        step = coordinate.float() * (2 * math.pi / (self.box * self.pixel_size_angstroms))
        angle = step[..., None, :] * cycles[:, None]
        return torch.cat([torch.cos(angle), torch.sin(angle)], dim=-2)

    def _plane(self, y: Tensor, x: Tensor) -> Tensor:
        """sum_j exp(-i (ky y_j + kx x_j)) from tables of waves: (..., 2h, n) twice -> (..., N, h) complex."""
        half = self.box // 2 + 1
        products = y @ x.transpose(-1, -2)  # (..., 2h, 2h): every pair of cosine and sine
        cos_cos, cos_sin = products[..., :half, :half], products[..., :half, half:]
        sin_cos, sin_sin = products[..., half:, :half], products[..., half:, half:]
        positive = torch.complex(cos_cos - sin_sin, -(sin_cos + cos_sin))
        negative = torch.complex(cos_cos + sin_sin, sin_cos - cos_sin)
        # rows in the order 0, 1, ..., N-1: the upper ones are the negative frequencies -(N - row)
        return torch.cat([positive[..., : (self.box + 1) // 2, :], negative[..., 1:half, :].flip(-2)], dim=-2)

    def _without_nyquist(self, spectra: Tensor) -> Tensor:
        if self.box % 2 == 0:
            spectra[..., self.box // 2, :] = 0
            spectra[..., self.box // 2] = 0
        return spectra
