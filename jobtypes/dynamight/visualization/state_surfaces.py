"""The surface of a state, fast enough to follow the mouse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import zoom
from scipy.spatial import cKDTree
from torch import Tensor

from jobtypes.dynamight.model.density import DensityRenderer
from jobtypes.dynamight.model.gaussians import automatic_threshold
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.visualization.states import GaussianStates

_LARGEST_GRID = 144  # maps that are saved have the box of the particles
# A click is answered at once on this grid; small ones are finer than the finest detail, so that surfaces look smooth.
_GRID_OF_CLICKS, _FINER = 128, 2


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

    def about_nearest_of(self, positions: Tensor) -> NDArray[np.int64]:
        """(m,) which of points (n, 3) A is nearest to each vertex, or hardly farther than the nearest, in a third of the time.

        Vertices in a cell of half the mean distance of the points have the point nearest to its middle.
        """
        if not len(self.vertices):
            return np.zeros(0, dtype=np.int64)
        points = positions.cpu().numpy().astype(np.float64)
        cell = max(0.5 * float((np.ptp(points, axis=0).prod() / len(points)) ** (1 / 3)), 1e-3)
        lowest = self.vertices.min(0)
        places = ((self.vertices - lowest) / cell).astype(np.int64)
        sizes = tuple(places.max(0) + 1)
        cells, of_vertex = np.unique(np.ravel_multi_index(tuple(places.T), sizes), return_inverse=True)
        middles = (np.column_stack(np.unravel_index(cells, sizes)) + 0.5) * cell + lowest
        _, nearest = cKDTree(points).query(middles)
        return np.asarray(nearest[of_vertex], dtype=np.int64)


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
    for_clicks
        Smoother where they are small, and faster where they are large.
    """

    def __init__(self, states: GaussianStates, *, for_clicks: bool = False) -> None:
        self.states = states
        length = states.box * states.pixel_size_angstroms
        # a Gaussian's width holds all that there is to see
        finest = max(states.least_width_angstroms, states.pixel_size_angstroms)
        finer, largest = (_FINER, _GRID_OF_CLICKS) if for_clicks else (1, _LARGEST_GRID)
        grid = min(finer * states.box, largest, max(32, 2 * round(finer * length / finest / 2)))
        self.pixel_size_angstroms = length / grid
        width = max(states.least_width_angstroms, 0.75 * self.pixel_size_angstroms)  # narrower ones would show the grid
        self._render = DensityRenderer(
            states.model.gaussians, grid, self.pixel_size_angstroms, least_width_angstroms=width, oversampling=1
        )
        self._scale = (grid / states.box) ** 3  # a voxel holds what of the Gaussians lies in it
        consensus = self.density(states.model.gaussians.positions)
        self.level, self.highest = automatic_threshold(consensus), float(consensus.max())

    def surface(self, coefficients: Tensor, level: float) -> Mesh:
        """Surface at a contour level of the state with coefficients (K,)."""
        return contour(self.density(self.states.positions(coefficients)), self.pixel_size_angstroms, level)

    def density(self, positions: Tensor) -> Tensor:
        """Map, on the CPU, of the Gaussians at positions (n, 3) A, on the grid of the surfaces, as high as maps of the box."""
        return self._render(positions).cpu() * self._scale


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
            mesh = fine_contour(self.volume, self.pixel_size_angstroms, level)
            points = torch.from_numpy(mesh.vertices).to(coefficients.device)
            self._contoured = (level, mesh, self.model.field.basis(points))
        _, mesh, basis = self._contoured
        moved = torch.einsum("k,kmc->mc", coefficients, basis).cpu().numpy()
        return Mesh(mesh.vertices + moved, mesh.faces)


def fine_contour(volume: Tensor, pixel_size_angstroms: float, level: float) -> Mesh:
    """As `contour`, with a small map interpolated on a finer grid by cubic splines, so that its surface looks smooth."""
    box = volume.shape[0]
    if _FINER * box > _GRID_OF_CLICKS:
        return contour(volume, pixel_size_angstroms, level)
    fine = zoom(volume.numpy(), _FINER, order=3)  # its first and last voxels are those of the map
    step = (box - 1) / (len(fine) - 1)
    return _contour(fine, level, step * pixel_size_angstroms, box // 2 / step)


def contour(volume: Tensor, pixel_size_angstroms: float, level: float) -> Mesh:
    """Marching cubes (Lewiner et al. 2003) on a map (N, N, N) [z, y, x]; no faces where no density crosses the level."""
    return _contour(volume.numpy(), level, pixel_size_angstroms, volume.shape[0] // 2)


def _contour(density: NDArray[np.float32], level: float, pixel_size_angstroms: float, centre: float) -> Mesh:
    from skimage.measure import marching_cubes

    if not density.min() < level < density.max():
        return Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64))
    zyx, faces, _, _ = marching_cubes(density, level)
    xyz = (zyx[:, ::-1] - centre) * pixel_size_angstroms
    return Mesh(np.ascontiguousarray(xyz, dtype=np.float32), faces.astype(np.int64))
