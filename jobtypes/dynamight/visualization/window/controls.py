"""Buttons, sliders and menus beside the latent space, in tabs. They only say what was chosen; the explorer does it."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import Colormap
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QImage, QPainter, QPaintEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QSpinBox,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from jobtypes.dynamight.colours import DISPLACEMENT_COLOURS_ON_DARK
from jobtypes.dynamight.visualization.colourings import GAUSSIAN_COLOURINGS
from jobtypes.dynamight.visualization.half_view import CHOICES, SOURCES, SURFACE_COLOURINGS, VIEW_COLOURINGS
from jobtypes.dynamight.visualization.landscape.figures import CAVEAT, HIGHEST_KT
from jobtypes.dynamight.visualization.landscape.overview import Overview
from jobtypes.dynamight.visualization.reductions import METHODS
from jobtypes.dynamight.visualization.window.populations_canvas import PopulationsCanvas

_SLIDER_STEPS = 200
_IN_A_ROW = 4  # buttons of stable states


class ColourBar(QWidget):
    """A colour scale between two numbers with a unit."""

    def __init__(self, colours: Colormap = DISPLACEMENT_COLOURS_ON_DARK) -> None:
        super().__init__()
        table = np.ascontiguousarray(np.round(255 * colours(np.linspace(0, 1, 128))[None, :, :3]).astype(np.uint8))
        self._image = QImage(table.tobytes(), 128, 1, 3 * 128, QImage.Format.Format_RGB888).copy()
        self._text = ""
        self.setMinimumHeight(30)

    def set_range(self, low: float, high: float, label: str) -> None:
        """Say what the ends of the scale are."""
        self.low, self.high, self._text = low, high, label
        self.setToolTip(f"{label}: {low:.3g} to {high:.3g}")
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802 (Qt's name)
        """Draw the scale, its ends and its label."""
        if not self._text:
            return
        painter, bar = QPainter(self), 11
        painter.drawImage(self.rect().adjusted(0, 0, 0, bar - self.height()), self._image)
        painter.setPen(self.palette().windowText().color())
        below = self.rect().adjusted(0, bar + 2, 0, 0)
        painter.drawText(below, int(Qt.AlignmentFlag.AlignLeft), f"{self.low:.3g}")
        painter.drawText(below, int(Qt.AlignmentFlag.AlignRight), f"{self.high:.3g}")
        painter.drawText(below, int(Qt.AlignmentFlag.AlignHCenter), self._text)
        painter.end()


class ViewControls(QWidget):
    """Which half set, how the latent space is drawn, what colours it."""

    half_chosen = Signal(str)
    drawing_chosen = Signal()  # reduction or colouring

    def __init__(self) -> None:
        super().__init__()
        self.half = _menu(CHOICES, "Half set. 0 compares both halves' models on particles that trained neither.")
        self.reduction = _menu(
            [name.upper() if name != "raw" else name for name in METHODS],
            "How the latent space is drawn: main motions in Å (PCA), UMAP, independent components (ICA), or the raw latents.",
        )
        self.colouring = _menu(VIEW_COLOURINGS, "What colours the particles. The cross: the particle with the least motion.")
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for column, (label, menu) in enumerate(
            (("Half set", self.half), ("Drawn by", self.reduction), ("Colour", self.colouring))
        ):
            layout.addWidget(QLabel(label), 0, column)
            layout.addWidget(menu, 1, column)
            layout.setColumnStretch(column, (4, 2, 4)[column])
        self.half.textActivated.connect(self.half_chosen)
        self.reduction.activated.connect(lambda: self.drawing_chosen.emit())
        self.colouring.activated.connect(lambda: self.drawing_chosen.emit())

    @property
    def method(self) -> str:
        """Reduction that is chosen."""
        return METHODS[self.reduction.currentIndex()]


class ShowControls(QWidget):
    """What of the molecule is shown, and how."""

    shown = Signal()  # visibility or colours
    level_chosen = Signal()
    source_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.state = _box("state", "Surface of the map of the state.", checked=True)
        self.consensus = _box("consensus map", "Surface of the consensus map, see-through.")
        self.gaussians = _box("Gaussians", "Gaussians as spheres; their diameter is twice their standard deviation.")
        self.volume = _box("as volume", "Draw the state's map itself by volume rendering: slow without a graphics card.")
        self.surface_colour = _menu(
            SURFACE_COLOURINGS,
            "What colours the surface: displacement, share of the particles that have each part, or where the\n"
            "half sets disagree.",
        )
        self.source = _menu(SOURCES, "What the surface is of. The reconstruction is there after the deformed backprojection.")
        self.gaussian_colour = _menu(GAUSSIAN_COLOURINGS, "What colours the Gaussians.")
        self.level = QSlider(Qt.Orientation.Horizontal)
        self.level.setRange(1, _SLIDER_STEPS)
        self.level.setToolTip("Contour level of the surfaces, as a share of the highest density of the consensus.")
        self.level_text = QLabel("")
        self.surface_bar, self.gaussian_bar = ColourBar(), ColourBar()
        self._lay_out()
        for box in (self.state, self.consensus, self.gaussians, self.volume):
            box.toggled.connect(lambda: self.shown.emit())
        self.surface_colour.activated.connect(lambda: self.shown.emit())
        self.gaussian_colour.activated.connect(lambda: self.shown.emit())
        self.level.valueChanged.connect(lambda: self.level_chosen.emit())
        self.source.textActivated.connect(self.source_chosen)

    def _lay_out(self) -> None:
        layout = QGridLayout(self)
        for index, box in enumerate((self.state, self.consensus, self.gaussians, self.volume)):
            layout.addWidget(box, 0, index)
        form = QFormLayout()
        form.addRow("Surface of", self.source)
        level = QGridLayout()
        level.addWidget(self.level, 0, 0)
        level.addWidget(self.level_text, 0, 1)
        form.addRow("Contour level", level)
        form.addRow("Surface by", self.surface_colour)
        form.addRow("", self.surface_bar)
        form.addRow("Gaussians by", self.gaussian_colour)
        form.addRow("", self.gaussian_bar)
        layout.addLayout(form, 1, 0, 1, 4)
        layout.setRowStretch(2, 1)

    def set_level(self, level: float, highest: float) -> None:
        """Move the slider without telling anybody."""
        self._highest = highest
        self.level.blockSignals(True)
        self.level.setValue(round(_SLIDER_STEPS * level / highest))
        self.level.blockSignals(False)
        self.level_text.setText(f"{self.chosen_level:.3g}")

    @property
    def chosen_level(self) -> float:
        """Contour level of the slider."""
        return self._highest * self.level.value() / _SLIDER_STEPS


class MovieControls(QWidget):
    """Trajectories: the main motions, and what was drawn."""

    motion_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.motions = QGridLayout()
        self.frames = QSpinBox()
        self.frames.setRange(2, 500)
        self.frames.setValue(21)
        self.frames.setToolTip("States along the trajectory.")
        self.again = _button("Make the movie again", "The same trajectory with this number of frames.")
        self.save = _button("Save the movie", "Maps, a ChimeraX script and an animation, in movies/ of the job.")
        layout = QFormLayout(self)
        layout.addRow(QLabel("Draw with the middle mouse button (or Shift and left), or traverse"))
        layout.addRow(self.motions)
        layout.addRow("Frames", self.frames)
        row = QGridLayout()
        row.addWidget(self.again, 0, 0)
        row.addWidget(self.save, 0, 1)
        layout.addRow(row)

    def set_motions(self, rms_angstroms: list[float]) -> None:
        """One button for each of the largest motions."""
        while (item := self.motions.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        self.buttons = []
        for motion, rms in enumerate(rms_angstroms[:4]):
            button = _button(f"motion {motion + 1} ({rms:.1f} Å)", f"From the 2nd to the 98th percentile; rms {rms:.2f} Å.")
            button.clicked.connect(lambda _=False, chosen=motion: self.motion_chosen.emit(chosen))
            self.motions.addWidget(button, motion // 2, motion % 2)
            self.buttons.append(button)


class LandscapeControls(QWidget):
    """Populations: stable states, the densest way between two of them; and states made from images."""

    state_chosen, way_chosen, mapped_chosen = Signal(int), Signal(int, int), Signal(int)
    drawn = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.populations = PopulationsCanvas()
        self.energies = _box(
            "energies under the particles, and stable states",
            f"In the plane of the first two main motions: bright at 0 kT, dark from {HIGHEST_KT:g} kT on.\n{CAVEAT}",
            checked=True,
        )
        self.states = QGridLayout()
        self.buttons: list[QPushButton] = []
        self.first, self.last = (_menu([], "Stable state at this end of the way.") for _ in range(2))
        self.way = _button(
            "Movie", "The way between two stable states where most particles are, with the frames of the tab Movie."
        )
        self.mapped = _menu(
            [], "Maps made from the images of the particles around a state, without the model's deformation of others."
        )
        self.show_mapped = _button("Show", "The filtered map of this state.")
        self._lay_out()
        self.energies.toggled.connect(lambda: self.drawn.emit())
        self.way.clicked.connect(lambda: self.way_chosen.emit(self.first.currentIndex() + 1, self.last.currentIndex() + 1))
        self.show_mapped.clicked.connect(lambda: self.mapped_chosen.emit(self.mapped.currentIndex()))
        self.set_mapped([])
        self.forget()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 0, 6, 0)
        layout.addWidget(self.populations)
        layout.addLayout(self.states)
        layout.addWidget(self.energies)
        for label, *widgets in (
            ("Way from", self.first, QLabel("to"), self.last, self.way),
            ("From images", self.mapped, self.show_mapped),
        ):
            row = QHBoxLayout()
            row.addWidget(QLabel(label))
            for widget in widgets:
                row.addWidget(widget, 1 if isinstance(widget, QComboBox) else 0)
            layout.addLayout(row)
        layout.addStretch(1)

    def forget(self) -> None:
        """Populations of another half set are not known yet."""
        self.populations.forget()
        self.set_states([])

    def show_populations(self, overview: Overview) -> None:
        """Draw the populations, and say what was found."""
        self.populations.show_landscape(overview.landscapes[0])
        said = overview.sentence().removeprefix("Populations: ").replace("+-", "±").replace(" A ", " Å ")
        self.populations.setToolTip(f"{said}\n{CAVEAT}")

    def set_states(self, texts: list[str]) -> None:
        """One button for each stable state."""
        for button in self.buttons:
            button.deleteLater()
        self.buttons = [_button(text, "Show this stable state.") for text in texts]
        for number, button in enumerate(self.buttons, start=1):
            button.clicked.connect(lambda _=False, chosen=number: self.state_chosen.emit(chosen))
            self.states.addWidget(button, (number - 1) // _IN_A_ROW, (number - 1) % _IN_A_ROW)
        for menu in (self.first, self.last):
            menu.clear()
            menu.addItems([str(number) for number in range(1, len(texts) + 1)])
        self.last.setCurrentIndex(1)
        for widget in (self.first, self.last, self.way):
            widget.setEnabled(len(texts) > 1)

    def set_mapped(self, names: list[str]) -> None:
        """States that have maps made from images."""
        self.mapped.clear()
        self.mapped.addItems(names or ['none yet: the task "maps of states" makes them'])
        for widget in (self.mapped, self.show_mapped):
            widget.setEnabled(bool(names))


class ParticleControls(QWidget):
    """A selection of particles."""

    def __init__(self) -> None:
        super().__init__()
        self.count = QLabel("Surround particles with the right mouse button (or Ctrl and left).")
        self.count.setWordWrap(True)
        tip = "Also those of the other half set whose states lie among the selected ones; a refinement needs both."
        self.both = _box("particles of both halves", tip, checked=True)
        self.save = _button("Save the selection", "Particle STAR file with all columns, in subsets/ of the job.")
        layout = QFormLayout(self)
        layout.addRow(self.count)
        layout.addRow(self.both)
        layout.addRow(self.save)


class SaveControls(QWidget):
    """Files of what is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.map = _button("Save the state as a map", "maps/mapNNN_halfH.mrc of the job, in the box of the particles.")
        self.gaussians = _button("Save its Gaussians", "maps/mapNNN_halfH.pdb; B-factor column: displacement in Å.")
        self.figure = _button("Save the latent space", "The drawing on white, in figures/ of the job and in logfile.pdf.")
        self.picture = _button("Save a picture of the window", "figures/windowNNN_halfH.png of the job.")
        layout = QGridLayout(self)
        for index, button in enumerate((self.map, self.gaussians, self.figure, self.picture)):
            layout.addWidget(button, index // 2, index % 2)
        layout.setRowStretch(2, 1)


class Tabs(QTabWidget):
    """All controls under the latent space."""

    def __init__(self) -> None:
        super().__init__()
        self.show_controls, self.movie, self.landscape, self.particles, self.files = (
            ShowControls(),
            MovieControls(),
            LandscapeControls(),
            ParticleControls(),
            SaveControls(),
        )
        for widget, title in (
            (self.show_controls, "Show"),
            (self.movie, "Movie"),
            (self.landscape, "Landscape"),
            (self.particles, "Particles"),
            (self.files, "Save"),
        ):
            self.addTab(widget, title)


def _menu(entries: tuple[str, ...] | list[str], tip: str) -> QComboBox:
    menu = QComboBox()
    menu.addItems(list(entries))
    menu.setToolTip(tip)
    return menu


def _box(text: str, tip: str, *, checked: bool = False) -> QCheckBox:
    box = QCheckBox(text)
    box.setToolTip(tip)
    box.setChecked(checked)
    return box


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button
