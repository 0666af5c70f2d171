"""The folder truth/: what is known of a set of particles; written by the simulation, read by the score.

Its layout is that of the adk64 and arms64real reference sets, so one reader serves all:

t.npy (p, motions)        coordinate of each particle, 0..1        half.npy (p,)   1 or 2
poses.npy (p, 5)          true rot, tilt, psi, origin x, y (A)      model.npz       atoms, their paths and how to render them
kind.npy (p,)             what each image is (nuisances)          has_arm.npy (p,)  whether the first arm is there
amplitude.npy (p,)        of the molecule, 1 on average, 0: none  defocus.npy (p, 3)  true defocus u, v (A), angle (degrees)
vol_NNN.mrc, volumes_t.npy   maps along the motion                  consensus.mrc, consensus_t.npy   the map halfway
mask_{union,consensus,moving,core}.mrc                              oracle_half{1,2}.mrc   rigid maps, no motion in the data
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from jobtypes.common.masks import raised_cosine
from jobtypes.common.volumes import read_volume, write_volume
from jobtypes.common.whole_files import written_whole
from jobtypes.simulate.motion import MovingModel
from jobtypes.simulate.nuisances import GOOD, JUNK
from jobtypes.simulate.render import AtomRenderer
from relion_jobs.contract.errors import UserError

Array = NDArray[np.float64]

FOLDER = "truth"
MOBILE_ANGSTROMS = 3.0
FIXED_ANGSTROMS = 1.0
MASK_RADIUS_ANGSTROMS = 5.0
MASK_EDGE_PIXELS = 4.0


@dataclass(frozen=True)
class Truth:
    """What is known of p particles.

    Parameters
    ----------
    model
        Atoms and their paths.
    renderer
        Draws them at the scale of the data.
    coordinates
        (p, motions) in 0..1.
    half
        (p,) 1 or 2.
    poses
        (p, 5) true rot, tilt, psi in degrees, origin x, y in A.
    consensus_coordinates
        (motions,) of the map halfway.
    kind
        (p,) what each image is, as in `nuisances`.
    has_arm
        (p,) whether the first arm is there.
    directory
        The folder truth/; None before it is written.
    """

    model: MovingModel
    renderer: AtomRenderer
    coordinates: Array
    half: NDArray[np.int64]
    poses: Array
    consensus_coordinates: Array
    kind: NDArray[np.int64]
    has_arm: NDArray[np.bool_]
    directory: Path | None = None

    @property
    def motions(self) -> int:
        """Number of coordinates."""
        return len(self.consensus_coordinates)

    @property
    def is_judged(self) -> NDArray[np.bool_]:
        """(p,) particles whose motion can be judged: good, whole, at their pose."""
        return np.asarray((self.kind == GOOD) & self.has_arm)

    @property
    def is_junk(self) -> NDArray[np.bool_]:
        """(p,) particles that are not our molecule at its pose."""
        return np.isin(self.kind, JUNK)

    @property
    def scale(self) -> float:
        """All lengths that separate mobile from fixed grow with the magnification of the molecule."""
        return self.renderer.magnification

    @cached_property
    def mobile(self) -> NDArray[np.bool_]:
        """(n,) atoms with more than 3 A (times scale) of rms fluctuation."""
        return np.asarray(self.model.fluctuation > MOBILE_ANGSTROMS * self.scale)

    @property
    def fixed(self) -> NDArray[np.bool_]:
        """(n,) atoms with less than 1 A (times scale) of rms fluctuation."""
        return np.asarray(self.model.fluctuation < FIXED_ANGSTROMS * self.scale)

    def positions(self, coordinates: NDArray[np.floating]) -> NDArray[np.float32]:
        """One conformation: coordinates (motions,) -> (n, 3) A."""
        positions: NDArray[np.float32] = self.model.positions(np.asarray(coordinates, float)[None])[0]
        return positions

    def render(self, coordinates: Array) -> Tensor:
        """Map (N, N, N) of one conformation."""
        return self.renderer.volume(self.positions(coordinates))

    def mask_around(self, positions: NDArray[np.float32]) -> Tensor:
        """Soft mask (N, N, N) within 5 A of atoms (m, 3)."""
        return mask_around(positions, self.renderer.box, self.renderer.pixel_size_angstroms)

    def mobile_mask(self, coordinates: Array) -> Tensor:
        """Soft mask of the mobile atoms in one conformation; zero everywhere where nothing moves."""
        return self.mask_around(self.positions(coordinates)[self.mobile])

    def map(self, name: str) -> Tensor:
        """Read a map of the folder, by its name without ending."""
        if self.directory is None:
            raise ValueError("this truth is not on disk")
        return read_volume(self.directory / f"{name}.mrc").data

    def grid(self) -> Array:
        """Read the conformations in vol_NNN.mrc: (v, motions)."""
        if self.directory is None:
            return grid_coordinates(self.motions)
        return np.atleast_2d(_array(self.directory / "volumes_t.npy"))


def mask_around(positions: NDArray[np.float32], box: int, pixel_size_angstroms: float) -> Tensor:
    """Soft mask (N, N, N): 1 within 5 A of the voxels of atoms (m, 3), with a raised-cosine edge of 4 voxels."""
    nearest = np.rint(positions / pixel_size_angstroms + box // 2).astype(int)
    nearest = nearest[((nearest >= 0) & (nearest < box)).all(1)]
    away = np.ones((box, box, box), dtype=bool)
    away[nearest[:, 2], nearest[:, 1], nearest[:, 0]] = False
    if away.all():
        return torch.zeros((box, box, box))
    outside = ndimage.distance_transform_edt(away) * pixel_size_angstroms > MASK_RADIUS_ANGSTROMS
    distance = torch.from_numpy(ndimage.distance_transform_edt(outside))
    return raised_cosine(distance, 0.0, MASK_EDGE_PIXELS).float()


def grid_coordinates(motions: int) -> Array:
    """Conformations that are written as maps: 10 of one motion, 4 x 4 of two, a single one of a rigid molecule."""
    if motions == 0:
        return np.zeros((1, 0))
    count = 10 if motions == 1 else 4
    steps = (np.arange(count) + 0.5) / count
    return np.array(list(product(steps, repeat=motions)))


def write_truth(directory: Path, truth: Truth, oracle: dict[int, Tensor], *, amplitude: Array, defocus: Array) -> None:
    """Write the folder.

    Parameters
    ----------
    directory
        The folder truth/ itself.
    truth
        What is known.
    oracle
        Half map (N, N, N) of each half without motion.
    amplitude
        (p,) of our molecule, 1 on average; 0 where it is not there.
    defocus
        (p, 3) true u, v in A, angle in degrees.
    """
    directory.mkdir(parents=True, exist_ok=True)
    pixel_size = truth.renderer.pixel_size_angstroms
    arrays: dict[str, NDArray[Any]] = {
        "t": truth.coordinates,
        "half": truth.half,
        "poses": truth.poses,
        "consensus_t": truth.consensus_coordinates,
    }
    arrays |= {"kind": truth.kind, "has_arm": truth.has_arm, "amplitude": amplitude, "defocus": defocus}
    arrays["volumes_t"] = grid_coordinates(truth.motions)
    for name, array in arrays.items():
        with written_whole(directory / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, array)
    _write_model(directory / "model.npz", truth)
    here = truth.positions(truth.consensus_coordinates)
    everywhere = truth.model.path[::4].reshape(-1, 3)
    maps = {"consensus": truth.render(truth.consensus_coordinates)}
    for name, atoms in (("union", everywhere), ("consensus", here), ("moving", here[truth.mobile]), ("core", here[truth.fixed])):
        maps[f"mask_{name}"] = truth.mask_around(atoms)
    maps |= {f"vol_{number:03d}": truth.render(place) for number, place in enumerate(arrays["volumes_t"])}
    maps |= {f"oracle_half{half}": volume for half, volume in oracle.items()}
    for name, volume in maps.items():
        write_volume(directory / f"{name}.mrc", volume, pixel_size)


def _write_model(path: Path, truth: Truth) -> None:
    model, renderer = truth.model, truth.renderer
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            elem=model.elements,
            path=model.path,
            coord=model.driver,
            is_ca=model.is_alpha_carbon,
            chain=model.part,
            resid=model.residue,
            tgrid=np.linspace(0, 1, len(model.path)),
            box=renderer.box,
            apix=renderer.pixel_size_angstroms,
            scale=renderer.magnification,
            bfactor=renderer.bfactor,
            ksol=renderer.solvent_share,
            amp=renderer.amplitude,
        )


def read_truth(directory: Path) -> Truth:
    """Read a folder truth/, or the folder that holds it.

    Raises
    ------
    UserError
        There is no truth, or a file of it is missing or damaged.
    """
    if (directory / FOLDER / "model.npz").is_file():
        directory = directory / FOLDER
    path = directory / "model.npz"
    if not path.is_file():
        raise UserError(f"{directory} holds no known motion (no model.npz); give the truth/ folder of a simulated set.")
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
        model = MovingModel(
            *(stored[name] for name in ("elem", "path", "coord", "is_ca", "chain", "resid")),
        )
        renderer = AtomRenderer(
            int(stored["box"]),
            float(stored["apix"]),
            stored["elem"],
            magnification=float(stored["scale"]),
            bfactor=float(stored["bfactor"]),
            solvent_share=float(stored["ksol"]),
            amplitude=float(stored["amp"]),
        )
    except (KeyError, ValueError, OSError, BadZipFile) as error:
        raise UserError(f"{path} cannot be read as the model of a simulated set ({error}); simulate it again.") from error
    coordinates, half, poses, consensus = (_array(directory / f"{name}.npy") for name in ("t", "half", "poses", "consensus_t"))
    # sets without these two files hold nothing but good, whole particles
    kind, has_arm = np.full(len(half), GOOD), np.ones(len(half), dtype=bool)
    if (directory / "kind.npy").is_file():
        kind, has_arm = _array(directory / "kind.npy"), _array(directory / "has_arm.npy")
    return Truth(model, renderer, coordinates, half, poses, consensus, kind, has_arm, directory)


def _array(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        return array
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read as an array ({error}); write it again.") from error
