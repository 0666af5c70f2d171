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
from jobtypes.dynamight.model.density import DensityRenderer
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.inverse_displacement import bounded_step, determinants
from jobtypes.dynamight.model.loops import over_particles
from jobtypes.dynamight.visualization import carry_loops

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
    """The displacement field on a coarse grid, so that a state's displacements are looked up instead of computed; on the CPU.

    Parameters
    ----------
    model
        The half's model.
    box_length_angstroms
        Side of the cube that the table covers; outside it nothing moves.
    """

    def __init__(self, model: HalfModel, box_length_angstroms: float) -> None:
        self.size = min(int(np.ceil(box_length_angstroms / _COARSE_SPACING_ANGSTROMS)) + 1, _LARGEST_COARSE_GRID)
        half_length = box_length_angstroms / 2
        self._cell = box_length_angstroms / (self.size - 1)
        axis = torch.linspace(-half_length, half_length, self.size)
        zyx = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
        basis = model.field.basis(zyx.flip(1).to(model.gaussians.positions.device)).cpu()  # (K, G^3, 3)
        extent = basis.abs().amax(dim=(0, 2))  # (G^3,)
        filled = extent > 0  # away from the density nothing moves, in any state
        self._table = basis[:, filled]  # (K, m, 3)
        border = (carry_loops.LOW, carry_loops.HIGH) * 3
        self._filled = torch.nn.functional.pad(filled.view((self.size,) * 3), border)
        self._extent = self._tabulated(extent[filled, None])

    def _tabulated(self, values: Tensor) -> Tensor:
        """Values (m, 3) or (m, 1) where something moves, as `carry_loops` takes them."""
        table = torch.zeros(*self._filled.shape, 3)
        table[self._filled] = values
        return table

    def of_state(self, coefficients: Tensor) -> Tensor:
        """Displacements in A of the state with coefficients (K,), a table of `carry_loops`."""
        return self._tabulated(torch.tensordot(coefficients.to(self._table), self._table, dims=1))

    def displacement(self, state: Tensor, points: Tensor) -> Tensor:
        """Displacements (m, 3) A at points (m, 3) A, of a state made by `of_state`."""
        values = torch.empty_like(points)
        over_particles(carry_loops.read, (points, values), state, self._cell)
        return values

    def gradient(self, state: Tensor, points: Tensor) -> Tensor:
        """(m, 3, 3) gradient of phi at points (m, 3) A, by central differences over a cell of the table."""
        slopes = points.new_empty(len(points), 3, 3)
        over_particles(carry_loops.read_slopes, (points, slopes), state, self._cell)
        return torch.eye(3) + slopes

    def moves(self, points: Tensor) -> Tensor:
        """Whether points (m, 3) A move in any state, (m,)."""
        return self.displacement(self._extent, points)[:, 0] > 0


class CarriedReconstruction:
    """States as a reconstruction of the consensus carried along the field: V_state(phi(x)) = V(x) / det(grad phi). On the CPU.

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
        self.field = TabulatedField(model, self.box * pixel_size_angstroms)
        self.volume = volume.cpu()
        self.spline = spline_filter(self.volume.numpy(), order=3, output=np.float32)
        axis = (torch.arange(self.box, dtype=torch.float32) - self.box // 2) * pixel_size_angstroms
        zyx = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
        self.points = zyx.flip(1).contiguous()  # (N^3, 3)
        self.moving = self.field.moves(self.points)  # (N^3,)
        self.weight = self.volume.clamp(min=0).flatten()

    @torch.no_grad()
    def state(self, coefficients: Tensor) -> Tensor:
        """Map (N, N, N) of the state with coefficients (K,)."""
        state = self.field.of_state(coefficients)
        active, arriving = self._arriving(state)
        deformed = self.points[active]
        consensus, jacobian = self._solve(state, deformed - arriving, deformed)
        voxels = (consensus / self.pixel_size_angstroms + self.box // 2).flip(1).T.numpy()  # z y x
        values = map_coordinates(self.spline, voxels, order=3, prefilter=False, mode="constant")
        result = self.volume.flatten().clone()
        result[active] = torch.from_numpy(values) / jacobian.clamp(min=0.2, max=5.0)
        return result.view(self.box, self.box, self.box)

    def _arriving(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Voxels (a,) that the state changes, and the displacement (a, 3) A that arrives there.

        Where space is folded, it is that of the sheet with the density. Voxels that no state moves keep their density where it
        is, so that only the others are carried.
        """
        displacement = torch.zeros_like(self.points)
        displacement[self.moving] = self.field.displacement(state, self.points[self.moving])
        carried = torch.nonzero(self.moving & (self.weight > 0)).flatten()
        places = (self.points[carried] + displacement[carried]) / self.pixel_size_angstroms + self.box // 2
        brought = torch.zeros(self.box**3, 4)
        brought[:, 0] = self.weight * ~self.moving
        of_voxels = (places, self.weight[carried], displacement[carried])
        carry_loops.add_arriving(brought.view(self.box, self.box, self.box, 4).numpy(), *(each.numpy() for each in of_voxels))
        dense = brought[:, 0] > 0.02 * self.weight.max()
        arriving = torch.where(dense[:, None], brought[:, 1:] / brought[:, :1].clamp(min=1e-12), displacement)
        active = torch.nonzero((arriving.abs().sum(1) > 1e-3) | (displacement.abs().sum(1) > 1e-3)).flatten()
        return active, arriving[active]

    def _solve(self, state: Tensor, consensus: Tensor, deformed: Tensor) -> tuple[Tensor, Tensor]:
        """Newton's iteration for phi(x) = y from x = consensus; also the determinant of grad phi there."""
        still = torch.arange(len(consensus))
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
