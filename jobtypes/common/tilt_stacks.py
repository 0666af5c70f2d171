"""Particles of RELION 5 tomography: one stack of 2D images each, its views of the particle in a tilt series.

From what these files say, an image is that of a single particle with a rotation, a shift and a CTF of its own (`TiltImages`).
With P the rotation from the tomogram to a frame, A_sub and A_part those of the two triplets of angles of a particle and o its
origin (A, before A_sub), a point x of the map is seen at (P A_sub (A_part x - o)), x and y of it; see also `tomograms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jobtypes.common.conventions import EULER_ANGLE_COLUMNS
from jobtypes.common.ctf import DOSE
from jobtypes.common.optics_groups import OpticsGroups
from jobtypes.common.rotations import euler_angles, euler_matrices
from jobtypes.common.star_tables import StarTable, read_tables
from jobtypes.common.tomograms import MICROSCOPE, NAME, PIXEL_SIZE, Tomogram, read_tomograms
from relion_jobs.contract.errors import BadStarFile, UserError

PARTICLES_FILE, TOMOGRAMS_FILE = "rlnTomoParticlesFile", "rlnTomoTomogramsFile"
ORIGIN_COLUMNS = ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst")
SUBTOMOGRAM_ANGLE_COLUMNS = ("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi")
CENTRED_COLUMNS = ("rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst")
CORNER_COLUMNS = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
VISIBLE = "rlnTomoVisibleFrames"
_STACKS = "rlnTomoSubTomosAre2DStacks"
_CORRECTED = "rlnCtfDataAreCtfCorrected"
_EXTRACT_AGAIN = "extract them again with RELION 5 (Extract subtomos, 'Write output as 2D stacks?' Yes) and refine these"
_SET_REMEDY = "give the run_optimisation_set.star of a Refine3D job"
_TOLERANCE = 1e-3  # of what the optics table and that of the tomograms both say; RELION refuses more


@dataclass(frozen=True)
class TiltImages:
    """The images of tilt stacks, those of each particle one after the other.

    Attributes
    ----------
    particle : (i,) int64
        Row of the particle table, ascending.
    slice_of : (i,) int64
        0-based image of the particle's stack.
    projections : (i, 3, 3) float64
        Rotation from the tomogram to the image.
    ctf_columns : dict of (i,) float64
        The CTF columns by RELION's name, at the depth of the particle, with the dose.
    project, tomograms_file
        The project directory, and tomograms.star as the files name it, relative to that.
    """

    particle: NDArray[np.int64]
    slice_of: NDArray[np.int64]
    projections: NDArray[np.float64]
    ctf_columns: dict[str, NDArray[np.float64]]
    project: Path
    tomograms_file: str

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.particle)

    def images_of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the images (m,) of particles at `rows` (p,), and which of these particles each shows, (m,) from 0."""
        first = np.searchsorted(self.particle, rows)
        counts = np.searchsorted(self.particle, rows, side="right") - first
        place = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
        return first[place] + within, place

    def select(self, rows: NDArray[np.int64]) -> TiltImages:
        """Keep the images of some particles, (p,) rows."""
        images, place = self.images_of(rows)
        columns = {name: values[images] for name, values in self.ctf_columns.items()}
        return replace(
            self, particle=place, slice_of=self.slice_of[images], projections=self.projections[images], ctf_columns=columns
        )

    def poses(
        self, angles_degrees: NDArray[np.float64], origins_angstroms: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return angles (i, 3) and origins (i, 2) of single images, of particles (n, 3), (n, 3) in the tomogram's axes."""
        matrices = euler_matrices(torch.from_numpy(angles_degrees)).numpy()[self.particle]
        angles = euler_angles(torch.from_numpy(self.projections @ matrices)).numpy()
        origins = np.einsum("ijk,ik->ij", self.projections, origins_angstroms[self.particle])[:, :2]
        return angles, origins


@dataclass(frozen=True)
class TiltFiles:
    """Which files describe tilt stacks.

    Attributes
    ----------
    particles
        The particle STAR file.
    tables
        Its tables.
    tomograms
        tomograms.star as an optimisation set names it; None: the particles are no tilt stacks.
    """

    particles: Path
    tables: dict[str, StarTable]
    tomograms: str | None


def find_files(path: Path, project: Path) -> TiltFiles:
    """Follow an optimisation set, or find the one that belongs to a particle STAR file of tilt stacks.

    Raises
    ------
    UserError
        Particles of tomography that are no 2D stacks, or a file is missing.
    """
    tables = read_tables(path)
    if "" in tables and PARTICLES_FILE in tables[""].columns:
        named = _named_files(path, tables)
        particles = project / named[PARTICLES_FILE]
        tables = read_tables(particles)
        if not _are_stacks(particles, tables):
            raise UserError(f"{path} names {particles}, which holds no particles of tomography; {_SET_REMEDY}.")
        return TiltFiles(particles, tables, named[TOMOGRAMS_FILE])
    if not _are_stacks(path, tables):
        return TiltFiles(path, tables, None)
    of_relion = path.with_name(f"{path.stem.removesuffix('data').removesuffix('particles')}optimisation_set.star")
    beside = next((name for name in (of_relion, optimisation_set_beside(path)) if name.is_file()), None)
    if beside is None:
        raise UserError(
            f"{path} holds particles of tilt series, and no {of_relion.name} beside it says which tomograms.star belongs to it; "
            f"{_SET_REMEDY}."
        )
    return TiltFiles(path, tables, _named_files(beside, read_tables(beside))[TOMOGRAMS_FILE])


def optimisation_set_beside(path: Path) -> Path:
    """Name of the optimisation set that is written with particles of tilt series."""
    return path.with_name(f"{path.stem}_optimisation_set.star")


def _named_files(path: Path, tables: dict[str, StarTable]) -> dict[str, str]:
    if "" not in tables:
        raise UserError(f"{path} is no optimisation set: it has no table data_ without a name; {_SET_REMEDY}.")
    table = tables[""]
    for column in (PARTICLES_FILE, TOMOGRAMS_FILE):
        if column not in table.columns:
            raise table.lacks(column, _SET_REMEDY)
    values = table.read(texts=(PARTICLES_FILE, TOMOGRAMS_FILE))
    named = {column: str(found[0]).strip('"') for column, found in values.items()}
    empty = next((column for column, name in named.items() if not name), None)
    if empty is not None:
        raise BadStarFile(f"{path} names no file as _{empty}; {_SET_REMEDY}.")
    return named


def _are_stacks(path: Path, tables: dict[str, StarTable]) -> bool:
    """Tell whether particles are tilt stacks, refusing those of tomography that are not."""
    general = tables.get("general")
    if general is not None and _STACKS in general.columns and general.read(numbers=(_STACKS,))[_STACKS][0] != 0:
        return True
    tomography = next((name for table in tables.values() for name in table.columns if name.startswith("rlnTomo")), None)
    if tomography is None or "particles" not in tables:
        return False
    raise UserError(
        f"{path} holds 3D subtomograms or particles of RELION 4 (column _{tomography}, and no _{_STACKS} in data_general), not "
        f"supported; {_EXTRACT_AGAIN}."
    )


@dataclass(frozen=True)
class TiltParticles:
    """What the particle table and the tilt series say together of n particles.

    Attributes
    ----------
    pose
        From map to tomogram: rot, tilt, psi (n, 3), and the origin (n, 3) A in the axes of the tomogram.
    images
        Theirs.
    """

    pose: tuple[NDArray[np.float64], NDArray[np.float64]]
    images: TiltImages

    @property
    def ctf_columns(self) -> dict[str, NDArray[np.float64]]:
        """Return nothing: images have CTFs, particles have not."""
        return {}


def read_tilt_particles(files: TiltFiles, groups: OpticsGroups, group_of: NDArray[np.int64], project: Path) -> TiltParticles:
    """Read the tilt series of particles and join them.

    Parameters
    ----------
    files
        Of `find_files`, with tomograms.
    groups
        Optics groups.
    group_of : (n,)
        Index of that of each particle.
    project
        Directory that paths are relative to.

    Raises
    ------
    UserError
        A file cannot be used; the sentence says which column and row, what was found, and the remedy.
    """
    assert files.tomograms is not None
    particles = files.tables["particles"]
    _refuse_unsupported(files.particles, files.tables["optics"], groups)
    values = _read_columns(particles)
    names = values[NAME]
    tomograms = read_tomograms(project / files.tomograms, dict.fromkeys(names), project)
    _refuse_other_microscope(files, groups, group_of, [tomograms[name] for name in names])
    of_part = _matrices(values, EULER_ANGLE_COLUMNS)
    of_sub = _matrices(values, SUBTOMOGRAM_ANGLE_COLUMNS)
    stored = np.stack([values.get(name, np.zeros(len(names))) for name in ORIGIN_COLUMNS], axis=1)
    origins = np.einsum("nij,nj->ni", of_sub, stored)
    centres = _coordinates(particles, values, tomograms) - origins
    visible = [_visible_frames(particles, row, text, tomograms[names[row]]) for row, text in enumerate(values[VISIBLE])]
    angles = euler_angles(torch.from_numpy(of_sub @ of_part)).numpy()
    images = TiltImages(*_seen_in_frames(names, visible, centres, tomograms), project, files.tomograms)
    return TiltParticles((angles, origins), images)


def stored_poses(
    particles: StarTable, rows: NDArray[np.int64], matrices: NDArray[np.float64], origins_angstroms: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return angles (p, 3) and origins (p, 3) in the sense of the columns of a particle table.

    Parameters
    ----------
    particles
        data_particles.
    rows : (p,)
        Rows of it.
    matrices : (p, 3, 3); origins_angstroms : (p, 3)
        Rotation from the map to the tomogram, and origin in the axes of the tomogram.
    """
    values = _read_columns(particles)
    back = _matrices(values, SUBTOMOGRAM_ANGLE_COLUMNS)[rows].transpose(0, 2, 1)
    angles = euler_angles(torch.from_numpy(back @ matrices)).numpy()
    return angles, np.einsum("nij,nj->ni", back, origins_angstroms)


def _read_columns(particles: StarTable) -> dict[str, NDArray[Any]]:
    for column in (NAME, VISIBLE, *EULER_ANGLE_COLUMNS):
        if column not in particles.columns:
            raise particles.lacks(column, _SET_REMEDY)
    present = [name for name in SUBTOMOGRAM_ANGLE_COLUMNS if name in particles.columns]
    if present and len(present) != len(SUBTOMOGRAM_ANGLE_COLUMNS):
        missing = next(name for name in SUBTOMOGRAM_ANGLE_COLUMNS if name not in present)
        raise particles.lacks(missing, "expected all three of these angles or none")
    coordinates = next((names for names in (CENTRED_COLUMNS, CORNER_COLUMNS) if names[0] in particles.columns), CENTRED_COLUMNS)
    for column in coordinates:
        if column not in particles.columns:
            raise particles.lacks(column, _SET_REMEDY)
    origins = (name for name in ORIGIN_COLUMNS if name in particles.columns)
    return particles.read(numbers=(*EULER_ANGLE_COLUMNS, *present, *coordinates, *origins), texts=(NAME, VISIBLE))


def _matrices(values: dict[str, NDArray[Any]], columns: Sequence[str]) -> NDArray[np.float64]:
    """(n, 3, 3) of three Euler angles; identities where there are none."""
    angles = [values.get(name, np.zeros(len(values[NAME]))) for name in columns]
    return euler_matrices(torch.from_numpy(np.stack(angles, axis=1).astype(np.float64))).numpy()


def _coordinates(particles: StarTable, values: dict[str, NDArray[Any]], tomograms: dict[str, Tomogram]) -> NDArray[np.float64]:
    """(n, 3) A: where each particle was cut out of its tomogram."""
    if CENTRED_COLUMNS[0] in values:
        return np.stack([values[name] for name in CENTRED_COLUMNS], axis=1)
    of_each = [tomograms[name] for name in values[NAME]]
    centres = np.stack([tomogram.centre_pixels for tomogram in of_each])
    if not np.isfinite(centres).all():
        raise UserError(
            f"{particles.path} has no column _{CENTRED_COLUMNS[0]}, and the table of tomograms does not say their sizes "
            "(_rlnTomoSizeX ...), from which it could be worked out; give one of them."
        )
    pixels = np.array([tomogram.microscope[MICROSCOPE.index(PIXEL_SIZE)] for tomogram in of_each])
    coordinates: NDArray[np.float64] = (np.stack([values[name] for name in CORNER_COLUMNS], axis=1) - centres) * pixels[:, None]
    return coordinates


def _visible_frames(particles: StarTable, row: int, text: str, tomogram: Tomogram) -> NDArray[np.int64]:
    """Frames that are in the stack of a particle, in its order."""
    entries = text.strip('[]"').split(",")
    try:
        flags = np.array([int(entry) for entry in entries])
    except ValueError:
        flags = np.empty(0, dtype=int)
    found = text if len(text) <= 40 else text[:37] + "..."
    if len(flags) != len(tomogram):
        raise BadStarFile(
            f"{particles.path}: column _{VISIBLE} of data_particles is {found!r} in {particles.where(row)}; expected a list like "
            f"[1,0,1] with an entry for each of the {len(tomogram)} frames of {tomogram.name}: {_SET_REMEDY} whose tilt series "
            "table is the one of the extraction."
        )
    if not (flags > 0).any():
        raise BadStarFile(
            f"{particles.path}: column _{VISIBLE} of data_particles shows no frame in {particles.where(row)}; take the row out."
        )
    return np.flatnonzero(flags > 0)


def _seen_in_frames(
    names: NDArray[np.object_],
    visible: Sequence[NDArray[np.int64]],
    centres: NDArray[np.float64],
    tomograms: dict[str, Tomogram],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Particle, slice, projection and CTF of each image, as of `TiltImages`.

    Of particles (n,) of named tomograms, each with its frames and its centre (n, 3) A in the tomogram.
    """
    counts = np.array([len(frames) for frames in visible])
    particle = np.repeat(np.arange(len(names)), counts)
    frame = np.concatenate(visible)
    first_of = dict(zip(tomograms, np.cumsum([0, *(len(tomogram) for tomogram in tomograms.values())][:-1]), strict=True))
    row = np.array([first_of[name] for name in names], dtype=np.int64)[particle] + frame  # of the frames of all tomograms

    def of_frames(column: str) -> NDArray[np.float64]:
        joined: NDArray[np.float64] = np.concatenate([getattr(tomogram, column) for tomogram in tomograms.values()])[row]
        return joined

    def of_tomograms(column: str) -> NDArray[np.float64]:
        return np.array([getattr(tomograms[name], column) for name in names])[particle]

    projections, dose, per_dose = of_frames("projections"), of_frames("dose"), of_tomograms("bfactor_per_dose")
    depth = of_tomograms("depth_sign") * np.einsum("ij,ij->i", projections[:, 2], centres[particle])
    columns = {
        "rlnDefocusU": of_frames("defocus_u_angstroms") + depth,
        "rlnDefocusV": of_frames("defocus_v_angstroms") + depth,
        "rlnDefocusAngle": of_frames("defocus_angle_degrees"),
        "rlnPhaseShift": of_frames("phase_shift_degrees"),
        "rlnCtfScalefactor": of_frames("scale"),
        "rlnCtfBfactor": per_dose * dose,  # exp(-B dose k^2 / 4)
        DOSE: np.where(per_dose > 0, 0.0, dose),
    }
    slice_of = np.arange(len(particle)) - np.repeat(np.cumsum(counts) - counts, counts)
    return particle, slice_of, projections, columns


def _refuse_unsupported(path: Path, optics: StarTable, groups: OpticsGroups) -> None:
    """Refuse stacks that are no images in a microscope, and what RELION takes into account twice."""
    if _CORRECTED in optics.columns and optics.read(numbers=(_CORRECTED,))[_CORRECTED].any():
        raise UserError(
            f"{path}: the stacks are projections of reconstructed subtomograms (_{_CORRECTED} of data_optics), of which CTF and "
            "dose are not known; extract the particles again without --real_subtomo."
        )
    if groups.has_odd_aberrations:
        raise UserError(
            f"{path}: data_optics has odd aberrations (beam tilt or _rlnOddZernike), which were taken out of tilt stacks when "
            "they were extracted; take these columns out."
        )
    if (groups.magnification != np.eye(2)).any():
        raise UserError(
            f"{path}: data_optics has an anisotropic magnification (_rlnMagMat00 ...), not supported for tilt stacks; correct it "
            "in the tilt images, and extract the particles again."
        )


def _refuse_other_microscope(
    files: TiltFiles, groups: OpticsGroups, group_of: NDArray[np.int64], tomograms: Sequence[Tomogram]
) -> None:
    """Refuse particles (n,) whose optics group and tomogram say different things, as RELION does."""
    optics = files.tables["optics"]
    ours = [groups.voltage_kilovolts, groups.spherical_aberration_millimetres, groups.amplitude_contrast]
    if PIXEL_SIZE in optics.columns:
        ours.append(optics.read(numbers=(PIXEL_SIZE,))[PIXEL_SIZE])
    of_particles = np.stack(ours, axis=1)[group_of]
    of_tomograms = np.stack([tomogram.microscope[: len(ours)] for tomogram in tomograms])
    bad = np.argwhere(np.abs(of_particles - of_tomograms) > _TOLERANCE)
    if len(bad):
        row, column = (int(number) for number in bad[0])
        raise UserError(
            f"{files.particles}: column _{MICROSCOPE[column]} of data_optics is {of_particles[row, column]:g} for optics group "
            f"{groups.names[group_of[row]]}, but {files.tomograms} says {of_tomograms[row, column]:g} for "
            f"{tomograms[row].name}; give the files that belong together."
        )
