from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jobtypes.common.rotations import euler_angles, euler_matrices, rotation_vector_matrices

quick = settings(max_examples=100, deadline=None)
ANGLES = st.tuples(*[st.floats(-720, 720)] * 3)
VECTORS = st.tuples(*[st.floats(-3, 3)] * 3)


def tensor(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@quick
@given(ANGLES)
def test_matrices_are_rotations(angles: tuple[float, ...]) -> None:
    matrix = euler_matrices(tensor(angles))
    assert torch.allclose(matrix @ matrix.T, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert math.isclose(float(torch.linalg.det(matrix)), 1, abs_tol=1e-12)


@quick
@given(ANGLES)
def test_angles_of_a_matrix_give_the_matrix_back(angles: tuple[float, ...]) -> None:
    matrix = euler_matrices(tensor(angles))
    back = euler_angles(matrix)
    assert torch.allclose(euler_matrices(back), matrix, atol=1e-7)
    assert 0 <= back[1] <= 180


@quick
@given(st.floats(-179, 179), st.floats(0.1, 179.9), st.floats(-179, 179))
def test_angles_in_their_ranges_come_back(rot: float, tilt: float, psi: float) -> None:
    angles = tensor((rot, tilt, psi))
    assert torch.allclose(euler_angles(euler_matrices(angles)), angles, atol=1e-6)


@quick
@given(ANGLES, st.sampled_from([0, 1, 2]))
def test_a_full_turn_changes_nothing(angles: tuple[float, ...], axis: int) -> None:
    turned = list(angles)
    turned[axis] += 360
    assert torch.allclose(euler_matrices(tensor(angles)), euler_matrices(tensor(tuple(turned))), atol=1e-10)


@quick
@given(VECTORS)
def test_a_rotation_vector_is_the_matrix_exponential(vector: tuple[float, ...]) -> None:
    x, y, z = vector
    generator = tensor((0, -z, y, z, 0, -x, -y, x, 0)).reshape(3, 3)
    assert torch.allclose(rotation_vector_matrices(tensor(vector)), torch.linalg.matrix_exp(generator), atol=1e-10)


@quick
@given(VECTORS)
def test_opposite_vectors_cancel(vector: tuple[float, ...]) -> None:
    product = rotation_vector_matrices(tensor(vector)) @ rotation_vector_matrices(-tensor(vector))
    assert torch.allclose(product, torch.eye(3, dtype=torch.float64), atol=1e-10)
