"""Atomic models as files: PDB and mmCIF, read and written by gemmi; nothing but coordinates is changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common.whole_files import written_whole
from relion_jobs.contract.errors import UserError

_LARGEST_B_FACTOR = 999.99  # that the columns of a PDB file hold
_PDB, _MMCIF = (".pdb", ".ent"), (".cif", ".mmcif")
_BACKBONE = frozenset(("N", "CA", "C", "O", "OXT", "P", "OP1", "OP2", "OP3", "O1P", "O2P", "O3P"))
_OF_SUGARS = ("'", "*")  # the names of their atoms end so


class AtomicModel:
    """A model whose atoms can be moved.

    Parameters
    ----------
    path
        PDB or mmCIF file, known by its ending (.pdb, .ent, .cif, .mmcif), compressed or not (.gz).

    Raises
    ------
    UserError
        gemmi is not installed, the file cannot be read as a model, or it has no atoms.
    """

    def __init__(self, path: Path) -> None:
        gemmi = _gemmi()
        if not path.is_file():
            raise UserError(f"The atomic model {path} does not exist.")
        format_of(path.with_suffix("") if path.suffix == ".gz" else path)
        try:
            self._structure: Any = gemmi.read_structure(str(path))
        except (RuntimeError, ValueError, OSError) as error:
            first = (str(error).splitlines() or ["no reason given"])[0]
            raise UserError(f"The atomic model {path} cannot be read as PDB or mmCIF: {first}.") from error
        self.path = path
        self._atoms = [atom for model in self._structure for chain in model for residue in chain for atom in residue]
        if not self._atoms:
            raise UserError(f"The atomic model {path} holds no atoms.")
        if not bool(torch.isfinite(self.positions).all()):
            raise UserError(f"The atomic model {path} holds a coordinate that is not a number.")

    def __len__(self) -> int:
        """Atoms of all models in the file."""
        return len(self._atoms)

    @property
    def positions(self) -> Tensor:
        """(m, 3) A, float32, in the frame of the file."""
        return torch.from_numpy(np.array([atom.pos.tolist() for atom in self._atoms], dtype=np.float32).reshape(-1, 3))

    @property
    def names(self) -> list[str]:
        """Chain, residue and name of each atom, e.g. ``A/LYS 17/CA``."""
        return [
            f"{chain.name}/{residue.name} {residue.seqid}/{atom.name}"
            for model in self._structure
            for chain in model
            for residue in chain
            for atom in residue
        ]

    def pieces(self, per_residue: int) -> tuple[Tensor, Tensor]:
        """Centres (n, 3) A, in the frame of the file, and weights (n,) of one piece of each residue, or of two.

        Two are the backbone (with phosphate and sugar) and the side chain (or base), where a residue has both. An atom weighs the
        electrons that it has, times its occupancy; hydrogens and water count nothing.

        Raises
        ------
        UserError
            The file has several models, or no atom that counts.
        """
        self._refuse_several("Gaussians are placed on")
        centres, weights = [], []
        for residue in (residue for chain in self._structure[0] for residue in chain if not residue.is_water()):
            atoms = [atom for atom in residue if not atom.is_hydrogen() and atom.occ > 0]
            of_backbone = [atom for atom in atoms if _is_of_backbone(atom)]
            others = [atom for atom in atoms if not _is_of_backbone(atom)]
            for piece in filter(None, (of_backbone, others) if per_residue == 2 else (atoms,)):
                electrons = np.array([atom.element.atomic_number * atom.occ for atom in piece])
                centres.append(electrons @ np.array([atom.pos.tolist() for atom in piece]) / electrons.sum())
                weights.append(electrons.sum())
        if not weights:
            raise UserError(f"The atomic model {self.path} holds no atoms but water, hydrogens and those of occupancy 0.")
        return torch.tensor(np.array(centres), dtype=torch.float32), torch.tensor(weights, dtype=torch.float32)

    def _refuse_several(self, what: str) -> None:
        if len(self._structure) != 1:
            raise UserError(f"The atomic model {self.path} has {len(self._structure)} models; {what} a file with one.")

    @property
    def is_alpha(self) -> NDArray[np.bool_]:
        """(m,) which atoms are alpha carbons."""
        return np.array([atom.name == "CA" and atom.element.name == "C" for atom in self._atoms], dtype=np.bool_)

    def write(self, path: Path, positions: Tensor) -> None:
        """Write the model with its atoms at positions (m, 3) A, in the format of the ending, whole or not at all.

        Raises
        ------
        UserError
            The ending is neither of PDB nor of mmCIF, the model does not fit into the columns of a PDB file, or the file cannot
            be written.
        """
        self._place(self._atoms, positions)
        self._save(self._structure, path)

    def write_path(self, path: Path, states: Sequence[Tensor], b_factors: Sequence[Tensor]) -> None:
        """Write states as models 1, 2, ... of one file, each with its atoms at (m, 3) A and the values (m,) as B factors.

        Raises
        ------
        UserError
            As of `write`; or the file that was read has several models itself.
        """
        gemmi = _gemmi()
        self._refuse_several("a path is made from")
        whole = self._structure.clone()
        del whole[0]
        for number, (positions, values) in enumerate(zip(states, b_factors, strict=True), start=1):
            one = self._structure[0].clone()
            one.num = number
            atoms = [atom for chain in one for residue in chain for atom in residue]
            self._place(atoms, positions)
            for atom, value in zip(atoms, values.tolist(), strict=True):
                atom.b_iso = min(value, _LARGEST_B_FACTOR)
                atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)  # of the B factor that stood there
            whole.add_model(one)
        self._save(whole, path)

    @staticmethod
    def _place(atoms: Sequence[Any], positions: Tensor) -> None:
        gemmi = _gemmi()
        for atom, place in zip(atoms, positions.double().tolist(), strict=True):
            atom.pos = gemmi.Position(*place)

    @staticmethod
    def _save(structure: Any, path: Path) -> None:
        kind = format_of(path)
        with written_whole(path) as temporary:
            try:
                if kind == "mmcif":
                    structure.make_mmcif_document().write_file(str(temporary))
                else:
                    structure.write_pdb(str(temporary))
            except (RuntimeError, ValueError) as error:
                raise UserError(
                    f"The model does not fit into the PDB format ({error}); write {path.stem}.cif instead."
                ) from error


def _is_of_backbone(atom: Any) -> bool:
    return atom.name in _BACKBONE or atom.name.endswith(_OF_SUGARS)


def format_of(path: Path) -> str:
    """``pdb`` or ``mmcif`` by the ending of a file.

    Raises
    ------
    UserError
        Any other ending.
    """
    ending = path.suffix.lower()
    if ending in _PDB:
        return "pdb"
    if ending in _MMCIF:
        return "mmcif"
    raise UserError(f"{path} ends in '{ending}'; expected a model as {', '.join(_PDB + _MMCIF)}.")


def _gemmi() -> ModuleType:
    try:
        import gemmi
    except ImportError as error:
        raise UserError("Atomic models need the package gemmi, which is not installed: pip install gemmi.") from error
    return gemmi
