"""The surface of a state, fast enough to follow the mouse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from jobtypes.dynamight.model.density import DensityRenderer
from jobtypes.dynamight.model.gaussians import automatic_threshold
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.visualization.states import GaussianStates

_LARGEST_GRID = 144  # a click is answered at once on this grid; maps that are saved have the box of the particles


@dataclass(frozen=True)
class Mesh:
    """A surface.

    Attributes
    ----------
    vertices : (m, 3) float32 A
        From the box centre, order x y z.
    faces : (f, 3)
        Indices of vertices.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int64]

    def values_of(self, positions: Tensor, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Value (m,) at each vertex: that of the nearest of points (n, 3) A with values (n,)."""
        _, nearest = cKDTree(positions.cpu().numpy()).query(self.vertices, workers=torch.get_num_threads())
        return np.asarray(values[nearest])


class StateSurfaces(Protocol):
    """Anything that draws the surface of a state.

    Attributes
    ----------
    level, highest
        Contour level that shows the molecule, and the largest density.
    """

    level: float
    highest: float

    def surface(self, coefficients: Tensor, level: float) -> Mesh:
        """Surface at a contour level of the state with coefficients (K,)."""
        ...


class GaussianSurfaces:
    """Surfaces of the Gaussians, rendered in the state and contoured by marching cubes.

    Parameters
    ----------
    states
        The Gaussians of a half set.
    """

    def __init__(self, states: GaussianStates) -> None:
        self.states = states
        length = states.box * states.pixel_size_angstroms
        finest = max(
            states.least_width_angstroms, states.pixel_size_angstroms
        )  # a Gaussian's width holds all that there is to see
        grid = min(states.box, _LARGEST_GRID, max(32, 2 * round(length / finest / 2)))
        self.pixel_size_angstroms = length / grid
        width = max(states.least_width_angstroms, 0.75 * self.pixel_size_angstroms)  # narrower ones would show the grid
        self.render = DensityRenderer(
            states.model.gaussians, grid, self.pixel_size_angstroms, least_width_angstroms=width, oversampling=1
        )
        consensus = self.render(states.model.gaussians.positions).cpu()
        self.level, self.highest = automatic_threshold(consensus), float(consensus.max())

    def surface(self, coefficients: Tensor, level: float) -> Mesh:
        """Surface at a contour level of the state with coefficients (K,)."""
        return contour(self.render(self.states.positions(coefficients)).cpu(), self.pixel_size_angstroms, level)


class CarriedSurfaces:
    """Surfaces of a reconstruction of the consensus, whose vertices are carried along the deformation to the state.

    Parameters
    ----------
    volume : (N, N, N)
        The reconstruction.
    pixel_size_angstroms
        Of the map.
    model
        The half's model.
    """

    def __init__(self, volume: Tensor, pixel_size_angstroms: float, model: HalfModel) -> None:
        self.volume, self.pixel_size_angstroms, self.model = volume.cpu(), pixel_size_angstroms, model
        self.level, self.highest = automatic_threshold(self.volume), float(self.volume.max())
        self._contoured: tuple[float, Mesh, Tensor] | None = None

    @torch.no_grad()
    def surface(self, coefficients: Tensor, level: float) -> Mesh:
        """Surface at a contour level of the state with coefficients (K,); a new level takes longer than a new state."""
        if self._contoured is None or self._contoured[0] != level:
            mesh = contour(self.volume, self.pixel_size_angstroms, level)
            points = torch.from_numpy(mesh.vertices).to(coefficients.device)
            self._contoured = (level, mesh, self.model.field.basis(points))
        _, mesh, basis = self._contoured
        moved = torch.einsum("k,kmc->mc", coefficients, basis).cpu().numpy()
        return Mesh(mesh.vertices + moved, mesh.faces)


def contour(volume: Tensor, pixel_size_angstroms: float, level: float) -> Mesh:
    """Marching cubes (Lewiner et al. 2003) on a map (N, N, N) [z, y, x]; no faces where no density crosses the level."""
    from skimage.measure import marching_cubes

    density = volume.numpy()
    if not density.min() < level < density.max():
        return Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64))
    zyx, faces, _, _ = marching_cubes(density, level)
    xyz = (zyx[:, ::-1] - volume.shape[0] // 2) * pixel_size_angstroms
    return Mesh(np.ascontiguousarray(xyz, dtype=np.float32), faces.astype(np.int64))
