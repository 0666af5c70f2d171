"""What else an image shows: another molecule, a neighbour at the edge, a bright speck."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common import fourier
from jobtypes.simulate.geometry import Array, Poses
from jobtypes.simulate.molecule import Molecule
from jobtypes.simulate.nuisances import NEIGHBOUR, OTHER, SPECK, Plan
from jobtypes.simulate.optics import Optics, ctf
from jobtypes.simulate.reconstruct import unshift
from jobtypes.simulate.render import AtomRenderer

Rows = NDArray[np.int64]

OTHER_MASS_SHARE = 0.7  # of our core
SPECK_SIGMA_ANGSTROMS = 8.0


class Strangers:
    """Draws them.

    Parameters
    ----------
    plan
        Which particles show what.
    poses, optics
        Those that the images are made with.
    ours
        Draws our molecule; neighbours have its amplitude at the time they are drawn.
    ours_positions
        (n, 3) A, our molecule halfway.
    other
        The other molecule.

    Notes
    -----
    A neighbour reaches beyond the edge, and a picture made of waves would let that come in again on the other side: neighbours
    are drawn in a box of twice the size, CTF and all, and cut out of it.
    """

    def __init__(
        self, plan: Plan, poses: Poses, optics: Optics, *, ours: AtomRenderer, ours_positions: Tensor, other: Molecule
    ) -> None:
        self.plan, self.poses, self.optics = plan, poses, optics
        self.ours, self.ours_positions = ours, ours_positions
        self.other = AtomRenderer(ours.box, ours.pixel_size_angstroms, other.elements)
        self.other_positions = torch.from_numpy(other.positions).float()
        self.wide = AtomRenderer(2 * ours.box, ours.pixel_size_angstroms, ours.elements)

    def images(self, rows: slice) -> Tensor:
        """Give (b, N, N) of what else the particles `rows` show, no noise; zero where there is nothing."""
        total = torch.zeros((rows.stop - rows.start, self.ours.box, self.ours.box))
        for kind, draw in ((OTHER, self.others), (NEIGHBOUR, self.neighbours), (SPECK, self.specks)):
            here = np.flatnonzero(self.plan.kind[rows] == kind)
            if len(here):
                total[torch.from_numpy(here)] = draw(here + rows.start)
        return total

    def others(self, rows: Rows) -> Tensor:
        """Images (b, N, N) of the other molecule at the true poses and CTFs of particles `rows`."""
        matrices, origins = self.poses.matrices[rows], self.poses.origins_angstroms[rows]
        return self._drawn(self.other, self.other_positions, rows, matrices=matrices, moved=-origins)

    def neighbours(self, rows: Rows) -> Tensor:
        """Images (b, N, N) of what comes in over the edge."""
        self.wide.amplitude = self.ours.amplitude
        edge = self.ours.box * self.ours.pixel_size_angstroms
        away = edge * self.plan.neighbour_boxes[rows]
        wide = self._drawn(self.wide, self.ours_positions, rows, matrices=self.plan.stray[rows], moved=away)
        start = self.wide.box // 2 - self.ours.box // 2
        inner = slice(start, start + self.ours.box)
        return wide[:, inner, inner]

    def specks(self, rows: Rows) -> Tensor:
        """Images (b, N, N) of bright specks."""
        pixels = torch.arange(self.ours.box) - self.ours.box // 2
        centres = torch.from_numpy(self.plan.speck_boxes[rows]).float() * self.ours.box
        x, y = (torch.exp(-(((pixels - centres[:, axis, None]) * self._speck_pixel) ** 2) / 2) for axis in (0, 1))
        return torch.from_numpy(self.plan.speck_peak[rows]).float()[:, None, None] * y[:, :, None] * x[:, None, :]

    @property
    def _speck_pixel(self) -> float:
        """A pixel in standard deviations of a speck."""
        return self.ours.pixel_size_angstroms / SPECK_SIGMA_ANGSTROMS

    def _drawn(self, renderer: AtomRenderer, positions: Tensor, rows: Rows, *, matrices: Array, moved: Array) -> Tensor:
        """Images of atoms (n, 3) at orientations (b, 3, 3), moved by (b, 2) A, with the CTFs of particles `rows` (b,)."""
        box, pixel_size = renderer.box, renderer.pixel_size_angstroms
        turned = positions @ torch.from_numpy(matrices).float()[:, :2].transpose(1, 2)
        spectra = renderer.spectra(turned) * ctf(self.optics, rows, box, pixel_size)
        shift = torch.from_numpy(moved).float()
        return fourier.irfft2(unshift(spectra, shift, fourier.frequencies_2d(box, pixel_size)), box)
