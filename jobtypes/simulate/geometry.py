"""Poses: RELION's angles and origins, true ones and ones with errors.

RELION: r_image = A(rot, tilt, psi) r_map, and the projection is moved by -origin. Built on scipy's rotations, not on
`jobtypes.common.rotations`, so that a mistake there shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

SIDE_VIEW_SPREAD_DEGREES = 10.0


@dataclass(frozen=True)
class Poses:
    """Poses of p particles.

    Parameters
    ----------
    matrices
        (p, 3, 3); r_image = A r_map.
    origins_angstroms
        (p, 2) x y, as in rlnOriginXAngst and rlnOriginYAngst; (p, 3) in the axes of a tomogram.
    """

    matrices: Array
    origins_angstroms: Array

    @property
    def angles_degrees(self) -> Array:
        """(p, 3) rot, tilt, psi."""
        return angles_of(self.matrices)

    def as_columns(self) -> Array:
        """(p, 5) rot, tilt, psi in degrees, origin x, y in A; (p, 6) in a tomogram."""
        return np.concatenate([self.angles_degrees, self.origins_angstroms], axis=1)

    def turned_where(self, chosen: NDArray[np.bool_], matrices: Array) -> Poses:
        """Take the orientations of `matrices` (p, 3, 3) where `chosen` (p,) says so."""
        return Poses(np.where(chosen[:, None, None], matrices, self.matrices), self.origins_angstroms)


def matrices_of(angles_degrees: Array) -> Array:
    """Rotation matrices A (p, 3, 3) of RELION angles rot, tilt, psi (p, 3)."""
    # A turns the frame, scipy's matrices turn the vectors: the transpose
    matrices: Array = Rotation.from_euler("ZYZ", angles_degrees, degrees=True).as_matrix().transpose(0, 2, 1)
    return matrices


def angles_of(matrices: Array) -> Array:
    """RELION angles rot, tilt, psi (p, 3) of rotation matrices A (p, 3, 3)."""
    rot = np.arctan2(matrices[:, 2, 1], matrices[:, 2, 0])
    tilt = np.arctan2(np.hypot(matrices[:, 2, 0], matrices[:, 2, 1]), matrices[:, 2, 2])
    psi = np.arctan2(matrices[:, 1, 2], -matrices[:, 0, 2])
    angles_degrees: Array = np.rad2deg(np.stack([rot, tilt, psi], axis=1))
    return angles_degrees


def random_poses(particles: int, rng: np.random.Generator, *, shift_range_angstroms: float) -> Poses:
    """Uniform directions and origins that are normal with standard deviation `shift_range_angstroms` / 2, cut at the range."""
    matrices = Rotation.random(particles, random_state=rng).as_matrix()
    origins = rng.normal(0, shift_range_angstroms / 2, (particles, 2))
    return Poses(matrices, np.clip(origins, -shift_range_angstroms, shift_range_angstroms))


def with_depth(poses: Poses, rng: np.random.Generator, *, shift_range_angstroms: float) -> Poses:
    """Poses in a tomogram, whose origins (p, 3) have a z too."""
    z = np.clip(rng.normal(0, shift_range_angstroms / 2, len(poses.matrices)), -shift_range_angstroms, shift_range_angstroms)
    return Poses(poses.matrices, np.column_stack([poses.origins_angstroms, z]))


def side_views(particles: int, rng: np.random.Generator) -> Array:
    """Orientations (p, 3, 3) seen from the side: a tilt of 90 degrees within 10 or so, rot and psi even."""
    rot, psi = rng.uniform(-180, 180, (2, particles))
    return matrices_of(np.stack([rot, rng.normal(90, SIDE_VIEW_SPREAD_DEGREES, particles), psi], axis=1))


def with_errors(poses: Poses, rng: np.random.Generator, *, angle_degrees: float, shift_angstroms: float) -> Poses:
    """Poses as a refinement would find them.

    Parameters
    ----------
    poses
        The true ones.
    rng
        Errors.
    angle_degrees
        Standard deviation of the turn about each axis of the image frame.
    shift_angstroms
        Standard deviation of each origin coordinate.
    """
    turn = Rotation.from_rotvec(rng.normal(0, np.deg2rad(angle_degrees), (len(poses.matrices), 3))).as_matrix()
    errors = rng.normal(0, shift_angstroms, poses.origins_angstroms.shape)
    return Poses(turn @ poses.matrices, poses.origins_angstroms + errors)
