"""Particles of a RELION refinement: a STAR file of RELION 3.1 to 5, checked, as arrays.

A particle has one image or, where it was cut out of tilt series, a stack of them (`ParticleTable.tilts`).

`read_particles` -> ParticleTable; `held_out` draws particles that nothing is trained on; `write_particles` writes rows back as
RELION wrote them, with new columns. What the columns mean is checked in `particle_checks`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from jobtypes.common import particle_checks
from jobtypes.common.conventions import EULER_ANGLE_COLUMNS, HALVES, ORIGIN_COLUMNS
from jobtypes.common.ctf import DOSE, CtfParameters
from jobtypes.common.devices import copied_to
from jobtypes.common.image_stacks import read_stack_layout
from jobtypes.common.moved_stacks import moved
from jobtypes.common.optics_groups import IMAGE_SIZE, OpticsGroups, read_optics
from jobtypes.common.repeats import find_repeats
from jobtypes.common.star_tables import StarTable, split_row
from jobtypes.common.tilt_stacks import ORIGIN_COLUMNS as TILT_ORIGIN_COLUMNS
from jobtypes.common.tilt_stacks import (
    PARTICLES_FILE,
    TOMOGRAMS_FILE,
    TiltImages,
    find_files,
    optimisation_set_beside,
    read_tilt_particles,
)
from jobtypes.common.whole_files import written_whole
from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.one_name import identities

HALF = "rlnRandomSubset"
_CTF_DEFAULTS = {"rlnPhaseShift": 0.0, "rlnCtfBfactor": 0.0, "rlnCtfScalefactor": 1.0}
_CTF_COLUMNS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", *_CTF_DEFAULTS)


@dataclass(frozen=True)
class ParticleTable:
    """Particles in the order of their STAR file, or a selection of them.

    Attributes
    ----------
    path
        The STAR file that has the particles.
    rows : (n,) int64
        0-based row of each particle in that file.
    stack_paths
        Image stacks as the file names them, relative to the project directory.
    stack_places
        Where they lie now, relative to the project directory.
    stack_files
        Which file each of them is, as of `one_name.identities`: two names of one file are equal here.
    stack_of, slice_of : (n,) int64
        Which stack, and which 0-based image of it, or the first.
    angles_degrees : (n, 3) float64
        rot, tilt, psi; to the tomogram where there are tilts.
    origins_angstroms : (n, 2) float64
        RELION's origin x, y, of images without anisotropic magnification; the projection is moved by its negative. Where there
        are tilts (n, 3), in the axes of the tomogram.
    norm_correction : (n,) float64
        rlnNormCorrection; 1 where there is none.
    ctf_columns : dict of (n,) float64
        The CTF columns of the particles by RELION's name; empty where those of their tilts say it.
    optics_group : (n,) int64
        Index into `optics`, from 0.
    optics
        Columns of the optics groups.
    half : (n,) int64
        1 or 2.
    half_is_given
        False where the file has no rlnRandomSubset and the halves were drawn.
    copy_of : (n,) int64
        The same number for all copies of one image (symmetry expansion), however its stack is named.
    is_repeat : (n,) bool
        True for a particle that stands further up already, with the same image in the same pose; it counts for nothing.
    box, pixel_size_angstroms
        Of the first optics group that has particles, on whose grid the images of all are read (`ParticleImages`).
    source
        The tables of the file as text, for `write_particles`.
    tilts
        The images of particles that have several; None: each has one, itself.
    """

    path: Path
    rows: NDArray[np.int64]
    stack_paths: tuple[str, ...]
    stack_places: tuple[str, ...]
    stack_files: tuple[str, ...]
    stack_of: NDArray[np.int64]
    slice_of: NDArray[np.int64]
    angles_degrees: NDArray[np.float64]
    origins_angstroms: NDArray[np.float64]
    norm_correction: NDArray[np.float64]
    ctf_columns: dict[str, NDArray[np.float64]]
    optics_group: NDArray[np.int64]
    optics: OpticsGroups
    half: NDArray[np.int64]
    half_is_given: bool
    copy_of: NDArray[np.int64]
    is_repeat: NDArray[np.bool_]
    box: int
    pixel_size_angstroms: float
    source: dict[str, StarTable]
    tilts: TiltImages | None = None

    def __len__(self) -> int:
        """Return n."""
        return len(self.rows)

    @property
    def n_images(self) -> int:
        """Return the number of images, n where each particle has one."""
        return len(self) if self.tilts is None else len(self.tilts)

    @property
    def most_images(self) -> int:
        """Return the number of images of the particle that has most."""
        return 1 if self.tilts is None else int(np.bincount(self.tilts.particle).max())

    @cached_property
    def per_image(self) -> ParticleTable:
        """The table of all images, as single particles: one row for each, in the order of the particles; itself without tilts."""
        if self.tilts is None:
            return self
        each = self.tilts.particle
        angles_degrees, origins_angstroms = self.tilts.poses(self.angles_degrees, self.origins_angstroms)
        of_images = replace(self, tilts=None, ctf_columns={}).select(each)
        return replace(
            of_images,
            slice_of=self.tilts.slice_of,
            angles_degrees=angles_degrees,
            origins_angstroms=origins_angstroms,
            ctf_columns=self.tilts.ctf_columns,
        )

    def images_of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows (m,) of `per_image` of particles at `rows` (p,), and which of these each shows, (m,) from 0."""
        return (rows, np.arange(len(rows))) if self.tilts is None else self.tilts.images_of(rows)

    def image_name(self, row: int) -> str:
        """Return rlnImageName of row `row` of this table: "000003@Extract/job002/particles.mrcs", or the stack of its tilts."""
        stack = self.stack_paths[int(self.stack_of[row])]
        if self.tilts is not None:
            return stack
        return f"{self.slice_of[row] + 1:06d}@{stack}"

    def select(self, rows: ArrayLike) -> ParticleTable:
        """Keep some particles: an index or a mask over the n rows. Halves, copies and stacks keep their numbers."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        return replace(
            self,
            tilts=None if self.tilts is None else self.tilts.select(rows),
            rows=self.rows[rows],
            stack_of=self.stack_of[rows],
            slice_of=self.slice_of[rows],
            angles_degrees=self.angles_degrees[rows],
            origins_angstroms=self.origins_angstroms[rows],
            norm_correction=self.norm_correction[rows],
            ctf_columns={name: values[rows] for name, values in self.ctf_columns.items()},
            optics_group=self.optics_group[rows],
            half=self.half[rows],
            copy_of=self.copy_of[rows],
            is_repeat=self.is_repeat[rows],
        )

    @property
    def used_groups(self) -> NDArray[np.int64]:
        """Return the (u,) indices of the optics groups that have particles, ascending."""
        return np.unique(self.optics_group)

    @property
    def smallest_box_angstroms(self) -> float:
        """Return the shortest box length of the optics groups that have particles."""
        return float(self.optics.box_lengths_angstroms[self.used_groups].min())

    @property
    def coarsest_pixel_angstroms(self) -> float:
        """Return half the resolution that the images of every optics group have."""
        if all(self.optics.has_grid(group, self.box, self.pixel_size_angstroms) for group in self.used_groups):
            return self.pixel_size_angstroms
        return max(0.5 / self.optics.highest_frequency(group) for group in self.used_groups)

    def stored_origins(self, rows: NDArray[np.int64], origins_angstroms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return origins (m, 2) of images as they are stored, of those of `rows` (m,) without anisotropic magnification."""
        magnification = self.optics.magnification[self.optics_group[rows]]
        origins: NDArray[np.float64] = np.einsum("nij,ni->nj", magnification, origins_angstroms)
        return origins

    def rows_of_half(self, half: int) -> NDArray[np.int64]:
        """Return the (n_h,) rows of this table that count for half `half`."""
        return np.flatnonzero((self.half == half) & ~self.is_repeat)

    def sentences_of_copies(self) -> list[str]:
        """Say which images stand in several rows, and what comes of it."""
        copies = len(self) - int(self.is_repeat.sum()) - len(np.unique(self.copy_of))
        sentences = []
        if self.is_repeat.any():
            again = int(np.flatnonzero(self.is_repeat)[0])
            first = int(np.flatnonzero(self.copy_of == self.copy_of[again])[0])
            where = [self.source["particles"].where(int(self.rows[row])) for row in (first, again)]
            sentences.append(
                f"{self.path} holds {int(self.is_repeat.sum())} particle(s) a second time, with the same image in the same pose "
                f"(as {where[0]} and {where[1]}); each counts once."
            )
        if copies:
            sentences.append(
                f"{copies} particle(s) are further views of images that other rows show (symmetry expansion); all views of an "
                "image are in one half set, and on one side of training and held out."
            )
        return sentences

    @property
    def n_bytes(self) -> int:
        """Memory that the table takes, with its text."""
        tables = (self,) if self.tilts is None else (self, self.per_image)
        columns = [values for table in tables for values in vars(table).values() if isinstance(values, np.ndarray)]
        rows = [each for table in self.source.values() for each in (table.starts, table.ends)]
        text = {id(table.content): len(table.content) for table in self.source.values()}  # of one file
        of_ctf = self.per_image.ctf_columns.values()
        return sum(values.nbytes for values in (*columns, *rows, *of_ctf)) + sum(text.values())

    def with_phase_flipped(self, phase_flipped: NDArray[np.bool_]) -> ParticleTable:
        """Take other optics groups for phase-flipped than the file says: (g,)."""
        return replace(self, optics=replace(self.optics, phase_flipped=phase_flipped))

    def ctf_parameters(
        self,
        rows: ArrayLike | slice = slice(None),
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> CtfParameters:
        """Return the CTF of some rows of this table, b of them, as tensors."""
        rows = rows if isinstance(rows, slice) else np.asarray(rows)
        group = self.optics_group[rows]

        def on_device(made: torch.Tensor) -> torch.Tensor:
            return made if device is None else copied_to(made, torch.device(device))

        def tensor(values: NDArray[np.float64]) -> torch.Tensor:
            return on_device(torch.tensor(values, dtype=dtype))

        return CtfParameters(
            voltage_kilovolts=tensor(self.optics.voltage_kilovolts[group]),
            spherical_aberration_millimetres=tensor(self.optics.spherical_aberration_millimetres[group]),
            amplitude_contrast=tensor(self.optics.amplitude_contrast[group]),
            defocus_u_angstroms=tensor(self.ctf_columns["rlnDefocusU"][rows]),
            defocus_v_angstroms=tensor(self.ctf_columns["rlnDefocusV"][rows]),
            defocus_angle_degrees=tensor(self.ctf_columns["rlnDefocusAngle"][rows]),
            phase_shift_degrees=tensor(self.ctf_columns["rlnPhaseShift"][rows]),
            bfactor=tensor(self.ctf_columns["rlnCtfBfactor"][rows]),
            scale_factor=tensor(self.ctf_columns["rlnCtfScalefactor"][rows]),
            even_zernikes=tensor(self.optics.even_zernikes[group]) if self.optics.even_zernikes.any() else None,
            premultiplied=on_device(torch.tensor(self.optics.premultiplied[group])) if self.optics.premultiplied.any() else None,
            phase_flipped=on_device(torch.tensor(self.optics.phase_flipped[group])) if self.optics.phase_flipped.any() else None,
            dose=tensor(self.ctf_columns[DOSE][rows]) if DOSE in self.ctf_columns else None,
        )


def read_particles(path: Path | str, *, seed: int = 0, project: Path | str = "", path_prefix: str = "") -> ParticleTable:
    """Read the particles of a RELION 3.1 to 5 STAR file.

    Parameters
    ----------
    path
        The STAR file, usually run_data.star of a Refine3D job; of tilt series its run_optimisation_set.star.
    seed
        For the halves, where the file has no rlnRandomSubset.
    project
        Directory that stack paths are relative to; empty: the working directory.
    path_prefix
        ``OLD=NEW`` where stacks have moved; see `moved_stacks.moved`.

    Raises
    ------
    UserError
        The file cannot be used; the sentence says which column and row, what was found, and the remedy.
    """
    project = Path(project).absolute()
    files = find_files(Path(path), project)
    path, is_tilts = files.particles, files.tomograms is not None
    particles, optics = particle_checks.find_tables(path, files.tables)
    values, n = _columns(particles, is_tilts=is_tilts), len(particles)
    split = particle_checks.whole_stacks if is_tilts else particle_checks.split_image_names
    stack_paths, stack_of, slice_of = split(particles, values["rlnImageName"])
    stack_places = moved(path, stack_paths, path_prefix)
    stack_files = tuple(identities(project, stack_places))
    places = [project / place for place in stack_places]
    groups = read_optics(optics, _boxes_of_stacks(optics, values["rlnOpticsGroup"], stack_of, places, stack_paths))
    copy_of = _copies(stack_files, stack_of, slice_of)
    optics_group = particle_checks.group_indices(particles, values["rlnOpticsGroup"], groups.numbers)
    box, pixel_size_angstroms = groups.grid(optics_group.min())
    particle_checks.refuse_out_of_range(particles, values, groups.box_lengths_angstroms[optics_group])
    seen = read_tilt_particles(files, groups, optics_group, project) if is_tilts else _Seen.of(values, groups, optics_group)
    return ParticleTable(
        path=path,
        rows=np.arange(n),
        stack_paths=stack_paths,
        stack_places=stack_places,
        stack_files=stack_files,
        stack_of=stack_of,
        slice_of=slice_of,
        angles_degrees=seen.pose[0],
        origins_angstroms=seen.pose[1],
        norm_correction=values[particle_checks.NORM] if particle_checks.NORM in values and not is_tilts else np.ones(n),
        ctf_columns=seen.ctf_columns,
        optics_group=optics_group,
        optics=groups,
        half=_halves(particles, values, copy_of, seed),
        half_is_given=HALF in values,
        copy_of=copy_of,
        is_repeat=find_repeats(copy_of, *seen.pose, box_angstroms=box * pixel_size_angstroms),
        box=box,
        pixel_size_angstroms=pixel_size_angstroms,
        source=files.tables,
        tilts=seen.images,
    )


def _columns(particles: StarTable, *, is_tilts: bool) -> dict[str, NDArray[Any]]:
    """Read the columns that particles of tilt stacks or of single images have, refusing a table that lacks one."""
    particle_checks.refuse_helices(particles)
    particle_checks.require_columns(particles, of_image=not is_tilts)
    origins = TILT_ORIGIN_COLUMNS if is_tilts else ORIGIN_COLUMNS
    numbers = (*EULER_ANGLE_COLUMNS, "rlnOpticsGroup", *_CTF_COLUMNS, *origins, HALF, particle_checks.NORM)
    return particles.read(numbers=tuple(name for name in numbers if name in particles.columns), texts=("rlnImageName",))


@dataclass(frozen=True)
class _Seen:
    """How particles of one image each were seen; of tilt stacks `TiltParticles` says it."""

    pose: tuple[NDArray[np.float64], NDArray[np.float64]]
    ctf_columns: dict[str, NDArray[np.float64]]
    images: None = None

    @classmethod
    def of(cls, values: dict[str, NDArray[Any]], groups: OpticsGroups, optics_group: NDArray[np.int64]) -> _Seen:
        n = len(optics_group)
        columns = {name: values[name] if name in values else np.full(n, _CTF_DEFAULTS[name]) for name in _CTF_COLUMNS}
        return cls(_poses(values, groups, optics_group), columns)


def held_out(table: ParticleTable, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Draw particles that are kept from training, in each half the same fraction of its images; copies of an image stay together.

    Parameters
    ----------
    table
        n particles.
    fraction
        0 for none; otherwise at least one image of each half that has two or more.
    seed
        The same seed and table give the same draw.

    Returns
    -------
    (n,) bool
    """
    if not 0 <= fraction < 1:
        raise UserError(f"The fraction of held-out particles is {fraction}; expected a number from 0 to below 1.")
    out = np.zeros(len(table), dtype=bool)
    for half in HALVES:
        rows = table.rows_of_half(half)
        images = np.unique(table.copy_of[rows])
        count = 0 if fraction == 0 else min(max(round(fraction * len(images)), 1), len(images) - 1)
        chosen = np.random.default_rng((seed, half)).permutation(images)[: max(count, 0)]
        out[rows[np.isin(table.copy_of[rows], chosen)]] = True
    return out


def write_particles(table: ParticleTable, path: Path | str, rows: ArrayLike | None = None, **new_columns: ArrayLike) -> None:
    """Write particles with every column as it was read, digit by digit, and new or changed columns; whole or not at all.

    Parameters
    ----------
    table
        n particles.
    path
        File to write.
    rows : (m,) index or mask into the table, default all
    **new_columns : (m,) each
        Columns by RELION's name; one that is there already is replaced in its place. Floats are written with all their digits.

    Notes
    -----
    The optics table and any other table of the file are written as they were read, with the image size where it was missing.
    Where the halves were drawn (`half_is_given` False) they are written as rlnRandomSubset. Of tilt series an optimisation set
    is written too, which RELION's tomography jobs take: `optimisation_set_beside` says its name.

    Raises
    ------
    UserError
        The file cannot be written.
    """
    chosen = table if rows is None else table.select(rows)
    columns = dict(new_columns)
    if not table.half_is_given:
        columns.setdefault(HALF, chosen.half)
    texts = {name: _texts(name, values, len(chosen)) for name, values in columns.items()}
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        for name, source in table.source.items():
            if name == "particles":
                _write_loop(file, source, chosen.rows, texts)
            elif source.is_loop:
                is_incomplete = name == "optics" and IMAGE_SIZE not in source.columns
                added = {IMAGE_SIZE: _texts(IMAGE_SIZE, table.optics.boxes, len(source))} if is_incomplete else {}
                _write_loop(file, source, np.arange(len(source)), added)
            else:
                _write_list(file, name, dict(zip(source.columns, split_row(source.row(0)), strict=True)))
    if table.tilts is not None:
        _write_optimisation_set(Path(path), table.tilts)


def _write_optimisation_set(path: Path, tilts: TiltImages) -> None:
    names = {PARTICLES_FILE: os.path.relpath(path, tilts.project), TOMOGRAMS_FILE: tilts.tomograms_file}
    with written_whole(optimisation_set_beside(path)) as temporary, open(temporary, "wb") as file:
        _write_list(file, "", {column: _texts(column, [name], 1)[0] for column, name in names.items()})


def _write_list(file: BinaryIO, name: str, values: dict[str, bytes]) -> None:
    """Write a table of one row as a list of pairs."""
    file.write(f"\n# version 50001\n\ndata_{name}\n\n".encode())
    file.writelines(b"_%s %s\n" % (column.encode(), value) for column, value in values.items())
    file.write(b"\n")


def _boxes_of_stacks(
    optics: StarTable,
    group: NDArray[np.float64],
    stack_of: NDArray[np.int64],
    places: Sequence[Path],
    names: Sequence[str],
) -> NDArray[np.int64] | None:
    """Read the box of each optics group (g,) from the first stack of its particles (n,); None where the table says it."""
    if IMAGE_SIZE in optics.columns:
        return None
    first = [np.flatnonzero(group == number) for number in optics.read(numbers=("rlnOpticsGroup",))["rlnOpticsGroup"]]
    # a group without particles has no images: any box will do
    stacks = [int(stack_of[rows[0] if len(rows) else 0]) for rows in first]
    return np.array([read_stack_layout(places[stack], names[stack]).shape[-1] for stack in stacks], dtype=np.int64)


def _poses(
    values: dict[str, NDArray[Any]], groups: OpticsGroups, optics_group: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return angles (n, 3) and origins x, y (n, 2) in A of images whose magnification M is taken out: k.s = (M k).(M^-T s)."""
    angles = np.stack([values[name] for name in EULER_ANGLE_COLUMNS], axis=1)
    stored = np.stack([values.get(name, np.zeros(len(optics_group))) for name in ORIGIN_COLUMNS], axis=1)
    without_magnification = np.linalg.inv(groups.magnification).transpose(0, 2, 1)[optics_group]
    return angles, np.einsum("nij,nj->ni", without_magnification, stored)


def _copies(stack_files: tuple[str, ...], stack_of: NDArray[np.int64], slice_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the images (n,), the same for every name of one."""
    number: dict[str, int] = {}
    file_of = np.array([number.setdefault(file, len(number)) for file in stack_files], dtype=np.int64)
    number_of: NDArray[np.int64] = np.unique(file_of[stack_of] << 32 | slice_of, return_inverse=True)[1].reshape(len(stack_of))
    return number_of


def _halves(particles: StarTable, values: dict[str, NDArray[Any]], copy_of: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the half set of each particle (n,): as the file says it, else drawn."""
    if HALF in values:
        half = particle_checks.checked_halves(particles, values[HALF], copy_of, values["rlnImageName"])
    else:
        half = _draw_halves(copy_of, seed)
    particle_checks.refuse_empty_half(particles.path, half)
    return half


def _draw_halves(copy_of: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Put every other image of a random order into half 2, with all its copies."""
    images = int(copy_of.max()) + 1 if len(copy_of) else 0
    half = np.empty(images, dtype=np.int64)
    half[np.random.default_rng(seed).permutation(images)] = np.arange(images) % 2 + 1
    return half[copy_of]


def _texts(name: str, values: ArrayLike, n: int) -> list[bytes]:
    """Turn a column into STAR texts without losing a digit."""
    array = np.asarray(values)
    if array.shape != (n,):
        raise ValueError(f"column {name} has shape {array.shape}, expected ({n},)")
    if array.dtype.kind == "f":
        return [str(value).encode() for value in array]  # the shortest text that reads back as the same number
    if array.dtype.kind in "iub":
        return [b"%d" % value for value in array.tolist()]
    texts = [str(value) for value in array]
    bad = next((text for text in texts if not text or '"' in text or "\n" in text), None)
    if bad is not None:
        raise UserError(f"The text {bad!r} cannot be written into the STAR column _{name}: empty, or with a quote or a new line.")
    return [(f'"{text}"' if any(c.isspace() for c in text) else text).encode() for text in texts]


def _write_loop(file: BinaryIO, source: StarTable, rows: NDArray[np.int64], texts: dict[str, list[bytes]]) -> None:
    """Write one table as RELION does, changed columns in their place and new ones behind the old."""
    changed = [(source.columns.index(name), values) for name, values in texts.items() if name in source.columns]
    added = [values for name, values in texts.items() if name not in source.columns]
    names = (*source.columns, *(name for name in texts if name not in source.columns))
    file.write(f"\n# version 30001\n\ndata_{source.name}\n\nloop_\n".encode())
    file.writelines(f"_{name} #{number}\n".encode() for number, name in enumerate(names, 1))
    for place, row in enumerate(rows):
        line = source.row(row)
        if changed:
            tokens = split_row(line)
            for index, values in changed:
                tokens[index] = values[place]
            line = b" ".join(tokens)
        if added:
            line = b" ".join((line, *(values[place] for values in added)))
        file.write(line + b"\n")
    file.write(b"\n")
