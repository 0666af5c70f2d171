"""Bundles of alpha helices: pseudo-atoms at the density of protein.

Protein is close to hexagonally packed helices: 1.5 A of rise per residue and 10.2 A between axes give 135 A^3 per residue of
110 Da, which is protein's 0.81 Da/A^3. Maps of such bundles have realistic power from the size of the molecule to Nyquist:
helix packing at 10 A, the pitch at 5.4 A.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

DALTON_PER_RESIDUE = 110.0
AXIS_SPACING_ANGSTROMS = 10.2
RISE_ANGSTROMS = 1.5
TURN_DEGREES = 100.0

# Pseudo-atoms of one residue in cylinder coordinates of the right-handed alpha helix: element, radius (A), angle (degrees),
# height (A).
# The last two stand for the side chain and are jittered.
RESIDUE = (
    ("N", 1.55, -27.5, -0.9),
    ("C", 2.29, 0.0, 0.0),
    ("C", 1.65, 26.5, 1.1),
    ("O", 2.00, 21.0, 2.3),
    ("C", 3.30, -18.0, -0.2),
    ("C", 4.70, -22.0, -0.6),
)
ALPHA_CARBON = 1
SIDE_CHAIN = (5,)


@dataclass(frozen=True)
class Residues:
    """Residues of r pseudo-atoms each, where r = len(RESIDUE).

    Parameters
    ----------
    atoms
        (n, r, 3) A.
    """

    atoms: Array

    @property
    def alpha_carbons(self) -> Array:
        """(n, 3) A."""
        return self.atoms[:, ALPHA_CARBON]

    def select(self, rows: NDArray[np.generic]) -> Residues:
        """Take the residues of these rows (a mask or indices)."""
        return Residues(self.atoms[rows])


def helix(residues: int, rng: np.random.Generator) -> Array:
    """One helix along z, centred, its phase, its direction and its side chains at random: (residues, r, 3) A."""
    radius, angle, height = (np.array([atom[k] for atom in RESIDUE], dtype=float) for k in (1, 2, 3))
    number = np.arange(residues)[:, None]
    radius = np.broadcast_to(radius, (residues, len(RESIDUE))).copy()
    angle = angle + TURN_DEGREES * number + rng.uniform(0, 360)
    height = height + RISE_ANGSTROMS * (number - (residues - 1) / 2)
    for atom in SIDE_CHAIN:
        radius[:, atom] += rng.normal(0, 0.5, residues)
        angle[:, atom] += rng.normal(0, 20, residues)
        height[:, atom] += rng.normal(0, 0.7, residues)
    phi = np.deg2rad(angle)
    atoms = np.stack([radius * np.cos(phi), radius * np.sin(phi), height], axis=-1)
    # half of the helices run the other way: turned about x, so that all stay right-handed
    return atoms * np.array([1.0, -1.0, -1.0]) if rng.random() < 0.5 else atoms


def hexagonal_axes(radius: float) -> Array:
    """Points of the hexagonal lattice within `radius` A of the origin, nearest first: (n, 2) A."""
    count = int(np.ceil(radius / AXIS_SPACING_ANGSTROMS)) + 2
    i, j = np.meshgrid(np.arange(-2 * count, 2 * count + 1), np.arange(-count, count + 1), indexing="ij")
    points = AXIS_SPACING_ANGSTROMS * np.stack([i + 0.5 * j, np.sqrt(0.75) * j], axis=-1).reshape(-1, 2)
    distance = np.hypot(*points.T)
    order = np.argsort(distance, kind="stable")
    nearest_first: Array = points[order[distance[order] <= radius]]
    return nearest_first


def filled_ball(radius: float, frame: Array, rng: np.random.Generator) -> Residues:
    """Helices that fill a ball around the origin, their common direction the third column of `frame`.

    Parameters
    ----------
    radius
        A.
    frame
        (3, 3) rotation; axes of the bundle as columns.
    rng
        Phases, directions, breaks and side chains.
    """
    pieces = []
    for axis in hexagonal_axes(radius):
        end = np.sqrt(max(radius**2 - axis @ axis, 0.0))
        top = -end - rng.uniform(0, 20)
        while top < end:
            residues = int(rng.integers(12, 26))
            length = residues * RISE_ANGSTROMS
            # a little tilt and slip: a perfect lattice would be a crystal, with all its power at 10 A
            tilt = Rotation.from_rotvec(np.deg2rad([*rng.normal(0, 6, 2), 0.0])).as_matrix()
            middle = np.array([*(axis + rng.normal(0, 0.5, 2)), top + length / 2])
            atoms = helix(residues, rng) @ tilt.T + middle
            pieces.append(atoms)
            top += length + 3.0  # the gap of a loop
    return Residues(np.concatenate(pieces) @ frame.T)


def rod(residues: int, helices: int, rng: np.random.Generator) -> Residues:
    """Bundle parallel helices along z, from z = 0 upwards, centred on the z axis; exactly `residues` residues."""
    axes = hexagonal_axes(AXIS_SPACING_ANGSTROMS * (1 + np.sqrt(helices)))[:helices]
    axes = axes - axes.mean(0)
    lengths = np.full(helices, residues // helices)
    lengths[: residues % helices] += 1
    pieces = []
    for axis, length in zip(axes, lengths, strict=True):
        if length:
            bottom = length * RISE_ANGSTROMS / 2
            pieces.append(helix(int(length), rng) + np.array([*axis, bottom]))
    return Residues(np.concatenate(pieces))
