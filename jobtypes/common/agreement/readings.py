"""One way to take the inputs, and what it predicts for each image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common.agreement.samples import Sample, Terms
from jobtypes.common.ctf import CtfParameters, ctf
from jobtypes.common.fourier import crop_spectrum_3d, irfft3, rfft3
from jobtypes.common.padded_grid import PADDING, padded_spectrum, read_at
from jobtypes.common.rotations import euler_matrices

CHUNK = 64


@dataclass(frozen=True)
class Reading:
    """How particles and map are taken; n particles.

    Attributes
    ----------
    rows : (n,)
        Rows of the particle table that the images are taken to be.
    angles_degrees : (n, 3); origins_angstroms : (n, 2)
        Poses.
    ctf
        CTF parameters.
    transfer
        What the CTF has left in the images, from the CTF of raw images.
    contrast
        1, or -1 where images and map are of opposite contrast.
    image_axes : (2, 2)
        The axes of an image, as an orthogonal matrix from what it is to what it is taken for.
    map_axes : (3, 3)
        The same of the map.
    map_scale
        Size of the molecule in the map over that in the images.
    map_shift_angstroms : (3,)
        Where the molecule of the map would have to be moved.
    centre_at_corner
        Whether the centre of the map is its first voxel.
    """

    rows: NDArray[np.int64]
    angles_degrees: Tensor
    origins_angstroms: Tensor
    ctf: CtfParameters
    transfer: Callable[[Tensor], Tensor] | None = None
    contrast: float = 1.0
    image_axes: Tensor = field(default_factory=partial(torch.eye, 2))
    map_axes: Tensor = field(default_factory=partial(torch.eye, 3))
    map_scale: float = 1.0
    map_shift_angstroms: Tensor = field(default_factory=partial(torch.zeros, 3))
    centre_at_corner: bool = False

    @classmethod
    def of_rows(cls, sample: Sample, rows: NDArray[np.int64]) -> Reading:
        """Take the images for those of some rows of the table, all else as it is written there."""
        table = sample.table
        return cls(
            rows,
            torch.from_numpy(table.angles_degrees[rows]),
            torch.from_numpy(table.origins_angstroms[rows]),
            table.ctf_parameters(rows),
        )

    def first(self, count: int) -> Reading:
        """Keep the first particles."""
        kept = slice(count)
        return replace(
            self,
            rows=self.rows[kept],
            angles_degrees=self.angles_degrees[kept],
            origins_angstroms=self.origins_angstroms[kept],
            ctf=self.ctf.select(kept),
        )


class MapSlices:
    """A map, ready to be read at the terms of projections.

    Parameters
    ----------
    volume : (N, N, N)
        Of the images' box.
    terms
        The terms; what lies beyond them is not kept.
    """

    def __init__(self, volume: Tensor, terms: Terms) -> None:
        self.terms = terms
        box = volume.shape[-1]
        small = min(box, 2 * terms.n_shells + 2)
        low = irfft3(crop_spectrum_3d(rfft3(volume), small), small) if small < box else volume
        self._low, self._size = low, PADDING * small

    @cached_property
    def _centred(self) -> Tensor:
        return padded_spectrum(self._low)

    @cached_property
    def _cornered(self) -> Tensor:
        """Of the map whose first voxel is the centre."""
        half = self._low.shape[-1] // 2
        return padded_spectrum(self._low.roll((half,) * 3, (0, 1, 2)))

    def harmonics(self, reading: Reading, part: slice) -> Tensor:
        """Where the terms of some particles lie in the map, as it is taken: (b, q, 3)."""
        plane = self.terms.harmonics @ reading.image_axes.T  # (q, 2)
        from_view = reading.map_axes @ euler_matrices(reading.angles_degrees[part]).float().mT[:, :, :2]  # (b, 3, 2)
        harmonics: Tensor = plane @ from_view.mT
        return harmonics

    def _read(self, reading: Reading, harmonics: Tensor) -> Tensor:
        """Terms (b, q) of the map at harmonics (b, q, 3); 0 beyond what is kept."""
        places = harmonics.reshape(-1, 3) * (PADDING / reading.map_scale)
        inside = places.norm(dim=1) < self._size / 2 - 1
        spectrum = self._cornered if reading.centre_at_corner else self._centred
        values: Tensor = read_at(spectrum, places * inside[:, None], self._size) * inside
        return values.view(len(harmonics), -1)

    def predict(self, reading: Reading, sample: Sample, part: slice) -> Tensor:
        """Terms (b, q) that a reading predicts for some particles, whitened as those of the images."""
        terms = self.terms
        plane = terms.harmonics @ reading.image_axes.T  # (q, 2)
        in_map = self.harmonics(reading, part)
        values = self._read(reading, in_map)
        origins = reading.origins_angstroms[part].float()
        # the projection is moved by -origin
        turns = (origins @ plane.T - in_map @ reading.map_shift_angstroms) / terms.box_length_angstroms
        values = values * torch.polar(torch.full_like(turns, reading.contrast), 2 * math.pi * turns)
        deviation = sample.deviation[sample.group[part]][:, terms.shells]
        predicted: Tensor = values * self._transfer(reading, plane, part) / deviation
        return predicted

    def _transfer(self, reading: Reading, plane: Tensor, part: slice) -> Tensor:
        parameters = reading.ctf.select(part)
        if reading.transfer is not None:
            parameters = replace(parameters, premultiplied=None, phase_flipped=None)
        values = ctf(parameters, plane / self.terms.box_length_angstroms)
        return values if reading.transfer is None else reading.transfer(values)


def chunks(sample: Sample) -> list[slice]:
    """Particles, a few at a time."""
    return [slice(start, start + CHUNK) for start in range(0, len(sample), CHUNK)]
