"""Particles in tilt series: what each frame sees of them, and the files of a RELION 5 tomography project.

A frame is one tilt image. With P its rotation, A that of a particle from map to tomogram and o its origin in the axes of the
tomogram, a point x of the map is at x, y of P (A x - o). Written down once more, apart from `jobtypes.common.tilt_stacks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from jobtypes.common import fourier
from jobtypes.common.whole_files import written_whole
from jobtypes.simulate.files import table_text, write_stack
from jobtypes.simulate.geometry import Array, Poses, angles_of
from jobtypes.simulate.nuisances import Plan
from jobtypes.simulate.optics import Optics, ctf
from jobtypes.simulate.options import SimulationOptions

PARTICLES_PER_TOMOGRAM = 50
TILT_AXIS_DEGREES, AXIS_SPREAD_DEGREES = 85.0, 4.0
EXTENT_ANGSTROMS = (900.0, 900.0, 300.0)  # of the tomogram from its centre, x y z
HIDDEN_SHARE = 0.03  # of the frames of a particle but the first
TOMOGRAMS_STAR, SET_STAR, SERIES_FOLDER = "tomograms.star", "particles_optimisation_set.star", "tilt_series"
BLANK_IMAGE = "blank.mrc"  # in place of every tilt image, of which RELION reads the size wherever it reads particles

SERIES_COLUMNS = (
    "rlnMicrographPreExposure",
    "rlnTomoXTilt",
    "rlnTomoYTilt",
    "rlnTomoZRot",
    "rlnTomoXShiftAngst",
    "rlnTomoYShiftAngst",
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnCtfScalefactor",
    "rlnMicrographName",
)
TOMOGRAM_COLUMNS = (
    "rlnTomoName",
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnTomoHand",
    "rlnTomoTiltSeriesPixelSize",
    "rlnTomoTiltSeriesStarFile",
    "rlnTomoSizeX",
    "rlnTomoSizeY",
    "rlnTomoSizeZ",
)
OPTICS_COLUMNS = (
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnTomoTiltSeriesPixelSize",
    "rlnOpticsGroup",
    "rlnOpticsGroupName",
    "rlnCtfDataAreCtfPremultiplied",
    "rlnImageDimensionality",
    "rlnTomoSubtomogramBinning",
    "rlnImagePixelSize",
    "rlnImageSize",
)
PARTICLE_COLUMNS = (
    "rlnTomoName",
    "rlnTomoParticleName",
    "rlnOpticsGroup",
    "rlnTomoVisibleFrames",
    "rlnImageName",
    "rlnCenteredCoordinateXAngst",
    "rlnCenteredCoordinateYAngst",
    "rlnCenteredCoordinateZAngst",
    "rlnTomoSubtomogramRot",
    "rlnTomoSubtomogramTilt",
    "rlnTomoSubtomogramPsi",
    "rlnAngleRot",
    "rlnAngleTilt",
    "rlnAnglePsi",
    "rlnOriginXAngst",
    "rlnOriginYAngst",
    "rlnOriginZAngst",
    "rlnRandomSubset",
)


@dataclass(frozen=True)
class TiltSeries:
    """Tilt series of n tomograms, f frames each, and where p particles lie in them; i images in all.

    Parameters
    ----------
    tilts
        (n, f, 3) rotations about x, y and z of each frame, degrees.
    defocus
        (n, f, 3) defocus u, v (A) and its angle (degrees) at the tomogram's centre.
    hand
        (n,) 1 or -1: sign of a depth in the defocus.
    dose, scale
        (f,) e/A^2 before each frame, and strength of its signal.
    tomogram
        (p,) of each particle, from 0.
    coordinates
        (p, 3) A, where each was cut out, from the tomogram's centre.
    sub_matrices
        (p, 3, 3) the first of its two rotations; the second follows from the pose.
    visible
        (p, f) whether each frame shows it.
    """

    tilts: Array
    defocus: Array
    hand: NDArray[np.int64]
    dose: Array
    scale: Array
    tomogram: NDArray[np.int64]
    coordinates: Array
    sub_matrices: Array
    visible: NDArray[np.bool_]

    @property
    def particle(self) -> NDArray[np.int64]:
        """(i,) particle of each image; those of a particle follow each other in the order of the frames."""
        return np.nonzero(self.visible)[0]

    @property
    def projections(self) -> Array:
        """(i, 3, 3) rotation from the tomogram to each image."""
        particle, frame = np.nonzero(self.visible)
        matrices = Rotation.from_euler("xyz", self.tilts.reshape(-1, 3), degrees=True).as_matrix()
        of_frames: Array = matrices.reshape(*self.tilts.shape, 3)[self.tomogram[particle], frame]
        return of_frames

    def images_of(self, particle: int) -> slice:
        """Rows of the images of a particle."""
        begins = self._begins
        return slice(int(begins[particle]), int(begins[particle + 1]))

    @cached_property
    def _begins(self) -> NDArray[np.int64]:
        """(p + 1,) first image of each particle, and the number of all."""
        return np.concatenate(([0], np.cumsum(self.visible.sum(1))))

    def poses(self, poses: Poses) -> Poses:
        """Poses in the tomogram, with origins (p, 3), -> those of the images."""
        projections, particle = self.projections, self.particle
        origins = np.einsum("ijk,ik->ij", projections, poses.origins_angstroms[particle])[:, :2]
        return Poses(projections @ poses.matrices[particle], origins)

    def optics(self, optics: Optics, poses: Poses) -> Optics:
        """Defocus of each image with the depth of its particle, dose and scale."""
        particle, frame = np.nonzero(self.visible)
        tomogram = self.tomogram[particle]
        centres = (self.coordinates - poses.origins_angstroms)[particle]
        depth = self.hand[tomogram] * np.einsum("ij,ij->i", self.projections[:, 2], centres)
        u, v, angle = self.defocus[tomogram, frame].T
        return replace(
            optics,
            micrograph=tomogram + 1,
            defocus_u_angstroms=u + depth,
            defocus_v_angstroms=v + depth,
            defocus_angle_degrees=angle,
            dose=self.dose[frame],
            scale=self.scale[frame],
        )

    def plan(self, plan: Plan) -> Plan:
        """What each image shows; a random orientation is one in the tomogram."""
        of_images = {name: values[self.particle] for name, values in vars(plan).items()}
        return Plan(**{**of_images, "stray": self.projections @ of_images["stray"]})


def draw_tilt_series(options: SimulationOptions, rng: np.random.Generator) -> TiltSeries:
    """Tomograms of 50 particles each; frames from 0 degrees outwards, as they are taken."""
    p, f = options.nr_particles, options.nr_tilts
    n = -(-p // PARTICLES_PER_TOMOGRAM)
    nominal = np.linspace(-options.largest_tilt, options.largest_tilt, f)
    nominal = nominal[np.argsort(np.abs(nominal), kind="stable")]
    tilts = rng.normal(0, 0.1, (n, f, 3))
    tilts[..., 0] += rng.normal(0, 1.5, (n, 1))
    tilts[..., 1] += nominal
    tilts[..., 2] += TILT_AXIS_DEGREES + rng.normal(0, AXIS_SPREAD_DEGREES, (n, 1))
    mean = rng.uniform(options.defocus_min, options.defocus_max, (n, 1)) + rng.normal(0, 100, (n, f))
    difference, angle = rng.uniform(0, 400, (n, 1)), rng.uniform(0, 180, (n, 1)) + rng.normal(0, 1, (n, f))
    visible = rng.uniform(0, 1, (p, f)) >= HIDDEN_SHARE
    visible[:, 0] = True
    return TiltSeries(
        tilts=tilts.round(6),
        defocus=np.stack([mean + difference / 2, mean - difference / 2, angle], axis=-1).round(6),
        hand=rng.choice((1, -1), n),
        dose=(np.arange(f) * options.total_dose / f).round(6),
        scale=np.cos(np.deg2rad(nominal)).round(6),
        tomogram=np.arange(p) // PARTICLES_PER_TOMOGRAM,
        coordinates=(rng.uniform(-1, 1, (p, 3)) * EXTENT_ANGSTROMS).round(6),
        sub_matrices=Rotation.random(p, random_state=rng).as_matrix(),
        visible=visible,
    )


def premultiplied(images: Tensor, optics: Optics, rows: slice, pixel_size_angstroms: float) -> Tensor:
    """Multiply images (b, N, N) by their transfer once more, as they are extracted."""
    box = images.shape[-1]
    return fourier.irfft2(fourier.rfft2(images) * ctf(optics, rows, box, pixel_size_angstroms), box)


def write_project(
    directory: Path,
    inside: str,
    series: TiltSeries,
    stacks: Sequence[str],
    *,
    poses: Poses,
    optics: Optics,
    half: NDArray[np.int64],
    options: SimulationOptions,
    particles_star: str,
) -> None:
    """Write tilt series, tomograms, optimisation set and, last, the particles; each whole or not at all.

    No tilt image is drawn: a blank one of the size of the tomograms stands for all.

    Parameters
    ----------
    directory, inside
        Of the job, and its name relative to the project directory.
    series
        The tilt series.
    stacks
        p stacks, relative to the project directory.
    poses, optics
        As observed, in the tomogram.
    half
        (p,) 1 or 2.
    options
        Of the simulation.
    particles_star
        Name of the particle STAR file.
    """
    for number in range(len(series.tilts)):
        text = _series_text(series, number, f"{inside}/{BLANK_IMAGE}")
        _write(directory / SERIES_FOLDER / f"tomo{number + 1}.star", text)
    microscope = f"{optics.voltage_kilovolts:.6f} {optics.spherical_aberration_millimetres:.6f} {optics.amplitude_contrast:.6f}"
    pixel = f"{options.angpix:.6f}"
    pixels = [int(2 * extent / options.angpix) + options.box_size for extent in EXTENT_ANGSTROMS]
    write_stack(directory / BLANK_IMAGE, np.zeros((1, pixels[1], pixels[0]), dtype=np.float32), options.angpix, float16=True)
    size = " ".join(map(str, pixels))
    tomograms = [
        f"tomo{number} {microscope} {hand:.6f} {pixel} {inside}/{SERIES_FOLDER}/tomo{number}.star {size}"
        for number, hand in enumerate(series.hand, 1)
    ]
    _write(directory / TOMOGRAMS_STAR, table_text("global", TOMOGRAM_COLUMNS, tomograms))
    named = f"_rlnTomoParticlesFile {inside}/{particles_star}\n_rlnTomoTomogramsFile {inside}/{TOMOGRAMS_STAR}\n"
    _write(directory / SET_STAR, f"\n# version 50001\n\ndata_\n\n{named}\n")
    group = f"{microscope} {pixel} 1 opticsGroup1 1 2 1.000000 {pixel} {options.box_size}"
    text = "\n# version 50001\n\ndata_general\n\n_rlnTomoSubTomosAre2DStacks 1\n\n"
    text += table_text("optics", OPTICS_COLUMNS, [group])
    _write(directory / particles_star, text + table_text("particles", PARTICLE_COLUMNS, _rows(series, stacks, poses, half)))


def _series_text(series: TiltSeries, number: int, image: str) -> str:
    rows = []
    for frame in range(len(series.dose)):
        values = (series.dose[frame], *series.tilts[number, frame], 0.0, 0.0, *series.defocus[number, frame], series.scale[frame])
        rows.append(" ".join([*(f"{value:.6f}" for value in values), image]))
    return table_text(f"tomo{number + 1}", SERIES_COLUMNS, rows)


def _rows(series: TiltSeries, stacks: Sequence[str], poses: Poses, half: NDArray[np.int64]) -> list[str]:
    back = series.sub_matrices.transpose(0, 2, 1)
    angles = angles_of(back @ poses.matrices)
    origins = np.einsum("pij,pj->pi", back, poses.origins_angstroms)
    numbers = np.column_stack([series.coordinates, angles_of(series.sub_matrices), angles, origins])
    rows = []
    for row, stack in enumerate(stacks):
        flags = ",".join(str(int(shown)) for shown in series.visible[row])
        given = " ".join(f"{value:.6f}" for value in numbers[row])
        name = f"tomo{series.tomogram[row] + 1}"
        rows.append(f"{name} {name}/{row + 1} 1 [{flags}] {stack} {given} {half[row]}")
    return rows


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_text(text)
