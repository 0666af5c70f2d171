"""The optics groups of a particle STAR file: microscope, pixel size and aberrations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

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

    @property
    def has_odd_aberrations(self) -> bool:
        """True if some group has beam tilt or odd Zernikes."""
        return bool(self.beam_tilt_milliradians.any() or self.odd_zernikes.any())

    def common_size(self, path: Path, used: NDArray[np.int64]) -> tuple[int, float]:
        """Return box (pixels) and pixel size (A) of all groups that have particles, or refuse groups that differ from the first.

        Parameters
        ----------
        path
            For the sentence.
        used : (u,) int64
            Indices of the groups that have particles, ascending.
        """
        first = used[0]
        box, pixel_size_angstroms = int(self.boxes[first]), float(self.pixel_sizes_angstroms[first])
        other = [
            f"{self.names[g]} ({self.boxes[g]} px of {self.pixel_sizes_angstroms[g]:.6g} A)"
            for g in used
            if self.boxes[g] != box or abs(self.pixel_sizes_angstroms[g] / pixel_size_angstroms - 1) > _PIXEL_SIZE_TOLERANCE
        ]
        if other:
            raise UserError(
                f"{path}: optics group {', '.join(other)} differs from the first, {self.names[first]} ({box} px of "
                f"{pixel_size_angstroms:.6g} A); "
                f"re-extract all particles with one box and pixel size, or select one group (relion_star_handler --select "
                f"rlnOpticsGroup)."
            )
        return box, pixel_size_angstroms


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
            f"{table.path}: the particles are 3D subtomograms (rlnImageDimensionality is not 2); expected 2D "
            f"single-particle images."
        )
    if len(np.unique(numbers["rlnOpticsGroup"])) != len(table):
        raise BadStarFile(f"{table.path}: data_optics gives one rlnOpticsGroup number twice; expected each once.")
    for column, identity in _MAGNIFICATION.items():
        if np.any(np.abs(numbers.get(column, np.array([identity])) - identity) > 1e-6):
            raise UserError(
                f"{table.path}: column _{column} of data_optics holds an anisotropic magnification, which is not "
                f"supported; re-extract or "
                f"refine the particles without the magnification matrix, or set it to 1 0 0 1 if its effect is below a "
                f"pixel at the box edge."
            )


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
