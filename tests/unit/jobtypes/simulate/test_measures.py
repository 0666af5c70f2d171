from types import SimpleNamespace

import numpy as np
import pytest

from jobtypes.common.volumes import read_volume
from jobtypes.simulate.geometry import matrices_of
from jobtypes.simulate.latent_measures import score_latents
from jobtypes.simulate.map_measures import score_maps
from jobtypes.simulate.molecule import make_molecule
from jobtypes.simulate.motion import make_motion
from jobtypes.simulate.motion_measures import reference_conformation, score_deformation, true_displacements
from jobtypes.simulate.truth import read_truth


@pytest.fixture(scope="module")
def truth(tiny_set):
    return read_truth(tiny_set)


@pytest.fixture(scope="module")
def result(truth):
    """Points on the atoms halfway and their true displacements in 40 particles."""
    points = truth.positions([0.5])[::7].astype(float)
    rows = np.arange(0, 120, 3)
    return points, true_displacements(truth, points, rows, np.array([0.5]))[0], rows


def test_the_truth_is_explained_to_the_ceiling(truth, result):
    found = score_deformation(truth, *result)
    assert found.moving.explained > 0.99
    assert found.moving.gain == pytest.approx(1, abs=0.01)
    assert found.core.predicted_rms < 0.05


def test_a_rigid_result_explains_nothing(truth, result):
    points, moved, rows = result
    found = score_deformation(truth, points, np.zeros_like(moved), rows)
    assert found.moving.explained == pytest.approx(0, abs=1e-6)
    assert found.moving.gain == pytest.approx(0, abs=1e-6)


def test_half_the_motion_explains_three_quarters_with_gain_one_half(truth, result):
    points, moved, rows = result
    found = score_deformation(truth, points, moved / 2, rows)
    assert found.moving.explained == pytest.approx(0.75, abs=0.01)
    assert found.moving.gain == pytest.approx(0.5, abs=0.01)


def test_the_choice_of_consensus_is_free(truth, result):
    points, moved, rows = result
    offset = np.random.default_rng(0).normal(0, 5, (1, len(points), 3))
    assert score_deformation(truth, points, moved + offset, rows).moving.explained > 0.99


def test_false_motion_of_the_core_is_measured(truth, result):
    points, moved, rows = result
    noise = np.random.default_rng(0).normal(0, 1, moved.shape)
    found = score_deformation(truth, points, moved + noise, rows)
    assert found.core.predicted_rms == pytest.approx(3**0.5, rel=0.1)


def test_points_far_from_the_structure_are_left_out(truth, result):
    points, moved, rows = result
    points, moved = points.copy(), moved.copy()
    points[:50] += 500
    moved[:, :50] = 1000 * np.random.default_rng(0).normal(size=moved[:, :50].shape)
    found = score_deformation(truth, points, moved, rows)
    assert found.off_structure == pytest.approx(50 / len(points))
    assert found.moving.explained > 0.99


def test_weights_choose_whose_motion_counts(truth, result):
    points, moved, rows = result
    wrong = moved.copy()
    wrong[:, ::2] *= -1
    weights = np.ones(len(points))
    weights[::2] = 0
    assert score_deformation(truth, points, wrong, rows).moving.explained < 0
    assert score_deformation(truth, points, wrong, rows, weights).moving.explained > 0.99


@pytest.mark.parametrize("place", [0.2, 0.75])
def test_the_conformation_of_the_points_is_found(truth, place):
    points = truth.positions([place])[::5]
    assert reference_conformation(truth, points)[0] == pytest.approx(place, abs=0.051)


def test_the_true_coordinate_as_latent_is_perfect_and_blind_to_the_view(truth):
    found = score_latents(truth, truth.coordinates, np.arange(120))
    assert found.linear_r2[0] == pytest.approx(1)
    assert found.neighbours_r2[0] > 0.9
    assert found.view_leak_r2 < 0.05


def test_a_latent_on_a_circle_tells_of_a_turn_all_around():
    molecule = make_molecule(np.random.default_rng(1), core_kilodaltons=20, arms=1, arm_share=0.3)
    turning = make_motion(molecule, motions=1, kind="turn", amplitude_angstroms=1)
    rng = np.random.default_rng(0)
    place, views = rng.uniform(0, 1, (200, 1)), rng.uniform(0, 180, (200, 5))
    turn = SimpleNamespace(coordinates=place, poses=views, model=turning)
    latents = np.concatenate([np.cos(2 * np.pi * place + 1), np.sin(2 * np.pi * place + 1)], axis=1)
    found = score_latents(turn, latents, np.arange(200))
    assert len(found.linear_r2) == len(found.neighbours_r2) == 1
    assert found.linear_r2[0] == pytest.approx(1)
    assert found.neighbours_r2[0] > 0.95


def test_a_latent_that_is_the_view_is_found_out(truth):
    view = matrices_of(truth.poses[:, :3])[:, 2]
    found = score_latents(truth, view, np.arange(120))
    assert found.view_leak_r2 > 0.4
    assert found.neighbours_r2[0] < 0.2


def test_maps_of_data_without_motion_agree_better_than_rigid_ones(truth, tiny_set):
    rigid = score_maps(truth, *(read_volume(tiny_set / f"half{half}.mrc").data for half in (1, 2)))
    oracle = score_maps(truth, truth.map("oracle_half1"), truth.map("oracle_half2"))
    assert oracle.best_moving.auc > rigid.best_moving.auc + 0.05
    assert oracle.truth_core.auc == pytest.approx(rigid.truth_core.auc, abs=0.1)


def test_a_true_map_agrees_with_itself_at_its_own_place(truth):
    found = score_maps(truth, truth.render([0.8]), truth.render([0.8]))
    assert found.best_moving.auc > 0.999
    assert found.best_coordinates[0] == pytest.approx(0.8, abs=0.03)
    assert found.halves_whole.resolution_143 == pytest.approx(10.0)
