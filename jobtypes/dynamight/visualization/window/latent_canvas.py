"""The latent space as a matplotlib canvas in Qt: click a state, draw a trajectory, surround particles."""

from __future__ import annotations

import numpy as np
from matplotlib.backend_bases import DrawEvent, MouseButton, MouseEvent
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from qtpy.QtCore import Qt, Signal

from jobtypes.dynamight.colours import OUTSIDE_COLOUR, STATE_COLOUR, on_dark
from jobtypes.dynamight.visualization.colourings import Colouring
from jobtypes.dynamight.visualization.half_view import DrawnLandscape
from jobtypes.dynamight.visualization.landscape.figures import draw_energies, number_states
from jobtypes.dynamight.visualization.latent_drawing import DARK, draw_latent_space
from jobtypes.dynamight.visualization.reductions import Reduction

_PATH, _SELECTION = "#ffd166", "#7fe3ff"
_LEFT, _MIDDLE, _RIGHT = 1, 2, 3


class LatentCanvas(FigureCanvasQTAgg):
    """Particles in two dimensions.

    Left click: a state. Middle button (or Shift and left), dragged: a trajectory. Right button (or Ctrl and left), dragged: a
    selection. What is drawn with the mouse is put over a picture of the particles, so that it is as quick with half a million.
    """

    state_chosen = Signal(object)  # (2,) point of the drawing
    trajectory_drawn = Signal(object)  # (m, 2)
    polygon_drawn = Signal(object)  # (m, 2)

    def __init__(self) -> None:
        super().__init__(Figure(figsize=(5, 4), layout="constrained"))  # type: ignore[no-untyped-call] # as all of matplotlib's canvas
        self.figure.set_facecolor(DARK.background)
        self.setMinimumSize(380, 300)
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setToolTip(
            "Left click: show this state.\nMiddle button, dragged (or Shift + left): draw a trajectory for a movie.\n"
            "Right button, dragged (or Ctrl + left): surround particles to count or to save them."
        )
        self._background: object | None = None
        self._pressed: int | None = None
        self._stroke: list[tuple[float, float]] = []
        self._overlay: dict[str, Line2D] = {}
        self.mpl_connect("draw_event", self._keep_background)
        self.mpl_connect("button_press_event", self._press)
        self.mpl_connect("motion_notify_event", self._move)
        self.mpl_connect("button_release_event", self._release)

    def show_particles(
        self, reduction: Reduction, colouring: Colouring, least_moved: int, landscape: DrawnLandscape | None = None
    ) -> None:
        """Draw the particles anew, with energies and stable states if given; what was drawn with the mouse goes."""
        self.figure.clear()
        self.axes = self.figure.add_subplot()
        draw_latent_space(self.figure, self.axes, reduction, colouring, least_moved=least_moved)
        if landscape is not None:
            if landscape.plane is not None:
                draw_energies(self.axes, landscape.plane)
            number_states(self.axes, landscape.places)

        def line(colour: str, width: float) -> Line2D:
            (drawn,) = self.axes.plot(
                [], [], color=colour, lw=width, zorder=6, animated=True, solid_capstyle="round", solid_joinstyle="round"
            )
            return drawn

        self._overlay = {
            "path": line(_PATH, 2.2),
            "frames": self.axes.plot([], [], "o", color=_PATH, ms=3.5, zorder=7, animated=True)[0],
            "polygon": line(_SELECTION, 1.6),
            "state": self.axes.plot([], [], "o", mec="white", mew=1.5, ms=9, zorder=8, animated=True)[0],
        }
        self.draw()

    def mark_state(self, point: NDArray[np.float64] | None, inside: bool = True) -> None:
        """Mark the state that is shown, grey outside the data; None: no mark."""
        self._overlay["state"].set_markerfacecolor(on_dark(STATE_COLOUR) if inside else OUTSIDE_COLOUR)
        self._set("state", np.zeros((0, 2)) if point is None else np.atleast_2d(point))

    def mark_trajectory(self, path: NDArray[np.float64]) -> None:
        """Draw the path (F, 2) of a movie with its frames."""
        self._overlay["frames"].set_data(path.T)
        self._set("path", path)

    def mark_polygon(self, corners: NDArray[np.float64]) -> None:
        """Draw the outline (c, 2) of a selection."""
        self._set("polygon", np.concatenate((corners, corners[:1])))

    def _set(self, name: str, points: NDArray[np.float64]) -> None:
        self._overlay[name].set_data(np.asarray(points).T)
        self._draw_overlay()

    def _keep_background(self, event: DrawEvent) -> None:
        self._background = self.copy_from_bbox(self.figure.bbox)
        for artist in self._overlay.values():
            self.axes.draw_artist(artist)

    def _draw_overlay(self) -> None:
        if self._background is None:
            return
        self.restore_region(self._background)
        for artist in self._overlay.values():
            self.axes.draw_artist(artist)
        self.blit(self.figure.bbox)

    def _press(self, event: MouseEvent) -> None:
        if not self._overlay or event.inaxes is not self.axes or self._pressed is not None:
            return
        self._pressed = _meaning(event)
        self._stroke = [_place(event)]

    def _move(self, event: MouseEvent) -> None:
        if self._pressed not in (_MIDDLE, _RIGHT) or event.inaxes is not self.axes:
            return
        self._stroke.append(_place(event))
        if self._pressed == _MIDDLE:
            self._overlay["frames"].set_data([], [])
        self._set("path" if self._pressed == _MIDDLE else "polygon", np.array(self._stroke))

    def _release(self, event: MouseEvent) -> None:
        button, stroke = self._pressed, np.array(self._stroke)
        self._pressed, self._stroke = None, []
        if button == _LEFT:
            self.state_chosen.emit(stroke[0])
        elif button == _MIDDLE:
            self.trajectory_drawn.emit(stroke)
        elif button == _RIGHT:
            self.polygon_drawn.emit(stroke)


def _place(event: MouseEvent) -> tuple[float, float]:
    """Point of the drawing at which the mouse is, of an event within the axes."""
    assert event.xdata is not None
    assert event.ydata is not None
    return float(event.xdata), float(event.ydata)


def _meaning(event: MouseEvent) -> int:
    """Button that the press stands for; laptops have no middle one."""
    modifiers = event.guiEvent.modifiers() if event.guiEvent is not None else Qt.KeyboardModifier.NoModifier
    if event.button == _LEFT and modifiers & Qt.KeyboardModifier.ShiftModifier:
        return _MIDDLE
    if event.button == _LEFT and modifiers & Qt.KeyboardModifier.ControlModifier:
        return _RIGHT
    assert isinstance(event.button, MouseButton)
    return int(event.button)
