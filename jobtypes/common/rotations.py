"""RELION's Euler angles, rotation matrices and small rotations; differentiable."""

from __future__ import annotations

import torch
from torch import Tensor

from jobtypes.common.products import product_in_full

_TINY = 1e-30


def euler_matrices(angles_degrees: Tensor) -> Tensor:
    """Rotation matrices of RELION's Euler angles.

    Parameters
    ----------
    angles_degrees : (..., 3) rot, tilt, psi in degrees

    Returns
    -------
    (..., 3, 3) A = Rz(psi) Ry(tilt) Rz(rot), with which r_view = A r_map (x, y, z order)

    Source: Heymann, Chagoyen & Belnap (2005), J. Struct. Biol. 151, 196; the convention of RELION.
    """
    if angles_degrees.shape[-1:] != (3,):
        raise ValueError(f"angles have shape {tuple(angles_degrees.shape)}, expected (..., 3)")
    radians = torch.deg2rad(angles_degrees)
    (cr, ct, cp), (sr, st, sp) = radians.cos().unbind(-1), radians.sin().unbind(-1)
    rows = (
        torch.stack((cp * ct * cr - sp * sr, cp * ct * sr + sp * cr, -cp * st), dim=-1),
        torch.stack((-sp * ct * cr - cp * sr, -sp * ct * sr + cp * cr, sp * st), dim=-1),
        torch.stack((st * cr, st * sr, ct), dim=-1),
    )
    return torch.stack(rows, dim=-2)


def euler_angles(matrices: Tensor) -> Tensor:
    """Euler angles of rotation matrices: the inverse of `euler_matrices`.

    Parameters
    ----------
    matrices : (..., 3, 3)

    Returns
    -------
    (..., 3) rot, tilt, psi in degrees, rot and psi in -180..180, tilt in 0..180; where only rot + psi (tilt 0) or
    psi - rot (tilt 180) is defined, rot is 0
    """
    _check_matrices(matrices)
    sine = torch.hypot(matrices[..., 2, 0], matrices[..., 2, 1])
    tilt = torch.atan2(sine, matrices[..., 2, 2])
    gimbal = sine < 8 * torch.finfo(matrices.dtype).eps
    rot = torch.where(gimbal, torch.zeros_like(tilt), torch.atan2(matrices[..., 2, 1], matrices[..., 2, 0]))
    psi_gimbal = torch.atan2(matrices[..., 0, 1], matrices[..., 1, 1])
    psi = torch.where(gimbal, psi_gimbal, torch.atan2(matrices[..., 1, 2], -matrices[..., 0, 2]))
    return torch.rad2deg(torch.stack((rot, tilt, psi), dim=-1))


def rotation_vector_matrices(vectors_radians: Tensor) -> Tensor:
    """Matrices that turn a point about each vector by its length, right-handed; smooth and differentiable at 0.

    Parameters
    ----------
    vectors_radians : (..., 3)

    Returns
    -------
    (..., 3, 3) R = exp([v]x), by Rodrigues' formula in half angles: 1 + 2 cos(a/2) S + 2 S^2, S = sin(a/2) [axis]x
    """
    if vectors_radians.shape[-1:] != (3,):
        raise ValueError(f"rotation vectors have shape {tuple(vectors_radians.shape)}, expected (..., 3)")
    # the half-angle form has no difference of nearly equal numbers; the small constant keeps the root's slope finite at 0
    angle = (vectors_radians.square().sum(-1, keepdim=True) + _TINY).sqrt()
    half = 0.5 * angle
    x, y, z = (vectors_radians * (half.sin() / angle)).unbind(-1)  # sine of half the angle, times the axis
    zero = torch.zeros_like(x)
    cross: Tensor = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))
    identity = torch.eye(3, device=cross.device, dtype=cross.dtype)
    return identity + 2 * (half.cos()[..., None] * cross + product_in_full(cross, cross))


def _check_matrices(matrices: Tensor) -> None:
    if matrices.shape[-2:] != (3, 3):
        raise ValueError(f"matrices have shape {tuple(matrices.shape)}, expected (..., 3, 3)")
