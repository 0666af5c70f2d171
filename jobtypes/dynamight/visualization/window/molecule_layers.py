"""The molecule as napari layers: surfaces, Gaussians, a volume, and the frames of a movie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import to_rgba
from napari import Viewer
from napari.layers import Image, Points, Surface
from napari.utils.colormaps import Colormap
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.dynamight.colours import (
    CONSENSUS_COLOUR,
    DISPLACEMENT_COLOURS_ON_DARK,
    HALF_COLOURS,
    OUTSIDE_COLOUR,
    SURFACE_COLOUR,
    on_dark,
)
from jobtypes.dynamight.visualization.state_surfaces import Mesh

_UNITS = ("angstrom",) * 3
_CANVAS_PIXELS = 620  # height that the molecule may take at first
_NOTHING = Mesh(np.zeros((3, 3), np.float32), np.array([[0, 1, 2]]))


def _one_colour(colour: str, name: str) -> Colormap:
    return Colormap([to_rgba(colour)] * 2, name=name)


_DISPLACEMENT = Colormap(DISPLACEMENT_COLOURS_ON_DARK(np.linspace(0, 1, 64)), name="displacement")
_OUTSIDE = _one_colour(OUTSIDE_COLOUR, "outside the data")
_PLAIN = _one_colour(on_dark(SURFACE_COLOUR), "plain")
_CONSENSUS = _one_colour(on_dark(CONSENSUS_COLOUR), "consensus")
_HALVES = {half: _one_colour(on_dark(colour), f"half {half}") for half, colour in HALF_COLOURS.items()}


@dataclass(frozen=True)
class Appearance:
    """What is shown of a state.

    Attributes
    ----------
    mesh
        Its surface.
    surface_values : (m,)
        What colours the vertices, 0 to 1.
    positions : (n, 3) A
        Gaussians.
    gaussian_values : (n,)
        What colours the Gaussians; or (n, 3) colours.
    gaussian_sizes : (n,) A
        Their diameters.
    inside
        False where there are no data: drawn grey.
    other
        The same state by the other half's model, in half-set 0.
    """

    mesh: Mesh
    surface_values: NDArray[np.float64]
    positions: Tensor
    gaussian_values: NDArray[np.float64]
    gaussian_sizes: NDArray[np.float64]
    inside: bool = True
    other: Mesh | None = None


class MoleculeLayers:
    """Layers of the molecule in a viewer, in A, -z y x.

    napari lights surfaces from the front in its own, left-handed orientation of the axes only (0.9); with z turned round in it
    the molecule has its true hand.

    Parameters
    ----------
    viewer
        An empty viewer.
    """

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.volume: Image = viewer.add_image(
            np.zeros((2, 2, 2), np.float32),
            name="state, as volume",
            rendering="iso",
            colormap="gray",
            visible=False,
            units=_UNITS,
        )
        self.consensus = self._surface("consensus map", _CONSENSUS, opacity=0.35)
        self.other = self._surface("state by the other half", _HALVES[2])
        self.state = self._surface("state", _DISPLACEMENT)
        self.state.visible = True
        self.gaussians: Points = viewer.add_points(
            np.zeros((1, 3)), name="Gaussians", size=1.0, border_width=0, shading="spherical", visible=False, units=_UNITS
        )
        self._frames: list[Appearance] = []
        self._frame = -1
        self._shown: Callable[[int], None] = lambda frame: None
        self.is_plain = False  # surfaces in one colour
        self.gaussian_limits = (0.0, 1.0)
        viewer.dims.events.current_step.connect(self._step)

    def _surface(self, name: str, colours: Colormap, opacity: float = 1.0) -> Surface:
        layer = self.viewer.add_surface(
            _napari(_NOTHING), name=name, opacity=opacity, shading="smooth", visible=False, units=_UNITS
        )
        layer.colormap, layer.contrast_limits = colours, (0.0, 1.0)
        return layer

    def look_from_front(self, extent_angstroms: float) -> None:
        """Look at the box centre from +z, x to the right and y up, as ChimeraX does at first, at so many A."""
        self.viewer.dims.ndisplay = 3
        camera = self.viewer.scene.camera
        camera.orientation = ("towards", "down", "right")
        camera.center, camera.angles = (0.0, 0.0, 0.0), (0.0, 0.0, 180.0)
        camera.zoom = _CANVAS_PIXELS / extent_angstroms

    def show(self, appearance: Appearance) -> None:
        """Show a state, in the layers that are visible: each update lets napari slice all of them anew."""
        mesh = appearance.mesh
        self.state.data = _napari(mesh, np.clip(appearance.surface_values, 0, 1))
        two = appearance.other is not None
        if not appearance.inside:
            self.state.colormap = _OUTSIDE
        elif two:
            self.state.colormap = _HALVES[1]
        else:
            self.state.colormap = _PLAIN if self.is_plain else _DISPLACEMENT
        if two or self.other.visible:
            self.other.data = _napari(appearance.other or _NOTHING)
            self.other.visible = two
        if not self.gaussians.visible:
            return
        self.gaussians.data = _layered(appearance.positions.cpu().numpy())
        self.gaussians.size = np.maximum(appearance.gaussian_sizes, 0.1)
        self.gaussians.face_color = np.column_stack((self._gaussian_colours(appearance), np.ones(len(appearance.positions))))

    def _gaussian_colours(self, appearance: Appearance) -> NDArray[np.float64]:
        values = appearance.gaussian_values
        if values.ndim == 2:
            return values
        low, high = self.gaussian_limits
        return np.asarray(DISPLACEMENT_COLOURS_ON_DARK(np.clip((values - low) / (high - low), 0, 1))[:, :3])

    def look_inside(self, inside: bool) -> None:
        """Make the state's surfaces so clear that the Gaussians in them are seen, or solid."""
        for layer in (self.state, self.other):
            layer.opacity = 0.35 if inside else 1.0
            layer.blending = "translucent_no_depth" if inside else "translucent"

    def show_consensus(self, mesh: Mesh) -> None:
        """Give the consensus map its surface."""
        self.consensus.data = _napari(mesh)

    def show_volume(self, volume: Tensor, pixel_size_angstroms: float, level: float) -> None:
        """Show a map (N, N, N) by rendering its volume: slow without a graphics card."""
        self.volume.data = volume.numpy()
        centre = volume.shape[0] // 2 * pixel_size_angstroms
        self.volume.scale = (-pixel_size_angstroms, pixel_size_angstroms, pixel_size_angstroms)
        self.volume.translate = (centre, -centre, -centre)
        self.volume.contrast_limits = (0, float(volume.max()))
        self.volume.iso_threshold = level

    def set_movie(self, frames: Sequence[Appearance], shown: Callable[[int], None]) -> None:
        """Give the viewer a slider with napari's play button over these states; `shown` is told which one is shown."""
        self.clear_movie()
        seen = self._seen()
        self._frames, self._shown = list(frames), shown
        # a layer that nobody sees, whose first axis makes the slider
        self._slider: Points = self.viewer.add_points(
            np.column_stack((np.arange(len(frames)), np.zeros((len(frames), 3)))),
            name="frames",
            visible=False,
            units=("pixel", *_UNITS),
        )
        self.viewer.dims.axis_labels = ("frame", "z", "y", "x")
        self.viewer.dims.set_current_step(0, 0)
        self._look(*seen)
        self._frame = -1
        self._step()

    def clear_movie(self) -> None:
        """Take the slider away."""
        if self._frames:
            self._frames, seen = [], self._seen()
            self.viewer.layers.remove(self._slider)
            self._look(*seen)

    def _seen(self) -> tuple[Any, float, Any]:
        """Where the camera is; napari looks anew at what gets or loses a dimension."""
        camera = self.viewer.scene.camera
        return camera.center, camera.zoom, camera.angles

    def _look(self, centre: Any, zoom: float, angles: Any) -> None:
        camera = self.viewer.scene.camera
        camera.center, camera.zoom, camera.angles = centre, zoom, angles

    def _step(self) -> None:
        if self._frames and self.viewer.dims.ndim == 4:
            frame = min(int(self.viewer.dims.current_step[0]), len(self._frames) - 1)
            if frame != self._frame:  # a state of another size makes napari say so again
                self._frame = frame
                self.show(self._frames[frame])
                self._shown(frame)


def _layered(xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points (m, 3) x y z as the layers have them."""
    return np.ascontiguousarray(xyz[:, ::-1] * np.array((-1, 1, 1), xyz.dtype))


def _napari(
    mesh: Mesh, values: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Vertices, faces and values of a surface layer; napari knows no surface without faces, so that one becomes a point."""
    if not mesh.faces.size:
        mesh, values = _NOTHING, None
    return _layered(mesh.vertices), mesh.faces, np.asarray(np.zeros(len(mesh.vertices)) if values is None else values, np.float32)
