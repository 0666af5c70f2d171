"""Pieces of an atomic model: where they are and what they weigh, from files that gemmi has written."""

from __future__ import annotations

from pathlib import Path

import gemmi
import pytest
import torch

from jobtypes.common.atomic_models import AtomicModel
from relion_jobs.contract.errors import UserError

Atom = tuple[str, str, tuple[float, float, float], float]  # name, element, place, occupancy
GLYCINE: list[Atom] = [("N", "N", (0, 0, 0), 1), ("CA", "C", (1, 0, 0), 1), ("H", "H", (50, 0, 0), 1)]
SERINE: list[Atom] = [
    ("CA", "C", (4, 0, 0), 1),
    ("CB", "C", (4, 2, 0), 1),
    ("OG", "O", (4, 3, 0), 0.5),
    ("HB", "H", (0, 9, 0), 1),
]
WATER: list[Atom] = [("O", "O", (90, 0, 0), 1)]
BASE: list[Atom] = [("P", "P", (0, 0, 8), 1), ("C1'", "C", (0, 0, 9), 1), ("N9", "N", (0, 0, 12), 1), ("C8", "C", (0, 0, 99), 0)]


def write(path: Path, residues: dict[str, list[Atom]], models: int = 1) -> Path:
    structure = gemmi.Structure()
    for number in range(models):
        model, chain = gemmi.Model(number + 1), gemmi.Chain("A")
        for place, (name, atoms) in enumerate(residues.items(), start=1):
            residue = gemmi.Residue()
            residue.name, residue.seqid = name, gemmi.SeqId(str(place))
            for atom_name, element, xyz, occupancy in atoms:
                atom = gemmi.Atom()
                atom.name, atom.element, atom.pos, atom.occ = atom_name, gemmi.Element(element), gemmi.Position(*xyz), occupancy
                residue.add_atom(atom)
            chain.add_residue(residue)
        model.add_chain(chain)
        structure.add_model(model)
    structure.setup_entities()
    if path.suffix == ".cif":
        structure.make_mmcif_document().write_file(str(path))
    else:
        structure.write_pdb(str(path))
    return path


@pytest.mark.parametrize("ending", ["pdb", "cif"])
def test_each_residue_is_a_backbone_and_a_side_chain_weighed_by_electrons_and_occupancy(tmp_path: Path, ending: str) -> None:
    residues = {"GLY": GLYCINE, "SER": SERINE, "HOH": WATER, "DA": BASE}
    centres, weights = AtomicModel(write(tmp_path / f"model.{ending}", residues)).pieces(2)
    assert weights.tolist() == [13, 6, 6 + 4, 15 + 6, 7]
    expected = [[6 / 13, 0, 0], [4, 0, 0], [4, 2.4, 0], [0, 0, (15 * 8 + 6 * 9) / 21], [0, 0, 12]]
    torch.testing.assert_close(centres, torch.tensor(expected), atol=1e-3, rtol=0)


def test_one_piece_of_a_residue_is_at_the_centre_of_all_its_atoms(tmp_path: Path) -> None:
    centres, weights = AtomicModel(write(tmp_path / "model.pdb", {"SER": SERINE})).pieces(1)
    assert weights.tolist() == [16]
    torch.testing.assert_close(centres, torch.tensor([[4, 24 / 16, 0]]), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("residues", "models", "words"),
    [
        ({"HOH": WATER}, 1, r"model.pdb holds no atoms but water, hydrogens and those of occupancy 0\."),
        ({"GLY": GLYCINE}, 3, r"model.pdb has 3 models; Gaussians are placed on a file with one\."),
    ],
)
def test_a_model_without_atoms_that_count_or_with_several_models_is_refused(tmp_path: Path, residues, models, words) -> None:
    with pytest.raises(UserError, match=words):
        AtomicModel(write(tmp_path / "model.pdb", residues, models)).pieces(2)
