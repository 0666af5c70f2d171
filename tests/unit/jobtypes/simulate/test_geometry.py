import numpy as np

from jobtypes.simulate.geometry import Poses, angles_of, matrices_of, random_poses, with_errors


def test_angles_come_back():
    angles = np.random.default_rng(0).uniform([-180, 1, -180], [180, 179, 180], (100, 3))
    np.testing.assert_allclose(angles_of(matrices_of(angles)), angles, atol=1e-9)


def test_the_third_row_is_the_view_and_psi_turns_the_image_clockwise():
    view = matrices_of(np.array([[30.0, 50.0, 0.0], [30.0, 50.0, 77.0]]))[:, 2]
    expected = [np.cos(np.pi / 6) * np.sin(np.deg2rad(50)), 0.5 * np.sin(np.deg2rad(50)), np.cos(np.deg2rad(50))]
    np.testing.assert_allclose(view, [expected, expected], atol=1e-12)
    turned = matrices_of(np.array([[0.0, 0.0, 90.0]]))[0]
    np.testing.assert_allclose(turned @ [1, 0, 0], [0, -1, 0], atol=1e-12)


def test_random_views_cover_the_sphere_evenly():
    poses = random_poses(4000, np.random.default_rng(0), shift_range_angstroms=10)
    view = poses.matrices[:, 2]
    assert np.abs(view.mean(0)).max() < 0.04
    np.testing.assert_allclose(np.cov(view.T), np.eye(3) / 3, atol=0.03)
    assert np.abs(poses.origins_angstroms).max() <= 10


def test_pose_errors_have_the_size_asked_for_about_every_axis():
    poses = random_poses(4000, np.random.default_rng(0), shift_range_angstroms=10)
    wrong = with_errors(poses, np.random.default_rng(1), angle_degrees=0.5, shift_angstroms=0.6)
    turn = wrong.matrices @ poses.matrices.transpose(0, 2, 1)
    vectors = np.rad2deg(np.stack([turn[:, 2, 1], turn[:, 0, 2], turn[:, 1, 0]], axis=1))
    np.testing.assert_allclose(vectors.std(0), 0.5, rtol=0.05)
    np.testing.assert_allclose((wrong.origins_angstroms - poses.origins_angstroms).std(0), 0.6, rtol=0.05)


def test_no_error_leaves_poses_alone():
    poses = random_poses(5, np.random.default_rng(0), shift_range_angstroms=10)
    same = with_errors(poses, np.random.default_rng(1), angle_degrees=0, shift_angstroms=0)
    np.testing.assert_allclose(same.as_columns(), Poses(poses.matrices, poses.origins_angstroms).as_columns(), atol=1e-9)
