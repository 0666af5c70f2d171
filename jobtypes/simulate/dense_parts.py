"""Parts of a core that are denser than protein: a belt like that of a micelle, a rod like a nucleic acid."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from jobtypes.simulate.helices import Array
from jobtypes.simulate.molecule import rotation_from_z
from jobtypes.simulate.motion import MovingModel

# All of their pseudo-atoms are the strongest that can be rendered (and that readers of truth/model.npz know), which stands for
# phosphate and the ions about it.
ELEMENT = "S"

# Pseudo-atoms of one nucleotide near those of B-form DNA: x to the minor groove, y along the base pair, z (A). With both strands
# and grooves it is 1.7 times as dense as our protein.
NUCLEOTIDE = (
    (-0.8, 8.9, 2.1),  # phosphate
    (-0.2, 10.2, 1.9),
    (-2.0, 8.6, 3.3),
    (0.3, 7.7, 1.8),
    (1.4, 7.6, 2.8),  # sugar
    (2.6, 7.1, 2.0),
    (2.5, 5.7, 1.8),
    (2.8, 7.7, 0.7),
    (3.7, 7.9, -0.3),
    (2.0, 6.8, -0.2),
    (2.3, 5.4, 0.5),
    (1.5, 4.4, 0.2),  # base
    (2.0, 3.2, 0.1),
    (1.2, 2.1, 0.0),
    (-0.1, 2.3, 0.0),
    (-0.6, 3.6, 0.1),
    (0.2, 4.8, 0.2),
    (-0.9, 1.3, -0.1),
    (3.2, 3.0, 0.1),
)
BASE_PAIR_RISE_ANGSTROMS = 3.38
BASE_PAIR_TWIST_DEGREES = 36.0
ROD_CORE_RADII = 1.6  # its length

# 1.7 times the scattering of our protein too, which is 0.105 A per cubic A, at 5.2 A a head
HEADS_PER_CUBIC_ANGSTROM = 0.035
SHELL_THICKNESS_ANGSTROMS = 9.0
SHELL_HALF_HEIGHT_ANGSTROMS = 20.0
CLEAR_ANGSTROMS = 3.5


def add_dense_part(model: MovingModel, kind: str, rng: np.random.Generator) -> MovingModel:
    """Add atoms to the core that stand clear of all others on their whole path.

    Parameters
    ----------
    model
        Molecule and paths; centred on the origin.
    kind
        ``none``, ``shell`` (a belt about the core, its axis along the arms) or ``rod`` (a double helix that lies on the
        core where the arms are far).
    rng
        Where heads and rod lie.
    """
    if kind == "none":
        return model
    taken = cKDTree(model.path[::4].reshape(-1, 3))
    positions = {"shell": _shell, "rod": _rod}[kind](model, taken, rng)
    count = len(positions)
    residue = int(model.residue.max()) + 1 + np.arange(count)
    return MovingModel(
        elements=np.concatenate([model.elements, np.full(count, ELEMENT)]),
        path=np.concatenate([model.path, np.repeat(positions[None].astype(np.float32), len(model.path), axis=0)], axis=1),
        driver=np.concatenate([model.driver, np.full(count, -1)]),
        is_alpha_carbon=np.concatenate([model.is_alpha_carbon, np.zeros(count, bool)]),
        part=np.concatenate([model.part, np.zeros(count, np.int64)]),
        residue=np.concatenate([model.residue, residue]),
    )


def _core(model: MovingModel) -> tuple[Array, float]:
    """Centre (3,) of the core and the radius of the ball that holds nine tenths of it, A."""
    atoms = model.path[0, model.part == 0].astype(float)
    centre = atoms.mean(0)
    return centre, float(np.quantile(np.linalg.norm(atoms - centre, axis=1), 0.9))


def _arm_directions(model: MovingModel, centre: Array) -> Array:
    """Unit vectors (a, 3) from the core's centre to the middle of each arm."""
    arms = [model.path[:, model.part == number].mean((0, 1)) - centre for number in range(1, int(model.part.max()) + 1)]
    return np.array([arm / np.linalg.norm(arm) for arm in arms]).reshape(-1, 3)


def _shell(model: MovingModel, taken: cKDTree, rng: np.random.Generator) -> Array:
    centre, radius = _core(model)
    along = _arm_directions(model, centre).sum(0)
    axis = along / np.linalg.norm(along) if np.linalg.norm(along) > 0.1 else np.array([0.0, 0.0, 1.0])
    outer = np.array([radius + SHELL_THICKNESS_ANGSTROMS, radius + SHELL_THICKNESS_ANGSTROMS, SHELL_HALF_HEIGHT_ANGSTROMS])
    # a lattice with jitter: at random, heads would make lumps
    spacing = HEADS_PER_CUBIC_ANGSTROM ** (-1 / 3)
    steps = np.arange(-outer.max(), outer.max(), spacing)
    heads = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    heads = heads + rng.normal(0, spacing / 4, heads.shape)
    within = np.linalg.norm(heads / outer, axis=1) < 1
    inside = np.linalg.norm(heads / (outer - SHELL_THICKNESS_ANGSTROMS), axis=1) < 1
    positions = heads[within & ~inside] @ rotation_from_z(axis).T + centre
    clear: Array = positions[taken.query(positions)[0] > CLEAR_ANGSTROMS]
    return clear


def _rod(model: MovingModel, taken: cKDTree, rng: np.random.Generator) -> Array:
    centre, radius = _core(model)
    candidates = rng.normal(size=(100, 3))
    candidates /= np.linalg.norm(candidates, axis=1, keepdims=True)
    arms = _arm_directions(model, centre)
    away = candidates[int((candidates @ arms.T).max(1).argmin())] if len(arms) else candidates[0]
    lying = rotation_from_z(away) @ Rotation.from_euler("zy", [rng.uniform(0, 360), 90], degrees=True).as_matrix()
    atoms = double_helix(round(ROD_CORE_RADII * radius / BASE_PAIR_RISE_ANGSTROMS))
    atoms = atoms @ lying.T + centre
    height = 0.0
    while taken.query(atoms + height * away)[0].min() < CLEAR_ANGSTROMS:
        height += 1.0
    lifted: Array = atoms + height * away
    return lifted


def double_helix(base_pairs: int) -> Array:
    """Atoms (n, 3) A of a right-handed double helix along z, centred."""
    one = np.array(NUCLEOTIDE)
    pair = np.concatenate([one, one * np.array([1.0, -1.0, -1.0])])  # the second strand: half a turn about the dyad, x
    number = np.arange(base_pairs) - (base_pairs - 1) / 2
    turns = Rotation.from_euler("z", number[:, None] * BASE_PAIR_TWIST_DEGREES, degrees=True).as_matrix()
    atoms: Array = pair @ turns.transpose(0, 2, 1)
    atoms[..., 2] += BASE_PAIR_RISE_ANGSTROMS * number[:, None]
    return atoms.reshape(-1, 3)
