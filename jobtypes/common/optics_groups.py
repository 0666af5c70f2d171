"""The optics groups of a particle STAR file: microscope, pixel size and aberrations."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobtypes.common.star_tables import StarTable, is_usable
from relion_jobs.contract.errors import BadStarFile, UserError

IMAGE_SIZE = "rlnImageSize"
_REQUIRED = (
    "rlnOpticsGroup",
    IMAGE_SIZE,
    "rlnImagePixelSize",
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
)
_MAGNIFICATION = {"rlnMagMat00": 1.0, "rlnMagMat01": 0.0, "rlnMagMat10": 0.0, "rlnMagMat11": 1.0}
_SMALLEST_MAGNIFICATION, _LARGEST_MAGNIFICATION = 1e-6, 0.2  # deviations from the identity
_PIXEL_SIZE_TOLERANCE = 1e-4  # relative; a smaller difference moves nothing by a hundredth of a pixel


@dataclass(frozen=True)
class OpticsGroups:
    """Optics groups, g of them.

    Attributes
    ----------
    numbers : (g,) int64
        rlnOpticsGroup of each.
    names
        rlnOpticsGroupName, or the number.
    boxes : (g,) int64; pixel_sizes_angstroms : (g,) float64
        Image size and pixel size.
    voltage_kilovolts, spherical_aberration_millimetres, amplitude_contrast : (g,) float64
        The microscope.
    premultiplied : (g,) bool
        rlnCtfDataAreCtfPremultiplied.
    phase_flipped : (g,) bool
        rlnCtfDataArePhaseFlipped.
    beam_tilt_milliradians : (g, 2) float64; odd_zernikes, even_zernikes : (g, m) float64
        Aberrations; 0 where there are none.
    magnification : (g, 2, 2) float64
        rlnMagMat00 .. rlnMagMat11; the identity where there is none.
    """

    numbers: NDArray[np.int64]
    names: tuple[str, ...]
    boxes: NDArray[np.int64]
    pixel_sizes_angstroms: NDArray[np.float64]
    voltage_kilovolts: NDArray[np.float64]
    spherical_aberration_millimetres: NDArray[np.float64]
    amplitude_contrast: NDArray[np.float64]
    premultiplied: NDArray[np.bool_]
    phase_flipped: NDArray[np.bool_]
    beam_tilt_milliradians: NDArray[np.float64]
    odd_zernikes: NDArray[np.float64]
    even_zernikes: NDArray[np.float64]
    magnification: NDArray[np.float64]

    @property
    def has_odd_aberrations(self) -> bool:
        """True if some group has beam tilt or odd Zernikes."""
        return bool(self.beam_tilt_milliradians.any() or self.odd_zernikes.any())

    @property
    def box_lengths_angstroms(self) -> NDArray[np.float64]:
        """Return the box length of each group (g,)."""
        return self.boxes * self.pixel_sizes_angstroms

    def grid(self, group: int) -> tuple[int, float]:
        """Return box (pixels) and pixel size (A) of a group."""
        return int(self.boxes[group]), float(self.pixel_sizes_angstroms[group])

    def has_grid(self, group: int, box: int, pixel_size_angstroms: float) -> bool:
        """True if images of a group lie on a grid as they are: of its box and pixel size, and not magnified in one direction."""
        same_pixels = abs(self.pixel_sizes_angstroms[group] / pixel_size_angstroms - 1) <= _PIXEL_SIZE_TOLERANCE
        return bool(self.boxes[group] == box and same_pixels and np.array_equal(self.magnification[group], np.eye(2)))

    def highest_frequency(self, group: int) -> float:
        """Frequency (1/A) below which the images of a group hold every Fourier term, once their magnification is taken out."""
        lost = np.linalg.norm(self.magnification[group] - np.eye(2), 2)
        return float((1 - lost) / (2 * self.pixel_sizes_angstroms[group]))


def read_optics(table: StarTable, boxes: NDArray[np.int64] | None = None) -> OpticsGroups:
    """Read the optics table, refusing missing columns, impossible sizes and what is not supported.

    Parameters
    ----------
    table
        data_optics.
    boxes : (g,)
        Image size of each group where the table does not say it (`IMAGE_SIZE`).

    Raises
    ------
    BadStarFile, UserError
        In one sentence with column and row.
    """
    required = _REQUIRED if boxes is None else tuple(name for name in _REQUIRED if name != IMAGE_SIZE)
    for column in required:
        if column not in table.columns:
            raise table.lacks(column, "expected a particle STAR file of RELION 3.1 or later")
    tilt = ("rlnBeamTiltX", "rlnBeamTiltY")
    optional = ("rlnCtfDataAreCtfPremultiplied", "rlnCtfDataArePhaseFlipped", "rlnImageDimensionality", *tilt, *_MAGNIFICATION)
    numbers = table.read(numbers=(*required, *(name for name in optional if name in table.columns)))
    if boxes is not None:
        numbers[IMAGE_SIZE] = boxes.astype(np.float64)
    zeros = np.zeros(len(table))
    _refuse_impossible(table, numbers)
    return OpticsGroups(
        numbers=numbers["rlnOpticsGroup"].astype(np.int64),
        names=_names(table),
        boxes=numbers[IMAGE_SIZE].astype(np.int64),
        pixel_sizes_angstroms=numbers["rlnImagePixelSize"],
        voltage_kilovolts=numbers["rlnVoltage"],
        spherical_aberration_millimetres=numbers["rlnSphericalAberration"],
        amplitude_contrast=numbers["rlnAmplitudeContrast"],
        premultiplied=numbers.get("rlnCtfDataAreCtfPremultiplied", zeros) != 0,
        phase_flipped=numbers.get("rlnCtfDataArePhaseFlipped", zeros) != 0,
        beam_tilt_milliradians=np.stack([numbers.get(name, zeros) for name in tilt], axis=1),
        odd_zernikes=_vectors(table, "rlnOddZernike"),
        even_zernikes=_vectors(table, "rlnEvenZernike"),
        magnification=_magnification(table, numbers),
    )


def _names(table: StarTable) -> tuple[str, ...]:
    column = "rlnOpticsGroupName" if "rlnOpticsGroupName" in table.columns else "rlnOpticsGroup"
    return tuple(table.read(texts=(column,))[column])


def _refuse_impossible(table: StarTable, numbers: dict[str, NDArray[np.float64]]) -> None:
    if len(table) == 0:
        raise BadStarFile(f"{table.path}: data_optics has no rows; expected one per optics group.")
    limits = {
        IMAGE_SIZE: (2, 1e5, "a box in pixels"),
        "rlnImagePixelSize": (1e-3, 1e3, "a pixel size in A"),
        "rlnVoltage": (1, 1e4, "kV"),
        "rlnAmplitudeContrast": (0, 1, "a fraction from 0 to 1"),
    }
    for column, (low, high, what) in limits.items():
        bad = np.flatnonzero((numbers[column] < low) | (numbers[column] > high))
        if len(bad):
            found = numbers[column][bad[0]]
            raise BadStarFile(
                f"{table.path}: column _{column} of data_optics is {found:g} in {table.where(bad[0])}; expected {what}."
            )
    if np.any(numbers.get("rlnImageDimensionality", np.array([2])) != 2):
        raise UserError(
            f"{table.path}: the particles are 3D subtomograms (rlnImageDimensionality is not 2), not supported; extract them "
            "again with RELION 5 (Extract subtomos, 'Write output as 2D stacks?' Yes) and refine these."
        )
    if len(np.unique(numbers["rlnOpticsGroup"])) != len(table):
        raise BadStarFile(f"{table.path}: data_optics gives one rlnOpticsGroup number twice; expected each once.")


def _magnification(table: StarTable, numbers: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Read (g, 2, 2) matrices, refusing what no microscope does."""
    columns = [numbers.get(name, np.full(len(table), identity)) for name, identity in _MAGNIFICATION.items()]
    matrices = np.stack(columns, axis=1).reshape(-1, 2, 2)
    # a file that was written with six digits says the identity with six digits
    matrices[np.abs(matrices - np.eye(2)).max((1, 2)) <= _SMALLEST_MAGNIFICATION] = np.eye(2)
    bad = np.flatnonzero(np.linalg.norm(matrices - np.eye(2), 2, axis=(1, 2)) > _LARGEST_MAGNIFICATION)
    if len(bad):
        found = " ".join(f"{value:g}" for value in matrices[bad[0]].flatten())
        raise UserError(
            f"{table.path}: columns _rlnMagMat00 .. _rlnMagMat11 of data_optics are {found} in {table.where(bad[0])}; expected "
            f"a magnification within {100 * _LARGEST_MAGNIFICATION:g} % of none, 1 0 0 1: measure it again (CtfRefine)."
        )
    return matrices


def _vectors(table: StarTable, column: str) -> NDArray[np.float64]:
    """Read a column of lists "[a,b,c]": (g, longest), short ones filled with 0."""
    if column not in table.columns:
        return np.zeros((len(table), 0))
    rows: list[list[float]] = []
    for row, text in enumerate(table.read(texts=(column,))[column]):
        parts = [part for part in re.split(r"[\s,]+", text.strip("[] \"'")) if part]
        try:
            rows.append([float(part) for part in parts])
            is_good = bool(is_usable(np.array(rows[-1])).all())
        except ValueError:
            is_good = False
        if not is_good:
            raise BadStarFile(
                f"{table.path}: column _{column} of data_optics is {text!r} in {table.where(row)}; expected a list of numbers "
                f"like [0,0.5,1]: correct the row, or refine the aberrations again."
            )
    vectors = np.zeros((len(rows), max(map(len, rows))))
    for vector, values in zip(vectors, rows, strict=True):
        vector[: len(values)] = values
    return vectors
