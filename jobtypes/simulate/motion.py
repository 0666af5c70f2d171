"""Arms that hinge, bend, fold or turn: the path of every atom between the ends of each motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

from jobtypes.simulate.helices import Array
from jobtypes.simulate.molecule import Arm, Molecule
from relion_jobs.contract.errors import UserError

STEPS = 41
LARGEST_TURN_DEGREES = 150.0
LAID_DEGREES = 75.0
RING_ANGSTROMS = 4.0
CLEAR_ANGSTROMS = 5.0


@dataclass(frozen=True)
class MovingModel:
    """Atoms on known paths, one coordinate in 0..1 per independent motion.

    Parameters
    ----------
    elements
        (n,) element letters.
    path
        (g, n, 3) float32 A: positions at g equally spaced values of the coordinate that drives the atom.
    driver
        (n,) which coordinate drives the atom; -1: none.
    is_alpha_carbon, part, residue
        (n,) labels.
    """

    elements: NDArray[np.str_]
    path: NDArray[np.float32]
    driver: NDArray[np.int64]
    is_alpha_carbon: NDArray[np.bool_]
    part: NDArray[np.int64]
    residue: NDArray[np.int64]

    @property
    def motions(self) -> int:
        """Number of independent motions."""
        return int(self.driver.max()) + 1

    @property
    def is_circle(self) -> NDArray[np.bool_]:
        """(motions,) whether the ends of a motion are the same state."""
        away = np.abs(self.path[-1] - self.path[0]).max(1)
        return np.array([bool(away[self.driver == motion].max() < 0.01) for motion in range(self.motions)], dtype=bool)

    @property
    def fluctuation(self) -> NDArray[np.float32]:
        """(n,) rms distance of each atom from its mean along the path, A."""
        away = self.path - self.path.mean(0)
        fluctuation: NDArray[np.float32] = np.sqrt((away**2).sum(2).mean(0))
        return fluctuation

    def positions(self, coordinates: NDArray[np.floating], atoms: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Conformations, linear between the steps of the path.

        Parameters
        ----------
        coordinates
            (b, motions), clipped to 0..1.
        atoms
            Indices of the atoms wanted; None: all.

        Returns
        -------
        (b, n, 3) float32 A.
        """
        coordinates = np.asarray(coordinates, float)
        path = self.path if atoms is None else self.path[:, atoms]
        driver = self.driver if atoms is None else self.driver[atoms]
        result = np.repeat(path[:1], len(coordinates), axis=0)
        for motion in range(coordinates.shape[1]):
            driven = np.flatnonzero(driver == motion)
            if len(driven) == 0:
                continue
            place = np.clip(coordinates[:, motion], 0, 1) * (len(path) - 1)
            before = np.minimum(place.astype(int), len(path) - 2)
            share = (place - before).astype(np.float32)[:, None, None]
            mine = path[:, driven]
            result[:, driven] = (1 - share) * mine[before] + share * mine[before + 1]
        return result


def make_motion(
    molecule: Molecule, *, motions: int, kind: str, amplitude_angstroms: float, turn_degrees: float = 360.0
) -> MovingModel:
    """Let the arms of a molecule move.

    Arm number i follows motion i modulo `motions`, so that every motion has an arm.

    Parameters
    ----------
    molecule
        The molecule halfway; the arms of a ``turn`` are laid down first.
    motions
        0, 1 or 2 independent motions.
    kind
        ``hinge``: an arm turns as a whole about the point where it is joined; ``bend``: it curves along its length; ``elbow``:
        its outer half turns besides about an elbow; ``turn``: it lies across the core and turns over it.
    amplitude_angstroms
        Distance between the ends of the motion, averaged over the moving atoms; not used by a ``turn``.
    turn_degrees
        Angle between the ends of a ``turn``.

    Raises
    ------
    UserError
        The arms are too short for the amplitude, or there are fewer arms than motions.
    """
    if motions > len(molecule.arms):
        raise UserError(
            f"nr_motions is {motions} but the molecule has {len(molecule.arms)} arms; give nr_arms at least {motions}."
        )
    path = np.repeat(molecule.positions[None].astype(np.float32), STEPS if motions else 2, axis=0)
    driver = np.full(len(molecule.positions), -1, dtype=np.int64)
    for number, arm in enumerate(molecule.arms if motions else ()):
        atoms = np.flatnonzero(molecule.part == number + 1)
        driver[atoms] = number % motions
        positions = molecule.positions[atoms]
        if kind == "turn":
            laid = laid_down(positions, arm, molecule.positions[molecule.part == 0])
            path[:, atoms] = turning_path(laid, arm, np.deg2rad(turn_degrees))
        else:
            path[:, atoms] = arm_path(positions, arm, kind=kind, amplitude_angstroms=amplitude_angstroms)
    return MovingModel(molecule.elements, path, driver, molecule.is_alpha_carbon, molecule.part, molecule.residue)


