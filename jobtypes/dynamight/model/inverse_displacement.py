"""Deformed position -> consensus position: the inverse of a half set's deformation.

The forward map of a state is phi(x) = x + u(x). A network gives v with x = y + v(y) for y = phi(x); a Newton step with the
forward field itself can sharpen its answer where it is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jobtypes.common.checkpoints import load_checkpoint
from jobtypes.dynamight import layout
from jobtypes.dynamight.model.displacement import Field
from jobtypes.dynamight.model.principal_motions import PrincipalMotions
from jobtypes.dynamight.model.result import ForwardResult
from relion_jobs.contract.errors import UserError

KIND, FORMAT_VERSION = "dynamight inverse deformations", 1
_CHUNK = 65536  # points worked out at once
_STEP_ANGSTROMS = 0.1  # of finite differences: far below any wavelength of a field, far above rounding


class InverseDisplacement(nn.Module):
    """v(y; z) of one half set, as a network of the position and of the state's coordinates along the main motions.

    Unlike the forward field it is no short sum of basis fields: at a fixed y it is zero until a moving part arrives there.

    Parameters
    ----------
    n_coefficients
        K of the forward field.
    n_coordinates
        Main motions D that tell the network the state.
    box_length_angstroms
        Longest wavelength of the positional encoding is twice this.
    width, n_hidden
        Neurons per hidden layer, and hidden layers.
    shortest_wavelength_angstroms
        Shortest wavelength of the positional encoding.
    """

    wavelengths: Tensor
    mean: Tensor
    to_coordinates: Tensor
    unit_angstroms: Tensor

    def __init__(
        self,
        *,
        n_coefficients: int,
        n_coordinates: int,
        box_length_angstroms: float,
        width: int = 96,
        n_hidden: int = 4,
        shortest_wavelength_angstroms: float = 40.0,
    ) -> None:
        super().__init__()
        self.shape: dict[str, float | int] = {
            "n_coefficients": n_coefficients,
            "n_coordinates": n_coordinates,
            "box_length_angstroms": float(box_length_angstroms),
            "width": width,
            "n_hidden": n_hidden,
            "shortest_wavelength_angstroms": float(shortest_wavelength_angstroms),
        }
        n_wavelengths = 2 + max(0, math.floor(math.log2(box_length_angstroms / shortest_wavelength_angstroms)))
        self.register_buffer("wavelengths", box_length_angstroms * 2.0 ** (1 - torch.arange(n_wavelengths, dtype=torch.float32)))
        self.register_buffer("mean", torch.zeros(n_coefficients))
        self.register_buffer("to_coordinates", torch.zeros(n_coefficients, n_coordinates))
        self.register_buffer("unit_angstroms", torch.ones(()))
        self.from_position = nn.Linear(3 + 6 * n_wavelengths, width)
        self.from_state = nn.Linear(n_coordinates, width, bias=False)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(n_hidden - 1))
        self.last = nn.Linear(width, 3)
        nn.init.zeros_(self.last.weight)  # starts as the identity map
        nn.init.zeros_(self.last.bias)

    def set_motions(self, motions: PrincipalMotions) -> None:
        """Take the main motions of the half set as the coordinates of its states."""
        self.mean.copy_(motions.mean)
        self.to_coordinates.copy_(motions.to_coordinates)
        self.unit_angstroms.copy_(motions.rms_angstroms.square().sum().sqrt().clamp(min=1.0))

    def forward(self, deformed: Tensor, coefficients: Tensor) -> Tensor:
        """Inverse displacements in A.

        Parameters
        ----------
        deformed : (..., 3) A
        coefficients : (..., K)
            Of the state of each point; broadcast against `deformed`, so that (m, 3) and (b, 1, K) give (b, m, 3).

        Returns
        -------
        (..., 3) A
            v with consensus = deformed + v.
        """
        phase = 2 * math.pi * deformed[..., None] / self.wavelengths  # (..., 3, w)
        encoding = torch.cat((deformed / self.wavelengths[0], phase.sin().flatten(-2), phase.cos().flatten(-2)), dim=-1)
        state = (coefficients - self.mean) @ self.to_coordinates / self.unit_angstroms
        hidden = nn.functional.silu(self.from_position(encoding) + self.from_state(state))
        for layer in self.hidden:
            hidden = nn.functional.silu(layer(hidden))
        result: Tensor = self.last(hidden) * (3 * self.unit_angstroms)
        return result


@dataclass(frozen=True)
class InverseHalf:
    """The trained inverse of one half set with its forward field.

    Attributes
    ----------
    network
        Gives the consensus position at once, to a few tenths of an A.
    field
        The forward field that it inverts.
    """

    network: InverseDisplacement
    field: Field

    @torch.no_grad()
    def consensus_positions(self, deformed: Tensor, coefficients: Tensor, *, newton_steps: int = 1) -> Tensor:
        """Consensus positions (m, 3) A of deformed positions (m, 3) A in states with coefficients (m, K) or (K,)."""
        found = [deformed[:0]]
        for points, states in zip(deformed.split(_CHUNK), coefficients.expand(len(deformed), -1).split(_CHUNK), strict=True):
            consensus = points + self.network(points, states)
            for _ in range(newton_steps):
                consensus = newton_step(self.field, consensus, points, states)
            found.append(consensus)
        return torch.cat(found)


def pair_displacements(field: Field, points: Tensor, coefficients: Tensor) -> Tensor:
    """Displacement (m, 3) A of each of m points (m, 3) A in a state of its own, with coefficients (m, K)."""
    return torch.einsum("mk,kmc->mc", coefficients, field.basis(points))


def basis_gradients(field: Field, points: Tensor) -> Tensor:
    """Derivatives (K, m, 3, 3) of the basis fields at points (m, 3) A: d U_i / d x_j, by central differences."""
    steps = _STEP_ANGSTROMS * torch.eye(3, dtype=points.dtype, device=points.device)
    columns = [(field.basis(points + step) - field.basis(points - step)) / (2 * _STEP_ANGSTROMS) for step in steps]
    return torch.stack(columns, dim=3)


def pair_jacobians(gradients: Tensor, coefficients: Tensor) -> Tensor:
    """Jacobians (m, 3, 3) of the forward map, d phi_i / d x_j, from gradients (K, m, 3, 3) and coefficients (m, K)."""
    identity = torch.eye(3, dtype=gradients.dtype, device=gradients.device)
    return identity + torch.einsum("mk,kmij->mij", coefficients, gradients)


def newton_step(field: Field, consensus: Tensor, deformed: Tensor, coefficients: Tensor) -> Tensor:
    """One Newton step towards phi(x) = y from x = consensus (m, 3) A, as safe as `bounded_step`."""
    error = deformed - consensus - pair_displacements(field, consensus, coefficients)  # (m, 3)
    return consensus + bounded_step(pair_jacobians(basis_gradients(field, consensus), coefficients), error)


def bounded_step(jacobian: Tensor, error: Tensor) -> Tensor:
    """Newton's step (m, 3) for errors (m, 3) A with Jacobians (m, 3, 3), at most three times as long as the error it corrects.

    Where the map folds or nearly does (determinant below 0.1) it is the error itself, a plain step.
    """
    columns, determinant = _adjugate(jacobian)
    regular = determinant > 0.1
    divided = error / determinant.where(regular, torch.ones_like(determinant))[:, None]
    solved = [_dot([column[axis] for column in columns], divided.unbind(1)) for axis in range(3)]
    step = torch.stack(solved, dim=1).where(regular[:, None], error)
    longest, length = (_dot(vectors.unbind(1), vectors.unbind(1)).sqrt() for vectors in (3 * error, step))
    return step * (longest / length.clamp(min=1e-12)).clamp(max=1.0)[:, None]


def determinants(matrices: Tensor) -> Tensor:
    """Of (m, 3, 3): (m,). By hand, for the routines for any size take many times as long for so many small matrices."""
    return _adjugate(matrices)[1]


def _adjugate(matrices: Tensor) -> tuple[list[Sequence[Tensor]], Tensor]:
    """Columns of the adjugates of (m, 3, 3), each as three (m,), and the determinants (m,)."""
    first, second, third = (row.unbind(1) for row in matrices.unbind(1))
    columns = [_cross(second, third), _cross(third, first), _cross(first, second)]
    return columns, _dot(first, columns[0])


def _cross(a: Sequence[Tensor], b: Sequence[Tensor]) -> Sequence[Tensor]:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@torch.no_grad()
def fixed_point_inverse(field: Field, deformed: Tensor, coefficients: Tensor, *, iterations: int = 20) -> Tensor:
    """Consensus positions (m, 3) A by x <- y - u(x) from x = y, without a network; converges where |grad u| < 1."""
    found = [deformed[:0]]
    for points, states in zip(deformed.split(_CHUNK), coefficients.split(_CHUNK), strict=True):
        consensus = points
        for _ in range(iterations):
            consensus = points - pair_displacements(field, consensus, states)
        found.append(consensus)
    return torch.cat(found)


def network_from_state(state: Mapping[str, Any]) -> InverseDisplacement:
    """The network of one half set out of a checkpoint."""
    network = InverseDisplacement(**state["shape"])
    network.load_state_dict(state["network"])
    return network


def load_inverses(
    job_directory: Path, forward: ForwardResult, device: torch.device | str = "cpu"
) -> dict[int, InverseHalf] | None:
    """The trained inverse of each half set of a job, ready to use.

    Parameters
    ----------
    job_directory
        Relative to the project directory or absolute.
    forward
        The forward deformations in use.
    device
        Where the networks go.

    Returns
    -------
    dict or None
        Keys 1 and 2; None where no inverse was trained to its end.

    Raises
    ------
    UserError
        The inverse was trained on another checkpoint of the forward deformations, or its file is damaged.
    """
    path = Path(job_directory) / layout.FINAL_INVERSE
    if not path.is_file():
        return None
    content = load_checkpoint(path, kind=KIND, version=FORMAT_VERSION, device=device)
    if content["forward_identity"] != forward.identity:
        trained_on = content["forward_identity"][:8]
        raise UserError(
            f"The inverse deformations in {path} belong to other forward deformations, or to another consensus of the same: they "
            f"were trained on '{trained_on}', not on '{forward.identity[:8]}' ({forward.path}), which this task uses; estimate "
            "the inverse deformations again."
        )
    halves = {int(half): network_from_state(state) for half, state in content["halves"].items()}
    return {
        half: InverseHalf(network.to(device).eval().requires_grad_(False), forward.halves[half].model.field)
        for half, network in halves.items()
    }
