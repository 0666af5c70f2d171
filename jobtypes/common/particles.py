"""Particles of a RELION refinement: a STAR file of RELION 3.1 to 5, checked, as arrays.

`read_particles` -> ParticleTable; `held_out` draws particles that nothing is trained on; `write_particles` writes rows back as
RELION wrote them, with new columns. What the columns mean is checked in `particle_checks`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from jobtypes.common import particle_checks
from jobtypes.common.conventions import EULER_ANGLE_COLUMNS, HALVES, ORIGIN_COLUMNS
from jobtypes.common.ctf import CtfParameters
from jobtypes.common.optics_groups import OpticsGroups, read_optics
from jobtypes.common.star_tables import StarTable, read_tables, split_row
from jobtypes.common.whole_files import written_whole
from relion_jobs.contract.errors import UserError

_CTF_DEFAULTS = {"rlnPhaseShift": 0.0, "rlnCtfBfactor": 0.0, "rlnCtfScalefactor": 1.0}
_CTF_COLUMNS = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", *_CTF_DEFAULTS)


@dataclass(frozen=True)
class ParticleTable:
    """Particles in the order of their STAR file, or a selection of them.

    Attributes
    ----------
    path
        The STAR file.
    rows : (n,) int64
        0-based row of each particle in that file.
    stack_paths
        Image stacks, relative to the project directory.
    stack_of, slice_of : (n,) int64
        Which stack, and which 0-based image of it.
    angles_degrees : (n, 3) float64
        rot, tilt, psi.
    origins_angstroms : (n, 2) float64
        RELION's origin x, y; the projection is moved by its negative.
    ctf_columns : dict of (n,) float64
        The CTF columns of the particles by RELION's name.
    optics_group : (n,) int64
        Index into `optics`, from 0.
    optics
        Columns of the optics groups.
    half : (n,) int64
        1 or 2.
    half_is_given
        False where the file has no rlnRandomSubset and the halves were drawn.
    copy_of : (n,) int64
        The same number for all copies of one image (symmetry expansion).
    box, pixel_size_angstroms
        Of every image.
    source
        The tables of the file as text, for `write_particles`.
    """

    path: Path
    rows: NDArray[np.int64]
    stack_paths: tuple[str, ...]
    stack_of: NDArray[np.int64]
    slice_of: NDArray[np.int64]
    angles_degrees: NDArray[np.float64]
    origins_angstroms: NDArray[np.float64]
    ctf_columns: dict[str, NDArray[np.float64]]
    optics_group: NDArray[np.int64]
    optics: OpticsGroups
    half: NDArray[np.int64]
    half_is_given: bool
    copy_of: NDArray[np.int64]
    box: int
    pixel_size_angstroms: float
    source: dict[str, StarTable]

    def __len__(self) -> int:
        """Return n."""
        return len(self.rows)

    def image_name(self, row: int) -> str:
        """Return rlnImageName of row `row` of this table: "000003@Extract/job002/particles.mrcs"."""
        return f"{self.slice_of[row] + 1:06d}@{self.stack_paths[self.stack_of[row]]}"

    def select(self, rows: ArrayLike) -> ParticleTable:
        """Keep some particles: an index or a mask over the n rows. Halves, copies and stacks keep their numbers."""
        rows = np.asarray(rows)
        return replace(
            self,
            rows=self.rows[rows],
            stack_of=self.stack_of[rows],
            slice_of=self.slice_of[rows],
            angles_degrees=self.angles_degrees[rows],
            origins_angstroms=self.origins_angstroms[rows],
            ctf_columns={name: values[rows] for name, values in self.ctf_columns.items()},
            optics_group=self.optics_group[rows],
            half=self.half[rows],
            copy_of=self.copy_of[rows],
        )

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

        def tensor(values: NDArray[np.float64]) -> torch.Tensor:
            return torch.tensor(values, device=device, dtype=dtype)

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
            premultiplied=torch.tensor(self.optics.premultiplied[group], device=device)
            if self.optics.premultiplied.any()
            else None,
            phase_flipped=torch.tensor(self.optics.phase_flipped[group], device=device)
            if self.optics.phase_flipped.any()
            else None,
        )


def read_particles(path: Path | str, *, seed: int = 0) -> ParticleTable:
    """Read the particles of a RELION 3.1 to 5 STAR file.

    Parameters
    ----------
    path
        The STAR file, usually run_data.star of a Refine3D job.
    seed
        For the halves, where the file has no rlnRandomSubset.

    Raises
    ------
    UserError
        The file cannot be used; the sentence says which column and row, what was found, and the remedy.
    """
    tables = read_tables(path)
    particles, optics = particle_checks.find_tables(Path(path), tables)
    particle_checks.refuse_foreign_data(tables)
    particle_checks.require_columns(particles)
    numbers = (*EULER_ANGLE_COLUMNS, "rlnOpticsGroup", *_CTF_COLUMNS, *ORIGIN_COLUMNS, "rlnRandomSubset")
    values = particles.read(numbers=tuple(name for name in numbers if name in particles.columns), texts=("rlnImageName",))
    n = len(particles)
    groups = read_optics(optics)
    stack_paths, stack_of, slice_of = particle_checks.split_image_names(particles, values["rlnImageName"])
    copy_of = np.unique(stack_of << 32 | slice_of, return_inverse=True)[1].reshape(n)
    half_is_given = "rlnRandomSubset" in values
    if half_is_given:
        half = particle_checks.checked_halves(particles, values["rlnRandomSubset"], copy_of)
    else:
        half = _draw_halves(copy_of, seed)
    particle_checks.refuse_empty_half(Path(path), half)
    optics_group = particle_checks.group_indices(particles, values["rlnOpticsGroup"], groups.numbers)
    box, pixel_size_angstroms = groups.common_size(Path(path), np.unique(optics_group))
    particle_checks.refuse_out_of_range(particles, values, box * pixel_size_angstroms)
    return ParticleTable(
        path=Path(path),
        rows=np.arange(n),
        stack_paths=stack_paths,
        stack_of=stack_of,
        slice_of=slice_of,
        angles_degrees=np.stack([values[name] for name in EULER_ANGLE_COLUMNS], axis=1),
        origins_angstroms=np.stack([values.get(name, np.zeros(n)) for name in ORIGIN_COLUMNS], axis=1),
        ctf_columns={name: values[name] if name in values else np.full(n, _CTF_DEFAULTS[name]) for name in _CTF_COLUMNS},
        optics_group=optics_group,
        optics=groups,
        half=half,
        half_is_given=half_is_given,
        copy_of=copy_of,
        box=box,
        pixel_size_angstroms=pixel_size_angstroms,
        source=tables,
    )


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
        images = np.unique(table.copy_of[table.half == half])
        count = 0 if fraction == 0 else min(max(round(fraction * len(images)), 1), len(images) - 1)
        chosen = np.random.default_rng((seed, half)).permutation(images)[: max(count, 0)]
        out |= np.isin(table.copy_of, chosen) & (table.half == half)
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
    The optics table and any other table of the file are written as they were read. Where the halves were drawn
    (`half_is_given` False) they are written as rlnRandomSubset.

    Raises
    ------
    UserError
        The file cannot be written.
    """
    chosen = table if rows is None else table.select(rows)
    columns = dict(new_columns)
    if not table.half_is_given:
        columns.setdefault("rlnRandomSubset", chosen.half)
    texts = {name: _texts(name, values, len(chosen)) for name, values in columns.items()}
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        for name, source in table.source.items():
            if name == "particles":
                _write_loop(file, source, chosen.rows, texts)
            else:
                _write_loop(file, source, np.arange(len(source)), {})


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
