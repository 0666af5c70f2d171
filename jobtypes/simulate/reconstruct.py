"""Rigid reconstruction by slice insertion: what Refine3D would give for these particles at these poses.

Every image's spectrum, times its CTF, is spread over the eight nearest nodes of a grid padded two-fold; so is the square of its
CTF; the map is the quotient. Several images with the same pose and CTF (the data and the oracle's) are inserted at once.
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor

from jobtypes.common import fourier

PADDING = 2
FLOOR = 1e-3


class SliceInsertion:
    """Sums over particles.

    Parameters
    ----------
    box
        N, pixels of the images.
    kinds
        Number of images inserted with each pose and CTF.
    """

    def __init__(self, box: int, kinds: int = 1) -> None:
        self.box, self.kinds = box, kinds
        self.padded = PADDING * box
        self.half = self.padded // 2 + 1
        # real and imaginary part of every kind, then the weight: one row per node, so that a node is one stretch of memory
        self.sums = torch.zeros((self.padded * self.padded * self.half, 2 * kinds + 1))
        cycles = fourier.frequencies_2d(box, 1.0 / box)
        self._inside = cycles.norm(dim=-1) < box / 2
        # a real image's column kx = 0 holds each term twice: once as itself, once as the conjugate
        self._inside &= ~((cycles[..., 0] == 0) & (cycles[..., 1] < 0))
        self._cycles = cycles[self._inside]

    def insert(self, spectra: list[Tensor], ctf: Tensor, matrices: Tensor) -> None:
        """Add images.

        Parameters
        ----------
        spectra
            One (b, N, N//2+1) complex tensor per kind: images, shifts undone, not multiplied by the CTF.
        ctf
            (b, N, N//2+1).
        matrices
            (b, 3, 3); r_image = A r_map.
        """
        transfer = ctf[:, self._inside]
        # k_map = A^T (kx, ky, 0), in nodes of the padded grid
        nodes = PADDING * torch.einsum("pd,bde->bpe", self._cycles, matrices[:, :2].float())
        flip = nodes[..., 0] < 0
        nodes = torch.where(flip[..., None], -nodes, nodes)
        columns = []
        for spectrum in spectra:
            values = spectrum[:, self._inside] * transfer
            columns += [values.real, torch.where(flip, -values.imag, values.imag)]
        columns.append(transfer**2)
        rows = torch.stack(columns, dim=-1).reshape(-1, len(columns))
        self._spread(nodes.reshape(-1, 3), rows)

    def _spread(self, nodes: Tensor, rows: Tensor) -> None:
        low = nodes.floor()
        share = nodes - low
        low = low.long()
        for corner in product((0, 1), repeat=3):
            weight = torch.ones(len(nodes))
            for axis, step in enumerate(corner):
                weight = weight * (share[:, axis] if step else 1 - share[:, axis])
            x = low[:, 0] + corner[0]
            y, z = ((low[:, axis] + corner[axis]) % self.padded for axis in (1, 2))
            self.sums.index_add_(0, (z * self.padded + y) * self.half + x, rows * weight[:, None])

    def volume(self, kind: int = 0, *, signal_to_noise: Tensor | None = None) -> Tensor:
        """Divide: the map of one kind, (N, N, N).

        Parameters
        ----------
        kind
            Which of the images.
        signal_to_noise
            (N//2+1,) of the finished map per shell, e.g. `merged_signal_to_noise`; None: no regularisation,
            only a floor of the weights.
        """
        numerator, weight = self._grid(kind)
        # shells in the units of the images, PADDING nodes wide
        shells = (fourier.shells_3d(self.padded).double() / PADDING).round().long()
        beyond = self.box // 2 + 1
        flat = shells.clamp_max(beyond).reshape(-1)
        total = torch.zeros(beyond + 1).index_add_(0, flat, weight.reshape(-1))
        mean = total / torch.bincount(flat, minlength=beyond + 1).clamp_min(1)
        if signal_to_noise is None:
            denominator = torch.maximum(weight, FLOOR * mean[shells.clamp_max(beyond)] + 1e-12)
        else:
            prior = mean / torch.cat([signal_to_noise, signal_to_noise.new_zeros(1)]).clamp_min(1e-4)
            denominator = weight + prior[shells.clamp_max(beyond)] + 1e-12
        spectrum = torch.where(shells <= self.box // 2, numerator / denominator, torch.zeros_like(numerator))
        start = self.padded // 2 - self.box // 2
        inner = slice(start, start + self.box)
        return fourier.irfft3(spectrum, self.padded)[inner, inner, inner] / self._gridding()

    def _grid(self, kind: int) -> tuple[Tensor, Tensor]:
        """Give the sums of one kind and the weights, the plane x = 0 completed by its conjugate: (2N, 2N, N+1) each."""
        shape = (self.padded, self.padded, self.half)
        numerator = torch.complex(self.sums[:, 2 * kind], self.sums[:, 2 * kind + 1]).reshape(shape)
        weight = self.sums[:, -1].clone().reshape(shape)
        mirror = (-torch.arange(self.padded)) % self.padded
        numerator[..., 0] += numerator[..., 0][mirror][:, mirror].conj()
        weight[..., 0] += weight[..., 0][mirror][:, mirror]
        return numerator, weight

    def _gridding(self) -> Tensor:
        """Shadow that linear interpolation between nodes throws on the map: (N, N, N)."""
        place = (torch.arange(self.box) - self.box // 2) / self.padded
        shadow = torch.sinc(place) ** 2
        return shadow[:, None, None] * shadow[None, :, None] * shadow[None, None, :]


def merged_signal_to_noise(half1: Tensor, half2: Tensor) -> Tensor:
    """Signal-to-noise ratio per shell (N//2+1,) of the mean of two half maps: 2 FSC / (1 - FSC); 0 from where the FSC is lost."""
    curve = fourier.fsc(half1, half2)
    lost = torch.nonzero(curve < 0.02)
    if len(lost):
        curve[int(lost[0]) :] = 0
    curve = curve.clamp(0, 0.999)
    return 2 * curve / (1 - curve)


def unshift(spectra: Tensor, origins_angstroms: Tensor, frequencies: Tensor) -> Tensor:
    """Move images by +origin, which undoes RELION's shift.

    Spectra (b, N, N//2+1), origins (b, 2) A, frequencies (N, N//2+1, 2).
    """
    angle = -2 * math.pi * torch.einsum("bd,yxd->byx", origins_angstroms, frequencies)
    return spectra * torch.polar(torch.ones_like(angle), angle)
