import numpy as np
import pytest
from scipy.spatial import cKDTree

from jobtypes.simulate.helices import ALPHA_CARBON, DALTON_PER_RESIDUE, RESIDUE, helix, hexagonal_axes, rod
from jobtypes.simulate.molecule import make_molecule


@pytest.fixture(scope="module")
def molecule():
    return make_molecule(np.random.default_rng(3), core_kilodaltons=50, arms=3, arm_share=0.2)


def test_neighbouring_alpha_carbons_of_a_helix_are_3_8_angstroms_apart():
    carbons = helix(20, np.random.default_rng(0))[:, ALPHA_CARBON]
    steps = np.linalg.norm(np.diff(carbons, axis=0), axis=1)
    np.testing.assert_allclose(steps, 3.8, atol=0.1)


@pytest.mark.parametrize("seed", range(6))
def test_helices_are_right_handed_whichever_way_they_run(seed):
    carbons = helix(20, np.random.default_rng(seed))[:, ALPHA_CARBON]
    a, b, c = np.diff(carbons, axis=0)[:3]
    assert np.cross(a, b) @ c > 0


def test_axes_are_sorted_by_distance_and_keep_their_spacing():
    axes = hexagonal_axes(40)
    assert (np.diff(np.hypot(*axes.T)) > -1e-9).all()
    assert cKDTree(axes).query(axes, k=2)[0][:, 1].min() == pytest.approx(10.2)


def test_a_rod_holds_exactly_the_residues_asked_for():
    assert len(rod(50, 3, np.random.default_rng(0)).atoms) == 50


def test_core_and_arms_have_the_masses_asked_for(molecule):
    core = (molecule.part == 0).sum() / len(RESIDUE) * DALTON_PER_RESIDUE
    assert core == pytest.approx(50_000, abs=DALTON_PER_RESIDUE)
    assert (molecule.part > 0).mean() == pytest.approx(0.2, abs=0.005)
    assert set(molecule.part) == {0, 1, 2, 3}


def test_the_core_is_as_dense_as_protein(molecule):
    carbons = molecule.positions[molecule.is_alpha_carbon & (molecule.part == 0)]
    # residues within 14 A of the ones that lie deepest
    counts = cKDTree(carbons).query_ball_point(carbons, 14, return_length=True)
    density = np.quantile(counts, 0.95) * DALTON_PER_RESIDUE / (4 / 3 * np.pi * 14**3)
    assert density == pytest.approx(0.81, rel=0.2)


def test_the_core_has_no_symmetry_axis(molecule):
    core = molecule.positions[molecule.part == 0]
    spread = np.sqrt(np.linalg.eigvalsh(np.cov(core.T)))
    assert spread[1] / spread[0] > 1.05
    assert spread[2] / spread[1] > 1.05


def test_arms_point_away_from_the_core_and_touch_it(molecule):
    core = molecule.positions[molecule.part == 0]
    for number, arm in enumerate(molecule.arms, 1):
        atoms = molecule.positions[molecule.part == number]
        assert (atoms - core.mean(0)) @ arm.direction @ np.ones(len(atoms)) > 0
        assert cKDTree(core).query(atoms)[0].min() < 12
        assert abs(arm.axis @ arm.direction) < 1e-9


def test_the_same_seed_gives_the_same_molecule(molecule):
    again = make_molecule(np.random.default_rng(3), core_kilodaltons=50, arms=3, arm_share=0.2)
    np.testing.assert_array_equal(again.positions, molecule.positions)


def test_the_centre_of_mass_is_the_origin(molecule):
    np.testing.assert_allclose(molecule.positions.mean(0), 0, atol=1e-9)
