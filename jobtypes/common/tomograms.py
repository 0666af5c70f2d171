"""Tilt series as RELION 5 describes them: how each frame sees the tomogram, its defocus and its dose.

A *frame* is one tilt image of a tilt series, a row of its table. Points of the tomogram are in A from its centre, in the order
x, y, z.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from jobtypes.common.star_tables import StarTable, read_tables
from relion_jobs.contract.errors import BadStarFile, UserError

NAME = "rlnTomoName"
PIXEL_SIZE = "rlnTomoTiltSeriesPixelSize"
MICROSCOPE = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", PIXEL_SIZE)
_SERIES, _HAND, _SLOPE = "rlnTomoTiltSeriesStarFile", "rlnTomoHand", "rlnTomoDefocusSlope"
_BFACTOR_PER_DOSE = "rlnCtfBfactorPerElectronDose"
_SIZES = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")
_DOSE = "rlnMicrographPreExposure"
_FRAME_REQUIRED = ("rlnTomoYTilt", "rlnTomoZRot", _DOSE, "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
_FRAME_DEFAULTS = {"rlnTomoXTilt": 0.0, "rlnCtfScalefactor": 1.0, "rlnPhaseShift": 0.0}
_REMEDY = "give the tomograms.star that RELION 5 wrote with these particles"
OF_RELION_4 = "import the tilt series into RELION 5, and extract the particles there as 2D stacks"


@dataclass(frozen=True)
class Tomogram:
    """A tomogram and the f frames of its tilt series.

    Attributes
    ----------
    name
        rlnTomoName.
    microscope : (4,)
        Voltage (kV), spherical aberration (mm), amplitude contrast, and pixel size of the tilt images (A).
    centre_pixels : (3,)
        Half its size, in pixels of the tilt images; NaN where the table does not say it.
    depth_sign
        What a depth (A) along the beam is multiplied by to be added to the defocus.
    bfactor_per_dose
        A^2 per e/A^2 by which dose dampens where it is above 0; otherwise the curve of `ctf.dose_damping` holds.
    projections : (f, 3, 3)
        Rotation from the tomogram to each frame.
    defocus_u_angstroms, defocus_v_angstroms, defocus_angle_degrees, phase_shift_degrees : (f,)
        At the tomogram's centre.
    dose : (f,)
        e/A^2 before each frame.
    scale : (f,)
        Strength of its signal.
    """

    name: str
    microscope: NDArray[np.float64]
    centre_pixels: NDArray[np.float64]
    depth_sign: float
    bfactor_per_dose: float
    projections: NDArray[np.float64]
    defocus_u_angstroms: NDArray[np.float64]
    defocus_v_angstroms: NDArray[np.float64]
    defocus_angle_degrees: NDArray[np.float64]
    phase_shift_degrees: NDArray[np.float64]
    dose: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.dose)


def read_tomograms(path: Path, names: Iterable[str], project: Path) -> dict[str, Tomogram]:
    """Read tomograms.star and the tilt series of some tomograms.

    Parameters
    ----------
    path
        tomograms.star.
    names
        rlnTomoName of each that is needed.
    project
        Directory that its paths are relative to.

    Raises
    ------
    UserError
        A file is missing, was written by RELION 4, or says something that cannot be; a tomogram is not in the table.
    """
    table = read_tables(path).get("global")
    if table is None:
        raise UserError(f"{path} has no table data_global, so it is no table of tomograms; {_REMEDY}.")
    if _SERIES not in table.columns:
        raise UserError(f"{path} has no column _{_SERIES}, so RELION 4 wrote it, which is not supported; {OF_RELION_4}.")
    numbers = _numbers(
        table, (*MICROSCOPE, _HAND), {_SLOPE: 1.0, _BFACTOR_PER_DOSE: 0.0} | dict.fromkeys(_SIZES, np.nan), _REMEDY
    )
    texts = table.read(texts=(NAME, _SERIES))
    row_of = {name: row for row, name in enumerate(texts[NAME])}
    tomograms = {}
    for name in names:
        if name not in row_of:
            known = ", ".join(list(row_of)[:3])
            raise UserError(f"{path} has no tomogram {name}, of which there are particles; it has {known} ...; {_REMEDY}.")
        row = row_of[name]
        if abs(numbers[_HAND][row]) != 1:
            raise BadStarFile(
                f"{path}: column _{_HAND} of data_global is {numbers[_HAND][row]:g} in {table.where(row)}; expected 1 or -1."
            )
        of_tomogram = {column: float(values[row]) for column, values in numbers.items()}
        tomograms[name] = _with_frames(name, of_tomogram, project / texts[_SERIES][row])
    return tomograms


def _with_frames(name: str, of_tomogram: dict[str, float], path: Path) -> Tomogram:
    table = read_tables(path).get(name)
    if table is None or not len(table):
        raise UserError(f"{path} has no table data_{name} with frames of this tomogram; {_REMEDY}.")
    if "rlnTomoYTilt" not in table.columns and "rlnTomoProjX" in table.columns:
        raise UserError(f"{path}: data_{name} holds projection matrices of RELION 4, not supported; {OF_RELION_4}.")
    frames = _numbers(table, _FRAME_REQUIRED, _FRAME_DEFAULTS, _REMEDY)
    bad = np.flatnonzero(frames[_DOSE] < 0)
    if len(bad):
        raise BadStarFile(
            f"{path}: column _{_DOSE} of data_{name} is {frames[_DOSE][bad[0]]:g} in {table.where(int(bad[0]))}; expected a dose "
            "in e/A^2, of 0 or more."
        )
    return Tomogram(
        name=name,
        microscope=np.array([of_tomogram[column] for column in MICROSCOPE]),
        centre_pixels=np.array([of_tomogram[column] for column in _SIZES]) / 2,
        depth_sign=of_tomogram[_HAND] * of_tomogram[_SLOPE],
        bfactor_per_dose=max(0.0, of_tomogram[_BFACTOR_PER_DOSE]),
        projections=_projections(frames),
        defocus_u_angstroms=frames["rlnDefocusU"],
        defocus_v_angstroms=frames["rlnDefocusV"],
        defocus_angle_degrees=frames["rlnDefocusAngle"],
        phase_shift_degrees=frames["rlnPhaseShift"],
        dose=frames[_DOSE],
        scale=frames["rlnCtfScalefactor"],
    )


def _projections(frames: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """(f, 3, 3) Rz Ry Rx: about x first, each an ordinary rotation, which are not those of RELION's Euler angles."""
    tilts = np.stack([frames[name] for name in ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot")], axis=1)
    matrices: NDArray[np.float64] = Rotation.from_euler("xyz", tilts, degrees=True).as_matrix()
    return matrices


def _numbers(
    table: StarTable, required: tuple[str, ...], defaults: dict[str, float], remedy: str
) -> dict[str, NDArray[np.float64]]:
    """Columns as numbers; optional ones that are missing have their default in every row."""
    for column in required:
        if column not in table.columns:
            raise table.lacks(column, remedy)
    values = table.read(numbers=(*required, *(column for column in defaults if column in table.columns)))
    return {column: np.full(len(table), default) for column, default in defaults.items()} | values
