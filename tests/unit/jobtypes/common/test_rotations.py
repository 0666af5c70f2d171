from __future__ import annotations

import math

import pytest
import torch

from jobtypes.common.rotations import euler_angles, euler_matrices, rotation_vector_matrices


def test_zero_angles_turn_nothing() -> None:
    assert torch.equal(euler_matrices(torch.zeros(3)), torch.eye(3))
    assert torch.equal(rotation_vector_matrices(torch.zeros(2, 3)), torch.eye(3).expand(2, 3, 3))


@pytest.mark.parametrize(
    ("angles", "point", "seen"),
    [
        ((90, 0, 0), (1, 0, 0), (0, -1, 0)),  # rot 90: x of the map is seen at -y
        ((0, 90, 0), (1, 0, 0), (0, 0, 1)),  # tilt 90: x of the map points at the viewer's z
        ((0, 90, 0), (0, 0, 1), (-1, 0, 0)),
        ((0, 0, 90), (0, 1, 0), (1, 0, 0)),
    ],
)
def test_a_quarter_turn_brings_an_axis_where_relion_sees_it(angles: tuple, point: tuple, seen: tuple) -> None:
    matrix = euler_matrices(torch.tensor(angles, dtype=torch.float64))
    assert torch.allclose(matrix @ torch.tensor(point, dtype=torch.float64), torch.tensor(seen, dtype=torch.float64), atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tilt", [0.0, 180.0])
def test_at_the_poles_only_the_matrix_is_defined(tilt: float, dtype: torch.dtype) -> None:
    matrix = euler_matrices(torch.tensor([30.0, tilt, 50.0], dtype=dtype))
    angles = euler_angles(matrix)
    assert angles[0] == 0
    assert torch.allclose(euler_matrices(angles), matrix, atol=2e-6)


def test_a_rotation_vector_turns_right_handed_about_itself() -> None:
    matrix = rotation_vector_matrices(torch.tensor([0.0, 0.0, math.pi / 2]))
    assert torch.allclose(matrix @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6)


@pytest.mark.parametrize("length", [0.0, 1e-8, 1e-3, 9.9e-3, 1.01e-2, 3.0])
def test_a_rotation_vector_has_a_gradient_at_every_length(length: float) -> None:
    vector = (torch.tensor([[0.6, 0.0, 0.8]], dtype=torch.float64) * length).requires_grad_()
    assert torch.autograd.gradcheck(rotation_vector_matrices, (vector,))


def test_euler_matrices_have_a_gradient() -> None:
    angles = torch.tensor([[10.0, 60.0, -120.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(euler_matrices, (angles,))


def test_wrong_shapes_are_refused() -> None:
    for function, bad in ((euler_matrices, (2,)), (euler_angles, (3,)), (rotation_vector_matrices, (4,))):
        with pytest.raises(ValueError, match="expected"):
            function(torch.zeros(*bad))
