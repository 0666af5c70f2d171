import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from jobtypes.simulate.dense_parts import CLEAR_ANGSTROMS, add_dense_part, double_helix
from jobtypes.simulate.molecule import make_molecule
from jobtypes.simulate.motion import make_motion
from jobtypes.simulate.render import AtomRenderer


@pytest.fixture(scope="module")
def model():
    molecule = make_molecule(np.random.default_rng(1), core_kilodaltons=40, arms=2, arm_share=0.25)
    return make_motion(molecule, motions=2, kind="hinge", amplitude_angstroms=10)


def added(model, kind):
    made = add_dense_part(model, kind, np.random.default_rng(0))
    return made, made.path[:, len(model.elements) :]


def test_no_dense_part_leaves_the_model_as_it_is(model):
    assert add_dense_part(model, "none", np.random.default_rng(0)) is model


@pytest.mark.parametrize("kind", ["shell", "rod"])
def test_a_dense_part_is_a_fixed_part_of_the_core_and_clear_of_all_that_moves(model, kind):
    made, atoms = added(model, kind)
    new = slice(len(model.elements), None)
    assert len(made.elements[new]) == len(atoms[0]) > 100
    assert (made.part[new] == 0).all()
    assert (made.driver[new] == -1).all()
    assert (atoms == atoms[0]).all()
    assert made.fluctuation[new].max() < 1e-3
    np.testing.assert_array_equal(made.path[:, : len(model.elements)], model.path)
    assert cKDTree(model.path[::4].reshape(-1, 3)).query(atoms[0])[0].min() >= CLEAR_ANGSTROMS - 1e-3


@pytest.mark.parametrize("kind", ["shell", "rod"])
def test_a_dense_part_touches_the_core(model, kind):
    _, atoms = added(model, kind)
    core = model.path[0, model.part == 0]
    assert cKDTree(core).query(atoms[0])[0].min() < CLEAR_ANGSTROMS + 1.5


@pytest.mark.parametrize("kind", ["shell", "rod"])
def test_a_dense_part_is_denser_than_protein(model, kind):
    made, atoms = added(model, kind)
    renderer = AtomRenderer(64, 3.0, made.elements, bfactor=600.0, solvent_share=0.0)
    volume = renderer.volume(torch.from_numpy(made.path[0])).numpy()

    def densities(points):
        nearest = np.rint(points / 3).astype(int) + 32
        return volume[nearest[:, 2], nearest[:, 1], nearest[:, 0]]

    protein = densities(model.path[0, model.part == 0])
    assert np.quantile(densities(atoms[0]), 0.9) > 1.3 * np.quantile(protein, 0.5)


def test_the_shell_is_a_flat_belt_and_the_rod_is_long(model):
    widths = {}
    for kind in ("shell", "rod"):
        atoms = added(model, kind)[1][0]
        widths[kind] = np.sqrt(np.linalg.eigvalsh(np.cov(atoms.T)))
    assert widths["shell"][2] < 1.2 * widths["shell"][1]
    assert widths["shell"][0] < 0.6 * widths["shell"][1]
    assert widths["rod"][2] > 1.8 * widths["rod"][1]


def test_the_double_helix_is_right_handed_and_ten_pairs_make_a_turn():
    phosphates = double_helix(21).reshape(21, 2, -1, 3)[:, :, 0]
    np.testing.assert_allclose(phosphates[10, :, :2], phosphates[0, :, :2], atol=1e-6)
    assert phosphates[10, 0, 2] - phosphates[0, 0, 2] == pytest.approx(33.8)
    a, b, c = np.diff(phosphates[:4, 0], axis=0)
    assert np.cross(a, b) @ c > 0
    np.testing.assert_allclose(phosphates.mean((0, 1))[2], 0, atol=1e-6)
