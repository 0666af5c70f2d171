"""Atomic models as files: PDB and mmCIF, read and written by gemmi; nothing but coordinates is changed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobtypes.common.whole_files import written_whole
from relion_jobs.contract.errors import UserError

_PDB, _MMCIF = (".pdb", ".ent"), (".cif", ".mmcif")


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

    def write(self, path: Path, positions: Tensor) -> None:
        """Write the model with its atoms at positions (m, 3) A, in the format of the ending, whole or not at all.

        Raises
        ------
        UserError
            The ending is neither of PDB nor of mmCIF, the model does not fit into the columns of a PDB file, or the file cannot
            be written.
        """
        kind, gemmi = format_of(path), _gemmi()
        for atom, place in zip(self._atoms, positions.double().tolist(), strict=True):
            atom.pos = gemmi.Position(*place)
        with written_whole(path) as temporary:
            try:
                if kind == "mmcif":
                    self._structure.make_mmcif_document().write_file(str(temporary))
                else:
                    self._structure.write_pdb(str(temporary))
            except (RuntimeError, ValueError) as error:
                raise UserError(
                    f"The model does not fit into the PDB format ({error}); write {path.stem}.cif instead."
                ) from error


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
