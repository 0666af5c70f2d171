"""ParticleTable -> images, from many memory-mapped stacks: on one grid and one grey scale, odd aberrations taken out."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from jobtypes.common.aberrations import beam_tilt_phases, odd_zernike_phases
from jobtypes.common.conventions import HALVES
from jobtypes.common.ctf import wavelength_angstroms
from jobtypes.common.fourier import frequencies_2d, irfft2, rfft2
from jobtypes.common.grey_scale import HalfScale, half_scale, noise_levels, norm_factors
from jobtypes.common.image_stacks import OpenStacks, read_stack_layout
from jobtypes.common.particles import ParticleTable
from jobtypes.common.resampling import Resampling
from relion_jobs.contract.errors import UserError

_READERS = 2  # batches that are read ahead
_WITNESSES = 8  # stacks whose headers are asked for the pixel size


class ParticleImages:
    """The images of a particle table.

    Everything behind `read` sees image = ctf * projection, on the grid of the table and on one grey scale. Images are multiplied
    for their rlnNormCorrection, and divided by their noise where they are on different scales still (`grey_scale`). Those of
    optics groups with another grid, or an anisotropic magnification, are brought to that of the table (`resampling`). Beam tilt
    and odd Zernikes shift phases of the image, which are turned back. Threads and processes may share it.

    Parameters
    ----------
    table
        P particles. Images are numbered as the rows of its `per_image`, which for single particles is the table itself.
    project
        Directory that stack paths are relative to; the working directory does not matter.

    Attributes
    ----------
    table, project
        As given, the directory in full.
    """

    def __init__(self, table: ParticleTable, project: Path | str) -> None:
        self.table, self._each = table, table.per_image
        self.project = Path(project).resolve()
        self._paths = tuple(self.project / name for name in table.stack_places)
        self._stacks = OpenStacks(self._paths, table.stack_paths)
        self._norm_factors = norm_factors(self._each)
        self._resamplings = {int(group): _resampling(table, int(group)) for group in table.used_groups}
        self._correction = _odd_corrections(table)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._each)

    def with_table(self, table: ParticleTable) -> ParticleImages:
        """Return the same images, with all that is known of them, of a table that differs in what belongs to the CTF only."""
        same = copy.copy(self)
        same.table, same._each = table, table.per_image
        return same

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
        table, n_groups = self._each, len(self.table.optics.numbers)
        kind = table.stack_of * n_groups + table.optics_group
        order = np.lexsort((table.slice_of, kind))
        for row in order[np.flatnonzero(np.diff(kind[order], append=-1))]:
            self._verify_stack(int(row), map_box)

    def _verify_stack(self, last: int, map_box: int | None) -> None:
        """Look at the stack of row `last`, which no other row of its optics group needs more images of."""
        stack, group = int(self._each.stack_of[last]), int(self._each.optics_group[last])
        name, box = self.table.stack_paths[stack], int(self.table.optics.boxes[group])
        slices, rows, columns = read_stack_layout(self._paths[stack], name).shape
        if (rows, columns) != (box, box):
            found = f"The image stack {name} has images of {columns} x {rows} pixels, but {self.table.path} says {box} "
            raise UserError(f"{found}(rlnImageSize of data_optics); {self._remedy_for_box((rows, columns), group, map_box)}.")
        frames = int(self._each.slice_of[last]) + 1
        if self.table.tilts is not None and frames != slices:
            raise UserError(
                f"{self._where(last)} is seen in {frames} frames (_rlnTomoVisibleFrames of data_particles), but {name} "
                f"has {slices} images; give the STAR file that was written when it was extracted, or a later one."
            )
        if self._each.slice_of[last] >= slices:
            raise UserError(
                f"{self._where(last)} is image {self._each.slice_of[last] + 1} of {name}, which has {slices}; "
                f"expected a number up to {slices} (_rlnImageName of data_particles)."
            )

    def _remedy_for_box(self, found: tuple[int, int], group: int, map_box: int | None) -> str:
        """What to do where a stack has images of `found` rows and columns, and the STAR file says something else."""
        box = int(self.table.optics.boxes[group])
        if map_box is None or found != (map_box, map_box):
            of_map = ", as the map has" if map_box == box else ""
            return f"extract the particles with {box} pixels{of_map}, or give the STAR file that belongs to these stacks"
        pixel_size_angstroms = self.table.optics.pixel_sizes_angstroms[group] * box / map_box
        return (
            f"the map has {map_box} too, so the STAR file is older than the binning: give the one that belongs to these stacks, "
            f"or set _rlnImageSize to {map_box} and _rlnImagePixelSize to {pixel_size_angstroms:.6g} in data_optics"
        )

    def pixel_size_in_headers(self) -> float | None:
        """Pixel size (A) that headers of first stacks of optics groups with that of the table agree on; None: they do not."""
        of_table = self.table.optics.pixel_sizes_angstroms == self.table.pixel_size_angstroms
        few = np.unique(self.table.stack_of[of_table[self.table.optics_group]])[:_WITNESSES]
        sizes = {read_stack_layout(self._paths[k], self.table.stack_paths[k]).pixel_size_angstroms for k in few}
        return sizes.pop() if len(sizes) == 1 else None

    def read(self, rows: ArrayLike) -> Tensor:
        """Read images.

        Parameters
        ----------
        rows : (b,) rows of `per_image` of the table

        Returns
        -------
        (b, N, N) float32, indexed [y, x]

        Raises
        ------
        UserError
            A stack cannot be read, or an image is constant or holds a value that is not a number; the sentence names the
            particle.
        """
        rows = np.atleast_1d(np.asarray(rows))
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64, copy=False)
        group = self._each.optics_group[rows]
        read = torch.empty(len(rows), self.table.box, self.table.box)
        for number in np.unique(group).tolist():
            places = np.flatnonzero(group == number)
            images, resample = self._of_one_scale(rows[places]), self._resamplings[number]
            read[places] = images if resample is None else resample(images)
        if self._correction is not None:
            read = irfft2(rfft2(read) * self._correction[torch.from_numpy(group)], self.table.box)
        return read

    def stream(self, rows: NDArray[np.int64], batch_size: int) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Read many images in the order in which they lie on disk, the next batches in threads while one is worked on.

        So each stack is opened once, however the rows are mixed: an open and a jump in a file take longer than an image. A batch
        whose file is slow to come is passed by the following ones.

        Parameters
        ----------
        rows : (p,) rows of `per_image` of the table
        batch_size
            Images to yield at a time, at most.

        Yields
        ------
        (b,), (b, N, N)
            Places among the rows, and their images.

        Raises
        ------
        UserError
            As `read`.
        """
        order = np.lexsort((self._each.slice_of[rows], self._each.stack_of[rows]))
        waiting = iter(np.split(order, range(batch_size, len(order), batch_size)))
        with ThreadPoolExecutor(_READERS, thread_name_prefix="images") as readers:
            reading = {readers.submit(self.read, rows[places]): places for places in islice(waiting, _READERS)}
            while reading:
                read = next(as_completed(reading))
                places = reading.pop(read)
                reading |= {readers.submit(self.read, rows[following]): following for following in islice(waiting, 1)}
                yield places, read.result()

    def sentences(self) -> list[str]:
        """What is done to images so that they are of one scale and on one grid; looks at a sample of them.

        Raises
        ------
        UserError
            As `read`.
        """
        table, optics = self.table, self.table.optics
        said = [scale.sentence(half) for half, scale in self._scales.items() if scale.is_odd]
        if self._norm_factors is not None:
            low, high = self._norm_factors.min(), self._norm_factors.max()
            said.insert(0, f"Grey scale: images are multiplied by {low:.2g} to {high:.2g}, as their rlnNormCorrection says.")
        for group in (group for group, resampling in self._resamplings.items() if resampling is not None):
            magnified = "" if np.array_equal(optics.magnification[group], np.eye(2)) else ", with an anisotropic magnification,"
            said.append(
                f"Optics group {optics.names[group]} ({optics.boxes[group]} px of {optics.pixel_sizes_angstroms[group]:.6g} A)"
                f"{magnified} is brought to the grid of all, {table.box} px of {table.pixel_size_angstroms:.6g} A."
            )
        return said

    @cached_property
    def _scales(self) -> dict[int, HalfScale]:
        """The grey scale of each half set; a few hundred images are looked at, and of each half set for itself.

        That of tilt stacks is that of the tilt images, which all have; outside of a circle they are zero.
        """
        if self.table.tilts is not None:
            return dict.fromkeys(HALVES, HalfScale(1.0, 1.0, 1.0, is_odd=False))
        return {half: half_scale(self.table, half, self._normed) for half in HALVES}

    def _of_one_scale(self, rows: NDArray[np.int64]) -> Tensor:
        """Images (b, n, n) of rows (b,) that are all of one optics group, on its own grid."""
        images = self._normed(rows)
        scales = [self._scales[int(half)] for half in self._each.half[rows]]
        if not any(scale.is_odd for scale in scales):
            return images
        levels = noise_levels(images) * float(self.table.optics.pixel_sizes_angstroms[self._each.optics_group[rows[0]]])
        factors = [scale.median / level if scale.is_odd else 1.0 for scale, level in zip(scales, levels.tolist(), strict=True)]
        return images * torch.tensor(factors)[:, None, None]

    def _normed(self, rows: NDArray[np.int64]) -> Tensor:
        """Images of rows of one optics group, multiplied for their rlnNormCorrection."""
        box = int(self.table.optics.boxes[self._each.optics_group[rows[0]]])
        images = np.empty((len(rows), box, box), dtype=np.float32)
        for place in np.lexsort((self._each.slice_of[rows], self._each.stack_of[rows])):  # in the order on disk
            images[place] = self._stored(int(rows[place]), box)
        self._refuse_damaged(images, rows)
        if self._norm_factors is not None:
            images *= self._norm_factors[rows, None, None].astype(np.float32)
        return torch.from_numpy(images)

    def _stored(self, row: int, box: int) -> NDArray[Any]:
        stack, image = self._each.stack_of[row], self._each.slice_of[row]
        images = self._stacks.images(int(stack))
        if image >= len(images) or images.shape[1:] != (box, box):
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
                f"{self._where(row)}, image {self._each.image_name(row)}, {what}; remove this particle from the STAR file "
                f"or extract it again."
            )

    def _where(self, row: int) -> str:
        """Say which particle this is."""
        return f"{self.table.path}: the particle in {self.table.source['particles'].where(int(self._each.rows[row]))}"


def _resampling(table: ParticleTable, group: int) -> Resampling | None:
    """What brings images of an optics group to the grid of the table; None where they are on it."""
    optics = table.optics
    if optics.has_grid(group, table.box, table.pixel_size_angstroms):
        return None
    return Resampling(
        *optics.grid(group),
        to_box=table.box,
        to_pixel_size_angstroms=table.pixel_size_angstroms,
        magnification=optics.magnification[group],
    )


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