def arm_path(positions: Array, arm: Arm, *, kind: str, amplitude_angstroms: float) -> Array:
    """Path (STEPS, n, 3) of an arm that swings by the same angle to both sides of `positions` (n, 3)."""
    turn = {"hinge": hinged, "bend": bent, "elbow": folded}[kind]
    limit = np.deg2rad(LARGEST_TURN_DEGREES)

    def excess(angle: float) -> float:
        ends = turn(positions, arm, angle / 2) - turn(positions, arm, -angle / 2)
        return float(np.linalg.norm(ends, axis=1).mean()) - amplitude_angstroms

    if excess(limit) < 0:
        longest = excess(limit) + amplitude_angstroms
        raise UserError(
            f"amplitude is {amplitude_angstroms:g} A, but these arms reach no more than {longest:.0f} A by a {kind}; "
            f"give less, or longer arms (larger arm_share or fewer arms)."
        )
    angle = brentq(excess, 0.0, limit)
    return np.stack([turn(positions, arm, angle * (share - 0.5)) for share in np.linspace(0, 1, STEPS)])


def hinged(positions: Array, arm: Arm, angle: float) -> Array:
    """Turn atoms (n, 3) by `angle` radians about the arm's axis through its hinge."""
    side = np.cross(arm.axis, arm.direction)
    x, y, z = coordinates(positions, arm)
    along = z * np.cos(angle) - y * np.sin(angle)
    across = z * np.sin(angle) + y * np.cos(angle)
    turned: Array = arm.hinge + x[:, None] * arm.axis + across[:, None] * side + along[:, None] * arm.direction
    return turned


def bent(positions: Array, arm: Arm, angle: float) -> Array:
    """Bend the arm into an arc whose tangent has turned by `angle` radians at its end; the cross-sections stay plane."""
    side = np.cross(arm.axis, arm.direction)
    x, y, z = coordinates(positions, arm)
    length = float(z.max())
    turned = angle * z / length
    # sin(a)/a and (1 - cos(a))/a of the arc, safe at zero angle
    centre_along = z * np.sinc(turned / np.pi)
    centre_across = z * np.sin(turned / 2) * np.sinc(turned / (2 * np.pi))
    along = centre_along - y * np.sin(turned)
    across = centre_across + y * np.cos(turned)
    return arm.hinge + x[:, None] * arm.axis + across[:, None] * side + along[:, None] * arm.direction


def folded(positions: Array, arm: Arm, angle: float) -> Array:
    """Turn the arm by `angle` radians about its hinge, and its outer half besides about an elbow, out of that plane."""
    z = coordinates(positions, arm)[2]
    middle = float(z.max()) / 2
    elbow = Arm(arm.hinge + middle * arm.direction, arm.direction, np.cross(arm.direction, arm.axis))
    outer = z > middle
    positions = np.where(outer[:, None], hinged(positions, elbow, angle), positions)
    return hinged(positions, arm, angle)


def laid_down(positions: Array, arm: Arm, core: Array) -> Array:
    """Lay an arm (n, 3) across the core (c, 3), so that it clears it all around when it turns about its direction."""
    laid = hinged(positions, arm, np.deg2rad(LAID_DEGREES))
    (core_ring, core_height), (ring, height) = (_rings(atoms, arm) for atoms in (core, laid))
    top, bottom = np.full(ring.max() + 1, -np.inf), np.full(ring.max() + 1, np.inf)
    below = core_ring <= ring.max()
    np.maximum.at(top, core_ring[below], core_height[below])
    np.minimum.at(bottom, ring, height)
    return laid + (float((top - bottom).max()) + CLEAR_ANGSTROMS) * arm.direction


def _rings(atoms: Array, arm: Arm) -> tuple[NDArray[np.int64], Array]:
    """Number of the ring about the arm's direction that each atom (n, 3) lies in, and its height over the hinge."""
    x, y, z = coordinates(atoms, arm)
    return (np.hypot(x, y) / RING_ANGSTROMS).astype(np.int64), z


def turning_path(positions: Array, arm: Arm, angle: float) -> Array:
    """Path (STEPS, n, 3) of an arm that turns by `angle` radians about its direction, `positions` (n, 3) halfway."""
    turns = Rotation.from_rotvec(angle * (np.linspace(0, 1, STEPS) - 0.5)[:, None] * arm.direction).as_matrix()
    path: Array = (positions - arm.hinge) @ turns.transpose(0, 2, 1) + arm.hinge
    return path


def coordinates(positions: Array, arm: Arm) -> tuple[Array, Array, Array]:
    """Coordinates of atoms (n, 3) in the arm's frame: along its axis, across, along its direction."""
    from_hinge = positions - arm.hinge
    return from_hinge @ arm.axis, from_hinge @ np.cross(arm.axis, arm.direction), from_hinge @ arm.direction
