"""A molecule made in code: an asymmetric rigid core of helix bundles and arms that stick out of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from jobtypes.simulate.helices import ALPHA_CARBON, DALTON_PER_RESIDUE, RESIDUE, Array, Residues, filled_ball, rod

PROTEIN_DALTON_PER_CUBIC_ANGSTROM = 0.81
LINKER_ANGSTROMS = 4.0


@dataclass(frozen=True)
class Arm:
    """Where an arm is joined to the core.

    Parameters
    ----------
    hinge
        (3,) A; the point that stays.
    direction
        (3,) unit vector along the arm, away from the core.
    axis
        (3,) unit vector that the arm turns about, perpendicular to `direction`.
    """

    hinge: Array
    direction: Array
    axis: Array


@dataclass(frozen=True)
class Molecule:
    """Atoms and arms, centred on the centre of mass.

    Parameters
    ----------
    elements
        (n,) element letters.
    positions
        (n, 3) A from the box centre, x y z.
    part
        (n,) 0 for the core, 1, 2, ... for the arms.
    residue
        (n,) number of the residue, from 1.
    is_alpha_carbon
        (n,) bool.
    arms
        In the order of `part`.
    """

    elements: NDArray[np.str_]
    positions: Array
    part: NDArray[np.int64]
    residue: NDArray[np.int64]
    is_alpha_carbon: NDArray[np.bool_]
    arms: tuple[Arm, ...]


def make_molecule(rng: np.random.Generator, *, core_kilodaltons: float, arms: int, arm_share: float) -> Molecule:
    """Build a molecule.

    Parameters
    ----------
    rng
        Shape of the core, places of the arms, side chains.
    core_kilodaltons
        Mass of the core.
    arms
        Number of arms; may be 0.
    arm_share
        Share of the whole mass that all arms hold together, 0..1.
    """
    core_residues = round(1000 * core_kilodaltons / DALTON_PER_RESIDUE)
    arm_residues = round(core_residues * arm_share / (1 - arm_share) / max(arms, 1))
    core = make_core(core_residues, rng)
    pieces, joints = [core], []
    for direction in spread_directions(arms, rng):
        piece, arm = make_arm(core, direction, residues=max(arm_residues, 4), rng=rng)
        pieces.append(piece)
        joints.append(arm)
    return assemble(pieces, joints)


def make_core(residues: int, rng: np.random.Generator) -> Residues:
    """Make a globule of five overlapping balls, each with helices of its own direction; exactly `residues` residues."""
    volume = residues * DALTON_PER_RESIDUE / PROTEIN_DALTON_PER_CUBIC_ANGSTROM
    radius = (3 * volume / (4 * np.pi)) ** (1 / 3)
    radii = radius * np.array([0.85, 0.66, 0.6, 0.52, 0.45])
    outward = spread_directions(4, rng)
    centres = np.concatenate([np.zeros((1, 3)), outward * 0.75 * radius * rng.uniform(0.85, 1.15, (4, 1))])
    frames = Rotation.random(len(radii), random_state=rng).as_matrix()
    chosen, depth = [], []
    for ball, (centre, frame) in enumerate(zip(centres, frames, strict=True)):
        filled = filled_ball(1.5 * radii[ball], frame, rng)
        atoms = filled.atoms + centre
        reduced = np.linalg.norm(atoms[:, ALPHA_CARBON, None] - centres, axis=-1) / radii  # (n, balls)
        own = reduced.argmin(1) == ball
        chosen.append(atoms[own])
        depth.append(reduced[own].min(1))
    # the innermost residues: exact mass, smooth surface
    order = np.argsort(np.concatenate(depth), kind="stable")
    if len(order) < residues:
        raise ValueError(f"the balls hold {len(order)} residues, fewer than the {residues} of the core")
    return Residues(np.concatenate(chosen)[order[:residues]])


def spread_directions(count: int, rng: np.random.Generator) -> Array:
    """Draw unit vectors far from each other but in no symmetric arrangement: (count, 3)."""
    chosen: list[Array] = []
    for _ in range(count):
        candidates = rng.normal(size=(24, 3))
        candidates /= np.linalg.norm(candidates, axis=1, keepdims=True)
        if chosen:
            nearest = (candidates @ np.array(chosen).T).max(1)
            candidates = candidates[[int(nearest.argmin())]]
        chosen.append(candidates[0])
    return np.array(chosen).reshape(-1, 3)


def make_arm(core: Residues, direction: Array, *, residues: int, rng: np.random.Generator) -> tuple[Residues, Arm]:
    """Stand a rod of helices on the core's surface, pointing along `direction`; the rod and its joint."""
    helices = max(2, round((residues / 12) ** 0.6))
    bundle = rod(residues, helices, rng)
    width = np.hypot(*bundle.atoms[..., :2].reshape(-1, 2).T).max()
    carbons = core.alpha_carbons - core.alpha_carbons.mean(0)
    along = carbons @ direction
    # all of the rod's foot must stand clear of the core
    under = np.linalg.norm(carbons - along[:, None] * direction, axis=1) < width + 2.0
    surface = float(along[under].max() if under.any() else along.max())
    frame = rotation_from_z(direction) @ Rotation.from_euler("z", rng.uniform(0, 2 * np.pi)).as_matrix()
    hinge = core.alpha_carbons.mean(0) + surface * direction
    atoms = bundle.atoms @ frame.T + hinge + LINKER_ANGSTROMS * direction
    return Residues(atoms), Arm(hinge, direction, frame[:, 0])


def rotation_from_z(direction: Array) -> Array:
    """Find a rotation (3, 3) that takes z to the unit vector `direction`."""
    other = np.eye(3)[int(np.abs(direction).argmin())]
    x = np.cross(other, direction)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(direction, x), direction], axis=1)


def assemble(pieces: list[Residues], joints: list[Arm]) -> Molecule:
    """Core and arms as one list of atoms about their centre of mass."""
    counts = [len(piece.atoms) for piece in pieces]
    atoms = np.concatenate([piece.atoms for piece in pieces])
    centre = atoms.mean((0, 1))
    per_residue = len(RESIDUE)
    is_alpha_carbon = np.arange(per_residue) == ALPHA_CARBON
    return Molecule(
        elements=np.tile(np.array([atom[0] for atom in RESIDUE]), len(atoms)),
        positions=(atoms - centre).reshape(-1, 3),
        part=np.repeat(np.arange(len(pieces)), np.array(counts) * per_residue),
        residue=np.repeat(np.arange(1, len(atoms) + 1), per_residue),
        is_alpha_carbon=np.tile(is_alpha_carbon, len(atoms)),
        arms=tuple(Arm(joint.hinge - centre, joint.direction, joint.axis) for joint in joints),
    )
