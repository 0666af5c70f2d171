"""The map of one state of a half set."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from scipy.ndimage import map_coordinates, spline_filter
from torch import Tensor

from jobtypes.common.fourier import fsc, irfft3, rfft3, shells_3d
from jobtypes.common.volumes import check_map, read_volume
from jobtypes.dynamight import layout
from jobtypes.dynamight.model.density import DensityRenderer, splat_points
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.inverse_displacement import bounded_step, determinants

_COARSE_SPACING_ANGSTROMS = 2.0  # of waves of 20 A, linear interpolation on this grid misses 5 % at most
_LARGEST_COARSE_GRID = 96
_NEWTON_STEPS, _CLOSE_ANGSTROMS = 3, 0.005  # at most, and where a place is good enough
_FAINT = 0.01  # of the largest density: solvent


class StateMaps(Protocol):
    """Anything that draws the map of a state."""

    description: str  # of where the maps come from, for captions

    def state(self, coefficients: Tensor) -> Tensor:
        """Map (N, N, N) of the state with coefficients (K,)."""
        ...


class GaussianStates:
    """States as the half's Gaussians, moved and rendered with their amplitudes and widths.

    Parameters
    ----------
    model
        The half's model.
    box, pixel_size_angstroms
        Of the maps.
    resolution_angstroms
        Resolution limit of the training: Gaussians narrower than 0.225 times it are drawn that wide (ChimeraX's molmap), since
        nothing finer was learned. 0: as they are.
    """

    def __init__(self, model: HalfModel, box: int, pixel_size_angstroms: float, resolution_angstroms: float = 0.0) -> None:
        self.model, self.box, self.pixel_size_angstroms = model, box, pixel_size_angstroms
        self.resolution_angstroms = resolution_angstroms
        self.least_width_angstroms = 0.225 * resolution_angstroms
        self.render = DensityRenderer(
            model.gaussians, box, pixel_size_angstroms, least_width_angstroms=self.least_width_angstroms
        )
        self.description = "the Gaussians of the half, moved to the state and rendered with their amplitudes and widths"
        if resolution_angstroms:
            self.description += f" at a resolution of {resolution_angstroms:.1f} Å"
        self.basis = model.field.basis_at_gaussians(model.gaussians.positions)  # (K, n, 3)

    def positions(self, coefficients: Tensor) -> Tensor:
        """Gaussians (n, 3) A of the state with coefficients (K,)."""
        return self.model.gaussians.positions + torch.einsum("k,knc->nc", coefficients, self.basis)

    def state(self, coefficients: Tensor) -> Tensor:
        """Map (N, N, N) of the state with coefficients (K,)."""
        return self.render(self.positions(coefficients))

    def density_left(self, coefficients: Tensor, there: Tensor) -> Tensor:
        """(N, N, N) share of a state's density that is left where Gaussians (n,) are there in part; 1 in solvent."""
        positions = self.positions(coefficients)
        whole, left = self.render(positions), self.render(positions, there)
        return torch.where(whole > _FAINT * whole.max(), left / whole, torch.ones_like(whole)).clamp(0, 1)


class TabulatedField:
    """The displacement field on a coarse grid, so that a state's displacements are looked up instead of computed.

    Parameters
    ----------
    model
        The half's model.
    box_length_angstroms
        Side of the cube that the table covers; outside it nothing moves.
    """

    def __init__(self, model: HalfModel, box_length_angstroms: float) -> None:
        self.size = min(int(np.ceil(box_length_angstroms / _COARSE_SPACING_ANGSTROMS)) + 1, _LARGEST_COARSE_GRID)
        self.half_length = box_length_angstroms / 2
        self._cell = box_length_angstroms / (self.size - 1)
        axis = torch.linspace(-self.half_length, self.half_length, self.size)
        zyx = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
        basis = model.field.basis(zyx.flip(1).to(model.gaussians.positions.device))  # (K, G^3, 3)
        extent = basis.abs().amax(dim=(0, 2))  # (G^3,)
        self._filled = torch.nonzero(extent).flatten()  # away from the density nothing moves, in any state
        self._table = basis[:, self._filled]  # (K, m, 3)
        self._extent = extent.view(1, 1, self.size, self.size, self.size)

    def of_state(self, coefficients: Tensor) -> list[Tensor]:
        """Displacements (1, 3, G, G, G) in A of the state with coefficients (K,), and their slopes along x, y and z.

        Slopes are those over a cell of the table, so that there is one more along the axis: (1, 3, G, G, G + 1) along x.
        """
        field = coefficients.new_zeros(3, self.size**3)
        field[:, self._filled] = torch.einsum("k,kmc->cm", coefficients, self._table)
        field = field.view(1, 3, self.size, self.size, self.size)
        nothing = [tuple(int(of == 2 * axis or of == 2 * axis + 1) for of in range(6)) for axis in range(3)]
        return [field, *(torch.nn.functional.pad(field, nothing[axis]).diff(dim=4 - axis) / self._cell for axis in range(3))]

    def displacement(self, state: list[Tensor], points: Tensor) -> Tensor:
        """Displacements (m, 3) A at points (m, 3) A, of a state made by `of_state`."""
        return self._sample(state[0], points).T

    def gradient(self, state: list[Tensor], points: Tensor) -> Tensor:
        """(m, 3, 3) gradient of phi at points (m, 3) A, by central differences over a cell of the table."""
        slopes = []
        for axis, grid in enumerate(state[1:]):
            shrunk = torch.ones(3, device=points.device)
            shrunk[axis] = self.half_length / (self.half_length + self._cell / 2)
            slopes.append(self._sample(grid, points * shrunk))
        return torch.eye(3, device=points.device) + torch.stack(slopes).permute(2, 1, 0)

    def moves(self, points: Tensor) -> Tensor:
        """Whether points (m, 3) A move in any state, (m,)."""
        return self._sample(self._extent, points)[0] > 0

    def _sample(self, grid: Tensor, points: Tensor) -> Tensor:
        """Values (c, m) of a grid (1, c, G, G, G) at points (m, 3) A."""
        places = (points / self.half_length).view(1, -1, 1, 1, 3)
        values = torch.nn.functional.grid_sample(grid, places, mode="bilinear", padding_mode="zeros", align_corners=True)
        return values.view(grid.shape[1], -1)


class CarriedReconstruction:
    """States as a reconstruction of the consensus carried along the field: V_state(phi(x)) = V(x) / det(grad phi).

    Parameters
    ----------
    volume : (N, N, N)
        The half's reconstruction.
    pixel_size_angstroms
        Of the map.
    model
        The half's model.
    description
        Where the map comes from, for captions.
    """

    def __init__(self, volume: Tensor, pixel_size_angstroms: float, model: HalfModel, description: str) -> None:
        self.box, self.pixel_size_angstroms, self.description = volume.shape[0], pixel_size_angstroms, description
        self.device = model.gaussians.positions.device
        self.field = TabulatedField(model, self.box * pixel_size_angstroms)
        self.volume = volume.cpu()
        self.spline = spline_filter(self.volume.numpy(), order=3, output=np.float32)
        axis = (torch.arange(self.box, dtype=torch.float32) - self.box // 2) * pixel_size_angstroms
        zyx = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
        self.points = zyx.flip(1).contiguous().to(self.device)  # (N^3, 3)
        self.moving = self.field.moves(self.points)  # (N^3,)
        self.weight = volume.clamp(min=0).flatten().to(self.device)

    @torch.no_grad()
    def state(self, coefficients: Tensor) -> Tensor:
        """Map (N, N, N) of the state with coefficients (K,)."""
        state = self.field.of_state(coefficients)
        active, arriving = self._arriving(state)
        deformed = self.points[active]
        consensus, jacobian = self._solve(state, deformed - arriving, deformed)
        voxels = (consensus / self.pixel_size_angstroms + self.box // 2).flip(1).T.cpu().numpy()  # z y x
        values = map_coordinates(self.spline, voxels, order=3, prefilter=False, mode="constant")
        result = self.volume.flatten().clone()
        result[active.cpu()] = torch.from_numpy(values) / jacobian.cpu().clamp(min=0.2, max=5.0)
        return result.view(self.box, self.box, self.box)

    def _arriving(self, state: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Voxels (a,) that the state changes, and the displacement (a, 3) A that arrives there.

        Where space is folded, it is that of the sheet with the density. Voxels that no state moves keep their density where it
        is, so that only the others are carried.
        """
        displacement = torch.zeros_like(self.points)
        displacement[self.moving] = self.field.displacement(state, self.points[self.moving])
        carried = torch.nonzero(self.moving & (self.weight > 0)).flatten()
        target = (self.points + displacement)[carried] / self.pixel_size_angstroms + self.box // 2
        weight = self.weight[carried]
        mass = splat_points(target, weight, self.box).flatten() + self.weight * ~self.moving
        moments = [splat_points(target, weight * displacement[carried, axis], self.box).flatten() for axis in range(3)]
        dense = mass > 0.02 * self.weight.max()
        arriving = torch.where(dense[:, None], torch.stack(moments, dim=1) / mass.clamp(min=1e-12)[:, None], displacement)
        active = torch.nonzero((arriving.abs().sum(1) > 1e-3) | (displacement.abs().sum(1) > 1e-3)).flatten()
        return active, arriving[active]

    def _solve(self, state: list[Tensor], consensus: Tensor, deformed: Tensor) -> tuple[Tensor, Tensor]:
        """Newton's iteration for phi(x) = y from x = consensus; also the determinant of grad phi there."""
        still = torch.arange(len(consensus), device=self.device)
        for _ in range(_NEWTON_STEPS):
            points = consensus[still]
            error = deformed[still] - points - self.field.displacement(state, points)
            far = error.square().sum(1) > _CLOSE_ANGSTROMS**2
            still, points, error = still[far], points[far], error[far]
            consensus[still] = points + bounded_step(self.field.gradient(state, points), error)
        return consensus, determinants(self.field.gradient(state, consensus)).abs()


def half_reconstruction(job_directory: Path, half: int, box: int, pixel_size_angstroms: float) -> Tensor | None:
    """A half's deformed reconstruction, its shells weighted by what the two half maps agree on; None where there is none.

    Weight sqrt(2 FSC / (1 + FSC)), up to the first shell below 0.143. Source: Rosenthal and Henderson 2003, equation 20.
    """
    paths = {h: Path(job_directory) / layout.half_map(h) for h in (1, 2)}
    if not all(path.is_file() for path in paths.values()):
        return None
    volumes = {}
    for h, path in paths.items():
        volumes[h] = read_volume(path)
        check_map(volumes[h], box, pixel_size_angstroms, f"Half map {path}")
    curve = fsc(volumes[1].data, volumes[2].data)
    weight = (2 * curve / (1 + curve)).clamp(min=0).sqrt()
    lost = torch.nonzero(curve[1:] < 0.143).flatten()
    if len(lost):
        weight[1 + int(lost[0]) :] = 0
    shells = shells_3d(box)
    factor = torch.cat((weight, weight.new_zeros(1)))[shells.clamp(max=len(weight))]
    return irfft3(rfft3(volumes[half].data) * factor, box)
