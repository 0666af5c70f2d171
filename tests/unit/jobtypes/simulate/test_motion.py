import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from jobtypes.simulate.molecule import make_molecule
from jobtypes.simulate.motion import make_motion
from relion_jobs.contract.errors import UserError


@pytest.fixture(scope="module")
def molecule():
    return make_molecule(np.random.default_rng(1), core_kilodaltons=40, arms=2, arm_share=0.25)


def ends(model):
    away = np.linalg.norm(model.path[-1] - model.path[0], axis=1)
    return away[model.driver >= 0], away[model.driver < 0]


@pytest.mark.parametrize("kind", ["hinge", "bend", "elbow"])
@pytest.mark.parametrize("amplitude", [5.0, 14.0])
def test_moving_atoms_travel_the_amplitude_on_average_and_the_core_stays(molecule, kind, amplitude):
    moving, fixed = ends(make_motion(molecule, motions=1, kind=kind, amplitude_angstroms=amplitude))
    assert moving.mean() == pytest.approx(amplitude, rel=1e-4)
    assert fixed.max() == 0


def test_a_hinged_arm_keeps_all_distances(molecule):
    model = make_motion(molecule, motions=1, kind="hinge", amplitude_angstroms=20)
    arm = model.path[:, model.part == 1]
    np.testing.assert_allclose(pdist(arm[0]), pdist(arm[20]), atol=1e-3)
    np.testing.assert_allclose(pdist(arm[40]), pdist(molecule.positions[molecule.part == 1]), atol=1e-3)


def test_a_bent_arm_keeps_its_length_along_the_middle(molecule):
    model = make_motion(molecule, motions=1, kind="bend", amplitude_angstroms=12)
    carbons = model.path[:, (model.part == 1) & model.is_alpha_carbon]
    neighbours = np.linalg.norm(carbons[:, 1:] - carbons[:, :-1], axis=2)
    bonded = neighbours[20] < 4.2
    assert np.abs(neighbours[:, bonded].mean(1) - neighbours[20, bonded].mean()).max() < 0.1


@pytest.mark.parametrize("kind", ["hinge", "bend", "elbow"])
def test_halfway_is_the_molecule_as_it_was_made(molecule, kind):
    model = make_motion(molecule, motions=2, kind=kind, amplitude_angstroms=15)
    halfway = model.positions(np.array([[0.5, 0.5]]))[0]
    np.testing.assert_allclose(halfway, molecule.positions, atol=1e-4)


def test_the_two_halves_of_an_elbowed_arm_are_stiff_and_move_differently(molecule):
    model = make_motion(molecule, motions=1, kind="elbow", amplitude_angstroms=14)
    arm = molecule.arms[0]
    atoms = model.part == 1
    along = (molecule.positions[atoms] - arm.hinge) @ arm.direction
    inner, outer = (model.path[:, atoms][:, half] for half in (along <= along.max() / 2, along > along.max() / 2))
    for half in (inner, outer):
        np.testing.assert_allclose(pdist(half[0][::3]), pdist(half[40][::3]), atol=1e-3)
    turns = [Rotation.align_vectors(half[40] - half[40].mean(0), half[0] - half[0].mean(0))[0] for half in (inner, outer)]
    # the outer half is carried along by the inner one, and turns as far again about an axis across
    own = turns[1] * turns[0].inv()
    assert turns[0].magnitude() > 0.1
    assert own.magnitude() == pytest.approx(turns[0].magnitude(), rel=0.2)
    axes = [turn.as_rotvec() / turn.magnitude() for turn in (turns[0], own)]
    assert abs(axes[0] @ axes[1]) < 0.3


@pytest.mark.parametrize("degrees", [60.0, 200.0, 360.0])
def test_a_turn_goes_through_the_angle_asked_for_about_the_arms_direction(molecule, degrees):
    model = make_motion(molecule, motions=1, kind="turn", amplitude_angstroms=1, turn_degrees=degrees)
    atoms = model.path[:, model.part == 1] - molecule.arms[0].hinge
    np.testing.assert_allclose(pdist(atoms[0][::3]), pdist(atoms[10][::3]), atol=1e-3)
    quarter = Rotation.align_vectors(atoms[10] - atoms[10].mean(0), atoms[0] - atoms[0].mean(0))[0]
    assert np.rad2deg(quarter.magnitude()) == pytest.approx(degrees / 4, abs=0.01)
    np.testing.assert_allclose(quarter.as_rotvec() / quarter.magnitude(), molecule.arms[0].direction, atol=1e-4)
    np.testing.assert_allclose(atoms[0] @ molecule.arms[0].direction, atoms[10] @ molecule.arms[0].direction, atol=1e-3)
    assert model.is_circle.tolist() == [degrees == 360]


@pytest.mark.parametrize("seed", range(4))
def test_a_turning_arm_lies_across_the_core_and_clears_it_all_around(seed):
    molecule = make_molecule(np.random.default_rng(seed), core_kilodaltons=60, arms=1, arm_share=0.3)
    model = make_motion(molecule, motions=1, kind="turn", amplitude_angstroms=1)
    core, arm = model.path[0, model.part == 0], model.path[:, model.part == 1]
    assert cKDTree(core).query(arm.reshape(-1, 3))[0].min() > 3
    # a point of the arm is far from where it is half a turn later
    assert np.linalg.norm(arm[20] - arm[0], axis=1).mean() > 40


def test_no_motion_is_a_circle_by_chance(molecule):
    assert make_motion(molecule, motions=0, kind="hinge", amplitude_angstroms=15).is_circle.shape == (0,)
    assert not make_motion(molecule, motions=2, kind="hinge", amplitude_angstroms=15).is_circle.any()


def test_two_motions_are_independent(molecule):
    model = make_motion(molecule, motions=2, kind="hinge", amplitude_angstroms=15)
    a, b = model.positions(np.array([[0.1, 0.9], [0.1, 0.2]]))
    same = np.linalg.norm(a - b, axis=1) == 0
    assert same[model.driver == 0].all()
    assert not same[model.driver == 1].any()


def test_conformations_are_linear_between_steps_and_clipped_outside(molecule):
    model = make_motion(molecule, motions=1, kind="hinge", amplitude_angstroms=15)
    between, below = model.positions(np.array([[0.0125], [-3.0]]))
    np.testing.assert_allclose(between, (model.path[0] + model.path[1]) / 2, atol=1e-4)
    np.testing.assert_array_equal(below, model.path[0])


def test_some_atoms_alone_are_the_same_as_all_atoms(molecule):
    model = make_motion(molecule, motions=2, kind="bend", amplitude_angstroms=15)
    place, some = np.array([[0.3, 0.8]]), np.array([5, 2000, 2500])
    np.testing.assert_array_equal(model.positions(place, some), model.positions(place)[:, some])


def test_a_rigid_molecule_has_no_coordinates(molecule):
    model = make_motion(molecule, motions=0, kind="hinge", amplitude_angstroms=15)
    assert model.motions == 0
    np.testing.assert_allclose(model.positions(np.zeros((2, 0)))[1], molecule.positions, atol=1e-4)
    assert model.fluctuation.max() == 0


def test_more_than_the_arms_can_reach_is_refused(molecule):
    with pytest.raises(UserError, match="reach no more than"):
        make_motion(molecule, motions=1, kind="bend", amplitude_angstroms=300)


def test_a_motion_without_arm_is_refused(molecule):
    with pytest.raises(UserError, match="nr_arms"):
        make_motion(molecule, motions=3, kind="hinge", amplitude_angstroms=10)
