"""ParticleTable -> images, from many memory-mapped stacks, with odd aberrations taken out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from jobtypes.common.aberrations import beam_tilt_phases, odd_zernike_phases
from jobtypes.common.ctf import wavelength_angstroms
from jobtypes.common.fourier import frequencies_2d, irfft2, rfft2
from jobtypes.common.image_stacks import OpenStacks, read_stack_layout
from jobtypes.common.particles import ParticleTable
from relion_jobs.contract.errors import UserError

_WITNESSES = 8  # stacks whose headers are asked for the pixel size


class ParticleImages:
    """The images of a particle table.

    Beam tilt and odd Zernikes of the optics groups shift phases of the image; `read` turns them back, which changes neither
    the noise nor any amplitude, so that everything behind it sees image = ctf * projection. Threads and processes may share it.

    Parameters
    ----------
    table
        P particles.
    project
        Directory that stack paths are relative to; the working directory does not matter.

    Attributes
    ----------
    table, project
        As given, the directory in full.
    """

    def __init__(self, table: ParticleTable, project: Path | str) -> None:
        self.table = table
        self.project = Path(project).resolve()
        self._paths = tuple(self.project / name for name in table.stack_places)
        self._stacks = OpenStacks(self._paths, table.stack_paths)
        self._correction = _odd_corrections(table)

    def __len__(self) -> int:
        """Return P."""
        return len(self.table)

    def verify(self, map_box: int | None = None) -> None:
        """Look at every stack that is used, without reading images.

        Parameters
        ----------
        map_box
            Box of the map that goes with the particles, which tells what is wrong where stacks and STAR file differ.

        Raises
        ------
        UserError
            A stack is missing, truncated, of another box than the STAR file says, or has fewer images than a particle needs.
        """
        last = np.full(len(self._paths), -1, dtype=np.int64)
        np.maximum.at(last, self.table.stack_of, self.table.slice_of)
        box = self.table.box
        for stack in np.flatnonzero(last >= 0):
            name = self.table.stack_paths[stack]
            slices, rows, columns = read_stack_layout(self._paths[stack], name).shape
            if (rows, columns) != (box, box):
                found = f"The image stack {name} has images of {columns} x {rows} pixels, but {self.table.path} says {box} "
                raise UserError(f"{found}(rlnImageSize of data_optics); {self._remedy_for_box((rows, columns), map_box)}.")
            if last[stack] >= slices:
                row = int(np.flatnonzero((self.table.stack_of == stack) & (self.table.slice_of == last[stack]))[0])
                raise UserError(
                    f"{self._where(row)} is image {last[stack] + 1} of {name}, which has {slices}; "
                    f"expected a number up to {slices} (_rlnImageName of data_particles)."
                )

    def _remedy_for_box(self, found: tuple[int, int], map_box: int | None) -> str:
        """What to do where a stack has images of `found` rows and columns, and the STAR file says something else."""
        box = self.table.box
        if map_box is None or found != (map_box, map_box):
            of_map = ", as the map has" if map_box == box else ""
            return f"extract the particles with {box} pixels{of_map}, or give the STAR file that belongs to these stacks"
        pixel_size_angstroms = self.table.pixel_size_angstroms * box / map_box
        return (
            f"the map has {map_box} too, so the STAR file is older than the binning: give the one that belongs to these stacks, "
            f"or set _rlnImageSize to {map_box} and _rlnImagePixelSize to {pixel_size_angstroms:.6g} in data_optics"
        )

    def pixel_size_in_headers(self) -> float | None:
        """Pixel size (A) that the headers of the first stacks in use agree on; None where they do not, or say nothing."""
        few = np.unique(self.table.stack_of)[:_WITNESSES]
        sizes = {read_stack_layout(self._paths[k], self.table.stack_paths[k]).pixel_size_angstroms for k in few}
        return sizes.pop() if len(sizes) == 1 else None

    def read(self, rows: ArrayLike) -> Tensor:
        """Read images.

        Parameters
        ----------
        rows : (b,) rows of the table

        Returns
        -------
        (b, N, N) float32, indexed [y, x], as stored but for odd aberrations

        Raises
        ------
        UserError
            A stack cannot be read, or an image is constant or holds a value that is not a number; the sentence names the
            particle.
        """
        rows = np.atleast_1d(np.asarray(rows))
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64, copy=False)
        images = np.empty((len(rows), self.table.box, self.table.box), dtype=np.float32)
        for place in np.lexsort((self.table.slice_of[rows], self.table.stack_of[rows])):  # in the order on disk
            images[place] = self._stored(int(rows[place]))
        self._refuse_damaged(images, rows)
        read = torch.from_numpy(images)
        if self._correction is not None:
            group = torch.from_numpy(self.table.optics_group[rows])
            read = irfft2(rfft2(read) * self._correction[group], self.table.box)
        return read

    def _stored(self, row: int) -> NDArray[Any]:
        stack, image = self.table.stack_of[row], self.table.slice_of[row]
        images = self._stacks.images(int(stack))
        if image >= len(images) or images.shape[1:] != (self.table.box, self.table.box):
            self.verify()  # says which stack and what is wrong
        stored: NDArray[Any] = images[image]
        return stored

    def _refuse_damaged(self, images: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        low, high = images.min(axis=(1, 2)), images.max(axis=(1, 2))  # NaN if any pixel is
        finite = np.isfinite(low) & np.isfinite(high)
        bad = np.flatnonzero(~finite | (low == high))
        if len(bad):
            what = f"is constant (every pixel {low[bad[0]]:g})" if finite[bad[0]] else "holds a value that is not a number"
            row = int(rows[bad[0]])
            raise UserError(
                f"{self._where(row)}, image {self.table.image_name(row)}, {what}; remove this particle from the STAR file "
                f"or extract it again."
            )

    def _where(self, row: int) -> str:
        """Say which particle this is."""
        return f"{self.table.path}: the particle in {self.table.source['particles'].where(int(self.table.rows[row]))}"


def _odd_corrections(table: ParticleTable) -> Tensor | None:
    """Return factors (g, N, N // 2 + 1) that take beam tilt and odd Zernikes out of spectra, or None where there are none."""
    optics = table.optics
    if not optics.has_odd_aberrations:
        return None
    frequencies = frequencies_2d(table.box, table.pixel_size_angstroms, dtype=torch.float64)
    phases = beam_tilt_phases(
        torch.from_numpy(optics.beam_tilt_milliradians),
        wavelength_angstroms=wavelength_angstroms(torch.from_numpy(optics.voltage_kilovolts)),
        spherical_aberration_millimetres=torch.from_numpy(optics.spherical_aberration_millimetres),
        frequencies=frequencies,
    )
    if optics.odd_zernikes.shape[1]:
        phases = phases + odd_zernike_phases(torch.from_numpy(optics.odd_zernikes), frequencies)
    return torch.polar(torch.ones_like(phases), -phases).to(torch.complex64)
