from __future__ import annotations

import sys
from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch

from jobtypes.dynamight.inverse_deformations import task
from jobtypes.dynamight.inverse_deformations.deform import main
from jobtypes.dynamight.visualization.held_out import held_out_particles
from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.errors import UserError

CENTRE = 12 * 4.0  # voxel N // 2 of a box of 24 voxels of 4 A


@pytest.fixture
def project(flexible_job, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project of `flexible_job`, in which a job is found by its name."""
    (flexible_job.project / "default_pipeline.star").write_text("")
    directory = Path("DynaMight/job002")
    monkeypatch.setattr("jobtypes.dynamight.inverse_deformations.deform.find_job", lambda _: (flexible_job.project, directory))
    return flexible_job.project


def write_model(path: Path, positions: np.ndarray) -> Path:
    """A chain of alpha carbons at positions (m, 3) A."""
    structure, model, chain = gemmi.Structure(), gemmi.Model(1), gemmi.Chain("A")
    for number, place in enumerate(positions, start=1):
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos = "CA", gemmi.Element("C"), gemmi.Position(*map(float, place))
        atom.b_iso, atom.occ = 12.5, 0.75
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(number))
        residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    structure.add_model(model)
    if path.suffix == ".cif":
        structure.make_mmcif_document().write_file(str(path))
    else:
        structure.write_pdb(str(path))
    return path


def atoms_of(path: Path) -> list[tuple]:
    """Name, B factor, occupancy and position of each atom."""
    structure = gemmi.read_structure(str(path))
    return [(a.name, a.b_iso, a.occ, a.pos.tolist()) for a in (found.atom for found in structure[0].all())]


def places(path: Path) -> np.ndarray:
    return np.array([place for *_, place in atoms_of(path)])


@pytest.fixture
def model(project: Path, forward) -> Path:
    return write_model(project / "in.pdb", forward.halves[2].model.gaussians.positions[::10].numpy() + CENTRE)


@pytest.mark.parametrize("ending", ["pdb", "cif"])
def test_atoms_move_as_the_gaussians_of_the_particle_do(project, forward, ending) -> None:
    part = forward.halves[2]
    gaussians = part.model.gaussians.positions[::10]
    model = write_model(project / f"in.{ending}", gaussians.numpy() + CENTRE)
    row = int(part.rows[7])
    assert main(["job002", "--model", str(model), "--output", str(project / f"out.{ending}"), "--particle", str(row + 1)]) == 0
    expected = gaussians + part.model.displacement(part.latent_mean[7:8], gaussians)[0]
    np.testing.assert_allclose(places(project / f"out.{ending}"), expected.numpy() + CENTRE, atol=2e-3)
    assert {atom[:3] for atom in atoms_of(project / f"out.{ending}")} == {("CA", 12.5, 0.75)}


@pytest.mark.parametrize("with_network", [False, True])
def test_to_the_state_and_back_is_where_it_was(project, model, flexible_job, monkeypatch, capsys, with_network) -> None:
    if with_network:
        monkeypatch.setattr(task, "_PROBE_PAIRS", 600)
        monkeypatch.setattr(task, "_PAIRS_PER_EPOCH", 1000)
        task.run({"nr_epochs": 3}, flexible_job)
    state = ["--latent", "0.8", "-0.5", "--half-set", "2"]
    main(["job002", "--model", str(model), "--output", str(project / "state.cif"), *state])
    main(["job002", "--model", str(project / "state.cif"), "--output", str(project / "back.pdb"), *state, "--to-consensus"])
    assert np.linalg.norm(places(project / "state.cif") - places(model), axis=1).max() > 1.0
    np.testing.assert_allclose(places(project / "back.pdb"), places(model), atol=0.01)
    assert ("the inverse network" if with_network else "a fixed-point inversion") in capsys.readouterr().out


def test_atoms_far_from_the_molecule_stay_and_are_counted(project, model, capsys) -> None:
    far = np.vstack((places(model), [[CENTRE + 46.0, CENTRE - 46.0, CENTRE + 46.0]]))
    write_model(project / "far.pdb", far)
    main(["job002", "--model", str(project / "far.pdb"), "--output", str(project / "out.pdb"), "--latent", "1", "1"])
    assert np.array_equal(places(project / "out.pdb")[-1], far[-1])
    assert "Warning: 6.2 % of the atoms are far from the map" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "none.pdb", "--particle", "1"], "none.pdb does not exist"),
        (["--model", "text.pdb", "--particle", "1"], "holds no atoms"),
        (["--model", "broken.cif", "--particle", "1"], "cannot be read as PDB or mmCIF"),
        (["--model", "model.mol2", "--particle", "1"], r"ends in '\.mol2'; expected"),
        (["--model", "in.pdb", "--particle", "0"], "--particle is 0, but particles.star has 60 particles"),
        (["--model", "in.pdb", "--particle", "61"], "give a number from 1 to 60"),
        (["--model", "in.pdb", "--latent", "1"], "--latent has 1 numbers; the latents of this job have 2"),
        (["--model", "in.pdb", "--latent", "1", "nan"], "all finite"),
        (["--model", "centred.pdb", "--particle", "1"], r"100 % of the atoms .* fitted into this job's map"),
        (["--model", "in.pdb", "--particle", "1", "--output", "out.txt"], r"ends in '\.txt'"),
    ],
)
def test_what_cannot_be_deformed_is_refused_in_a_sentence_and_nothing_is_written(project, model, words, sentence) -> None:
    (project / "text.pdb").write_text("REMARK nothing\nEND\n")
    (project / "broken.cif").write_text("data_x\nloop_\n_atom_site.id\n_atom_site.B\n1\n")
    (project / "model.mol2").write_text("")
    write_model(project / "centred.pdb", places(model) - 3 * CENTRE)  # of another frame
    words = words if "--output" in words else [*words, "--output", "out.pdb"]
    with pytest.raises(UserError, match=sentence):
        main(["job002", *words])
    assert not (project / "out.pdb").exists()


def test_without_gemmi_one_sentence_says_what_to_install(project, model, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "gemmi", None)
    with pytest.raises(UserError, match="pip install gemmi"):
        main(["job002", "--model", str(model), "--output", "out.pdb", "--particle", "1"])


def test_positions_keep_the_precision_of_the_file(project, model) -> None:
    from jobtypes.common.atomic_models import AtomicModel

    found = AtomicModel(model)
    found.write(project / "same.pdb", found.positions)
    assert (project / "same.pdb").read_text() == model.read_text()
    assert found.positions.dtype == torch.float32


def states_in(path: Path) -> list[np.ndarray]:
    """Positions (m, 3) A of the atoms of each model of a file."""
    structure = gemmi.read_structure(str(path))
    return [np.array([found.atom.pos.tolist() for found in one.all()]) for one in structure]


@pytest.mark.parametrize("ending", ["pdb", "cif"])
def test_a_model_goes_along_a_main_motion_as_the_session_does(project, forward, ending) -> None:
    session = Session(Path("DynaMight/job002"), forward, 1)
    gaussians = forward.halves[1].model.gaussians.positions[::10]
    source = write_model(project / f"in.{ending}", gaussians.numpy() + CENTRE)
    target = project / f"path.{ending}"
    assert main(["job002", "--model", str(source), "--output", str(target), "--motion", "1", "--frames", "5"]) == 0
    states = states_in(target)
    assert len(states) == 5
    expected = session.gaussians.positions(session.state_coefficients(session.traversal(0, 5)[3]))[::10]
    np.testing.assert_allclose(states[3], expected.numpy() + CENTRE, atol=0.02)
    b_factors = [atom.b_iso for atom in (found.atom for found in gemmi.read_structure(str(target))[3].all())]
    np.testing.assert_allclose(b_factors, np.linalg.norm(states[3] - gaussians.numpy() - CENTRE, axis=1), atol=0.02)
    script = target.with_suffix(".cxc").read_text()
    assert script.count("show #1.") == 9


def test_a_path_through_listed_latents_shows_where_the_half_sets_disagree(project, forward, model, capsys) -> None:
    (project / "latents.txt").write_text("0 0\n0.5 -0.5\n1 -1\n")
    target = project / "path.pdb"
    words = ["--path", str(project / "latents.txt"), "--half-set", "2", "--b-factor", "disagreement", "--keep-geometry"]
    assert main(["job002", "--model", str(model), "--output", str(target), *words]) == 0
    assert "Bonds and angles were kept" in capsys.readouterr().out
    part = forward.halves[2]
    gaussians = part.model.gaussians.positions[::10]
    states = states_in(target)
    expected = gaussians + part.model.displacement(torch.tensor([[1.0, -1.0]]), gaussians)[0]
    np.testing.assert_allclose(states[2], expected.numpy() + CENTRE, atol=0.03)
    error = held_out_particles(forward).disagreements[2].gaussian_error[::10].numpy()
    np.testing.assert_allclose([b for _, b, *_ in atoms_of(target)], error, atol=0.02)


def test_maps_of_a_movie_play_in_step_or_are_refused(project, model) -> None:
    movie = project / "movie"
    movie.mkdir()
    for number in range(3):
        (movie / f"volume{number:03d}.mrc").touch()
    words = ["job002", "--model", str(model), "--output", str(project / "path.pdb"), "--motion", "1", "--maps", str(movie)]
    assert main([*words, "--frames", "3"]) == 0
    assert "hide #2 models; show #2.3 models" in (project / "path.cxc").read_text()
    with pytest.raises(UserError, match="has 3 maps, but the path has 4 states"):
        main([*words, "--frames", "4"])


def test_a_path_does_not_go_back_to_the_consensus(project, model) -> None:
    with pytest.raises(UserError, match="carries one state back"):
        main(["job002", "--model", str(model), "--output", "out.pdb", "--motion", "1", "--to-consensus"])
