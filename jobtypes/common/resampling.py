"""Images on another grid: of another pixel size or box, and without the anisotropic magnification of their microscope.

Each value of the new image is interpolated by the old one's own Fourier terms, so that nothing is blurred; terms that one of the
two grids cannot hold are left out.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Resampling:
    """Brings images f to another grid: f'(x) = det(M) f(M^T x), x counted from the centre of the box.

    RELION's magnification matrix M says that the image's spectrum at k is that of projection and CTF at M k; that of f' at k is
    theirs at k. Outside of f there is the mean of its outermost pixels. Lines are mapped along x and then along y.

    Parameters
    ----------
    box, pixel_size_angstroms
        Of the images.
    to_box, to_pixel_size_angstroms
        Of what is made of them.
    magnification : (2, 2)
        M, rows and columns x, y; near the identity.

    Source: for M Zivanov, Nakane and Scheres 2020, IUCrJ 7, 253; the sense was measured with relion_reconstruct.
    """

    def __init__(
        self,
        box: int,
        pixel_size_angstroms: float,
        *,
        to_box: int,
        to_pixel_size_angstroms: float,
        magnification: NDArray[np.float64],
    ) -> None:
        (xx, xy), (yx, yy) = magnification.tolist()
        before, after = _axis(box, pixel_size_angstroms), _axis(to_box, to_pixel_size_angstroms)
        # M^T (x', y') = (x, y): x = (xx - yx xy / yy) x' + (yx / yy) y, and y = yy y' + xy x'
        self._along_x = _Lines(before, after, scale=xx - yx * xy / yy, shear=yx / yy, across=before)
        self._along_y = _Lines(before, after, scale=yy, shear=xy, across=after)
        self._factor = xx * yy - xy * yx

    def __call__(self, images: Tensor) -> Tensor:
        """(b, N, N) -> (b, M, M), indexed [y, x]."""
        border = torch.cat((images[:, [0, -1]].flatten(1), images[:, 1:-1, [0, -1]].flatten(1)), dim=1)
        level = border.mean(1)[:, None, None]
        resampled = self._along_y(self._along_x(images - level).transpose(1, 2)).transpose(1, 2)
        result: Tensor = (resampled + level) * self._factor
        return result


class _Lines:
    """Lines f(u), given at places `before`, at the places u = scale u' + shear v; u' are the places `after`, v one for a line.

    Parameters
    ----------
    before, after : (n,), (m,)
        A, float64, evenly spaced.
    across : (h,)
        v of each line, A.
    """

    def __init__(self, before: Tensor, after: Tensor, *, scale: float, shear: float, across: Tensor) -> None:
        n, step, new_step = len(before), float(before[1] - before[0]), float(after[1] - after[0])
        frequencies = torch.arange((n + 1) // 2, dtype=torch.float64) / (n * step)  # without Nyquist, a sum of two
        frequencies = frequencies[2 * scale * frequencies * new_step < 1]
        weights = torch.full_like(frequencies, 2 / n)
        weights[0] = 1 / n
        self._transform = _waves(-before[:, None] * frequencies).to(torch.complex64)  # (n, k)
        self._shift = _waves(shear * across[:, None] * frequencies).to(torch.complex64)  # (h, k)
        self._inverse = (weights[:, None] * _waves(frequencies[:, None] * scale * after)).to(torch.complex64)  # (k, m)
        places = scale * after + shear * across[:, None]  # (h, m)
        self._inside = (places >= before[0] - step / 2) & (places <= before[-1] + step / 2)

    def __call__(self, lines: Tensor) -> Tensor:
        """(b, h, n) -> (b, h, m)."""
        terms = (lines.to(torch.complex64) @ self._transform) * self._shift
        values: Tensor = (terms @ self._inverse).real * self._inside
        return values


def _axis(box: int, pixel_size_angstroms: float) -> Tensor:
    return (torch.arange(box, dtype=torch.float64) - box // 2) * pixel_size_angstroms


def _waves(cycles: Tensor) -> Tensor:
    angles = 2 * math.pi * cycles
    return torch.polar(torch.ones_like(angles), angles)
