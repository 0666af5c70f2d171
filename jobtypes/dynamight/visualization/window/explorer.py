"""The window put together: what the user does with the mouse drives a half set, and what comes back is shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from napari import Viewer
from numpy.typing import NDArray
from qtpy.QtWidgets import QDockWidget, QLabel, QVBoxLayout, QWidget
from torch import Tensor

from jobtypes.dynamight.model.result import ForwardResult
from jobtypes.dynamight.visualization.colourings import Colouring
from jobtypes.dynamight.visualization.half_view import ENERGY, HalfView, ShownState, open_view
from jobtypes.dynamight.visualization.landscape.overview import Overview
from jobtypes.dynamight.visualization.movie_paths import MoviePath, along_density, along_motion, along_stroke, shown_states
from jobtypes.dynamight.visualization.reductions import Reduction
from jobtypes.dynamight.visualization.selection import in_polygon
from jobtypes.dynamight.visualization.state_surfaces import Mesh, StateSurfaces
from jobtypes.dynamight.visualization.window import saved_files
from jobtypes.dynamight.visualization.window.background import Background, BackgroundJob
from jobtypes.dynamight.visualization.window.controls import Tabs, ViewControls
from jobtypes.dynamight.visualization.window.latent_canvas import LatentCanvas
from jobtypes.dynamight.visualization.window.molecule_layers import Appearance, MoleculeLayers
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.running_job import RunningJob

_WIDTH = 470  # of the dock, pixels


class Explorer(QWidget):
    """The dock beside the molecule.

    Parameters
    ----------
    viewer
        An empty napari viewer.
    forward
        The job's forward deformations.
    job
        The running job.
    n_clusters, seed
        Of the clusters, and of every random choice.
    """

    def __init__(self, viewer: Viewer, forward: ForwardResult, job: RunningJob, *, n_clusters: int, seed: int) -> None:
        super().__init__()
        self.viewer, self.forward, self.job = viewer, forward, job
        self.n_clusters, self.seed = n_clusters, seed
        self.view: HalfView | None = None
        self.state: ShownState | None = None
        self.point: NDArray[np.float64] | None = None
        self.colouring: Colouring | None = None
        self.path: MoviePath | None = None  # of the movie
        self.path_is_drawn = False  # in the drawing that is shown
        self.movie_states: list[ShownState] = []
        self.corners: NDArray[np.float64] | None = None
        self.has_populations = False
        self.molecule = MoleculeLayers(viewer)
        self.canvas, self.top, self.tabs = LatentCanvas(), ViewControls(), Tabs()
        self.background = Background(job, self.say)
        self.status = QLabel("")
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        self.status.setWordWrap(True)
        self.status.setMinimumHeight(34)
        self.setMinimumWidth(_WIDTH)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.top)
        layout.addWidget(self.canvas, 1)
        layout.addWidget(self.tabs)
        layout.addWidget(self.background)
        layout.addWidget(self.status)

    def _connect(self) -> None:
        show, movie, particles, files = self.tabs.show_controls, self.tabs.movie, self.tabs.particles, self.tabs.files
        landscape = self.tabs.landscape
        self.canvas.state_chosen.connect(self._guarded(self.show_point))
        self.canvas.trajectory_drawn.connect(self._guarded(self.follow))
        self.canvas.polygon_drawn.connect(self._guarded(self.select))
        self.top.half_chosen.connect(self.open)
        self.top.drawing_chosen.connect(self.redraw)
        show.shown.connect(self._guarded(self.refresh))
        show.level_chosen.connect(self._guarded(self.change_level))
        show.source_chosen.connect(self.change_source)
        movie.motion_chosen.connect(self._guarded(self.traverse))
        movie.again.clicked.connect(self._guarded(lambda _: self.make_again()))
        movie.save.clicked.connect(self._guarded(lambda _: self.save_movie()))
        self.tabs.currentChanged.connect(self._guarded(lambda _: self.find_populations()))
        landscape.drawn.connect(self._guarded(self.draw_particles))
        landscape.state_chosen.connect(self._guarded(self.show_stable))
        landscape.way_chosen.connect(self._guarded(self.go_between))
        landscape.mapped_chosen.connect(self._guarded(self.show_from_images))
        particles.save.clicked.connect(self._guarded(lambda _: self.save_selection()))
        files.map.clicked.connect(self._guarded(lambda _: self.save_map()))
        files.gaussians.clicked.connect(self._guarded(lambda _: self.save_gaussians()))
        files.figure.clicked.connect(self._guarded(lambda _: self.save_figure()))
        files.picture.clicked.connect(self._guarded(lambda _: self.save_picture()))

    def _guarded(self, action: Callable[..., object]) -> Callable[..., None]:
        """The action, whose UserError becomes a sentence in the status line; nothing happens before a half set is open."""

        def act(*arguments: object) -> None:
            if self.view is None:
                return
            try:
                action(*arguments)
            except (UserError, OSError) as error:
                self.say(str(error))

        return act

    def say(self, sentence: str) -> None:
        """Show a sentence in the status line."""
        self.status.setText(sentence)

    def make_room(self) -> None:
        """Hide napari's own layer docks; they come back from its Window menu."""
        window = self.window()
        assert window is not None  # itself, if nothing else
        for other in window.findChildren(QDockWidget):
            if other.objectName() in ("layer list", "layer controls"):
                other.setVisible(False)

    # half set ------------------------------------------------------------------------------------------------------------

    def open(self, choice: str) -> None:
        """Open one of `half_view.CHOICES`."""
        self.top.half.setCurrentText(choice)
        if choice.startswith("0") and self.top.colouring.currentText() == ENERGY:  # which is of whole half sets
            self.top.colouring.setCurrentIndex(0)
        method, name = self.top.method, self.top.colouring.currentText()

        def work(progress: BackgroundJob) -> tuple[HalfView, Mesh, Reduction, Colouring]:
            view = open_view(choice, self.forward, self.job.directory)
            view.reduction = view.reduce(method, self.seed)
            colouring = view.colouring(name, self.n_clusters, self.seed)
            return view, view.surface_of_consensus(view.surfaces.level), view.reduction, colouring

        self.background.run(f"opening {choice}", work, self._opened)

    def _opened(self, found: tuple[HalfView, Mesh, Reduction, Colouring]) -> None:
        self.view, consensus, _, self.colouring = found
        view, show, self.has_populations = self.view, self.tabs.show_controls, False
        self.tabs.landscape.forget()
        self.tabs.landscape.set_mapped([mapped.name for mapped in view.mapped_states()])
        self.path, self.path_is_drawn, self.corners, self.movie_states = None, False, None, []
        self.molecule.clear_movie()
        show.source.setCurrentIndex(0)
        show.set_level(view.surfaces.level, view.surfaces.highest)
        self.molecule.show_consensus(consensus)
        rms = view.session.part.rms_displacement
        self.tabs.movie.set_motions(view.session.motions.rms_angstroms.tolist())
        positions = view.session.model.gaussians.positions
        self.molecule.look_from_front(2.2 * float(positions.norm(dim=1).max()) + 10.0)
        self.draw_particles()
        if view.held_out is not None:
            show.gaussians.setChecked(True)
        self.show_point(view.reduction.points[view.session.least_moved])
        part = view.session.part
        self.say(
            f"{self.top.half.currentText()}: {len(part.rows)} particles, rms displacement "
            f"{float(rms.square().mean().sqrt()):.1f} Å. Click a particle to see its state."
        )
        self.find_populations()

    def redraw(self) -> None:
        """Draw the latent space as it is chosen now."""
        if self.view is None:
            return
        view, method, name = self.view, self.top.method, self.top.colouring.currentText()

        def work(progress: BackgroundJob) -> tuple[Reduction, Colouring]:
            reduction = view.reduction if view.reduction.method == method else view.reduce(method, self.seed)
            return reduction, view.colouring(name, self.n_clusters, self.seed)

        self.background.run(f"drawing by {method}", work, self._redrawn)

    def _redrawn(self, found: tuple[Reduction, Colouring]) -> None:
        assert self.view is not None
        is_new = self.view.reduction is not found[0]
        self.view.reduction, self.colouring = found
        if is_new:
            self.corners, self.path_is_drawn = None, False
            self.point = None if self.state is None else self.view.reduction.points[self.state.particle]
        self.draw_particles()
        values = self.colouring.values
        unknown = 0 if values is None else int(np.isnan(values).sum())
        is_missing = f" {unknown} of {len(values)} particles have no value (grey)." if unknown and values is not None else ""
        if values is not None and unknown == len(values):
            is_missing = " It is measured at the end of the training."
        self.say(f"Coloured by {self.colouring.label}.{is_missing}")

    def draw_particles(self) -> None:
        """Draw the particles, populations where they are wanted and known, and over them what the mouse has drawn."""
        view, colouring = self._view, self.colouring
        assert colouring is not None
        landscape = view.drawn_landscape if self.has_populations and self.tabs.landscape.energies.isChecked() else None
        self.canvas.show_particles(view.reduction, colouring, view.session.least_moved, landscape)
        self._mark()

    def _mark(self) -> None:
        if self.path is not None and self.path_is_drawn:
            self.canvas.mark_trajectory(self.path.drawn)
        if self.corners is not None:
            self.canvas.mark_polygon(self.corners)
        if self.state is not None:
            self.canvas.mark_state(self.point, self.state.inside)

    # states --------------------------------------------------------------------------------------------------------------

    def show_point(self, point: NDArray[np.float64]) -> None:
        """Show the state at a point (2,) of the drawing."""
        view = self._view
        self.molecule.clear_movie()
        state = view.state_at(point, self.tabs.show_controls.chosen_level)
        self.point = view.reduction.points[state.particle] if view.held_out is not None else point
        self._show(state)
        labels = view.reduction.labels
        where = f"{labels[0]} = {self.point[0]:.2f}, {labels[1]} = {self.point[1]:.2f}"
        moved = f"Gaussians are up to {state.displacement.max():.1f} Å from the consensus."
        if not state.inside:
            self.say(f"{where}: no particles are near, so this state is a guess and is drawn grey. {moved}")
        elif state.errors is not None:
            rms = float(np.sqrt(np.mean(state.errors**2)))
            self.say(f"Held-out particle {state.particle + 1}: the two models (blue, orange) differ by {rms:.2f} Å rms. {moved}")
        else:
            energy = view.overview.energies_kt(state.coordinates[None])[0] if self.has_populations else np.nan
            of_energy = "" if np.isnan(energy) else f", at {energy:.1f} kT along main motion 1"
            self.say(f"State at {where}{of_energy} (nearest particle {state.particle + 1}). {moved}")

    def _show(self, state: ShownState) -> None:
        self.state = state
        self.molecule.show(self._appearance(state))
        if self.tabs.show_controls.volume.isChecked():
            self.draw_volume()
        self.canvas.mark_state(self.point, state.inside)

    def _appearance(self, state: ShownState) -> Appearance:
        """How a state is drawn as the controls are now."""
        show = self.tabs.show_controls
        look = self._view.gaussian_look(state, show.gaussian_colour.currentText())
        self.molecule.gaussian_limits = look.ends
        show.gaussian_bar.set_range(*self.molecule.gaussian_limits, look.label)
        show.gaussian_bar.setVisible(look.values.ndim == 1)
        surface = self._view.surface_look(state, show.surface_colour.currentText())
        self.molecule.is_plain = not surface.label
        show.surface_bar.set_range(*surface.ends, surface.label)
        values = (surface.values - surface.ends[0]) / (surface.ends[1] - surface.ends[0])
        return Appearance(state.mesh, values, state.positions, look.values, look.sizes, state.inside, state.other)

    def refresh(self) -> None:
        """Show what is chosen in the tab "Show", of the same state."""
        show, layers = self.tabs.show_controls, self.molecule
        layers.state.visible = show.state.isChecked() and not show.volume.isChecked()
        layers.consensus.visible = show.consensus.isChecked()
        layers.gaussians.visible = show.gaussians.isChecked()
        is_new = show.volume.isChecked() and not layers.volume.visible
        layers.volume.visible = show.volume.isChecked()
        layers.look_inside(show.gaussians.isChecked())
        if self.state is not None:
            layers.show(self._appearance(self.state))
        if is_new:
            self.draw_volume()

    def draw_volume(self) -> None:
        """Compute the map of the state in the box of the particles, and render it."""
        state, session = self.state, self._view.session
        if state is None:
            return

        def then(volume: Tensor) -> None:
            level = self.tabs.show_controls.chosen_level / self._view.surfaces.highest * float(volume.max())
            self.molecule.show_volume(volume, session.pixel_size_angstroms, level)

        view = self._view
        self.background.run("map of the state", lambda progress: view.volume_of(state), then)

    def change_level(self) -> None:
        """Contour everything anew."""
        view, show = self._view, self.tabs.show_controls
        level = show.chosen_level
        show.level_text.setText(f"{level:.3g}")
        self.molecule.volume.iso_threshold = level / view.surfaces.highest * self.molecule.volume.contrast_limits[1]
        state = self.state

        def work(progress: BackgroundJob) -> tuple[Mesh, ShownState | None]:
            return view.surface_of_consensus(level), None if state is None else view.again(state, level)

        def then(found: tuple[Mesh, ShownState | None]) -> None:
            self.molecule.show_consensus(found[0])
            if found[1] is not None:
                self._show(found[1])
            if show.chosen_level != level:
                self.change_level()

        if not self.background.busy:  # else the slider is still being moved, and `then` takes its last place
            self.background.run("contouring", work, then)

    def change_source(self, source: str) -> None:
        """Take the surfaces of the Gaussians, or of the reconstruction."""
        if self.view is None:
            return
        view = self.view

        def then(surfaces: StateSurfaces) -> None:
            view.surfaces = surfaces
            self.tabs.show_controls.set_level(surfaces.level, surfaces.highest)
            self.change_level()
            self.say(f"Surfaces of the {source}.")

        self.background.run(f"surface of the {source}", lambda progress: view.surfaces_of(source), then)

    # movies --------------------------------------------------------------------------------------------------------------

    def follow(self, stroke: NDArray[np.float64]) -> None:
        """Make a movie along a stroke (m, 2) drawn with the mouse."""
        self._make_movie(along_stroke(self._view, stroke, self.tabs.movie.frames.value()))

    def traverse(self, motion: int) -> None:
        """Make a movie along a main motion, through where the particles are."""
        self._make_movie(along_motion(self._view, motion, self.tabs.movie.frames.value()))

    def make_again(self) -> None:
        """The last movie with the number of frames that is chosen now."""
        if self.path is None or not self.path_is_drawn:
            raise UserError("There is no trajectory yet; draw one with the middle mouse button, or press a main motion.")
        self._make_movie(self.path.with_frames(self.tabs.movie.frames.value()))

    def _make_movie(self, path: MoviePath) -> None:
        view, level = self._view, self.tabs.show_controls.chosen_level

        def then(states: list[ShownState]) -> None:
            self.path, self.path_is_drawn, self.movie_states = path, True, states
            self.canvas.mark_trajectory(path.drawn)
            self.molecule.set_movie([self._appearance(state) for state in states], self._at_frame)
            outside = sum(not state.inside for state in states)
            grey = f" {outside} of them lie outside the data (grey)." if outside else ""
            self.say(f"{len(states)} states along {path.name}: play them with the button under the molecule.{grey}")

        self.background.run(f"movie along {path.name}", lambda progress: shown_states(view, path, level, progress), then)

    def _at_frame(self, frame: int) -> None:
        if self.path is not None and self.path_is_drawn:
            self.state, self.point = self.movie_states[frame], self.path.drawn[frame]
            self.canvas.mark_state(self.point, self.state.inside)

    # populations ---------------------------------------------------------------------------------------------------------

    def find_populations(self) -> None:
        """Work out the populations, once they are looked at, and draw them."""
        view, tab = self._view, self.tabs.landscape
        if self.tabs.currentWidget() is not tab or self.has_populations:
            return
        if view.held_out is not None:
            self.say("Populations are those of whole half sets: choose half 1 or 2.")
            return

        def then(overview: Overview) -> None:
            self.has_populations = True
            tab.show_populations(overview)
            tab.set_states([f"{number}: {state.in_words()}" for number, state in enumerate(overview.states, start=1)])
            self.draw_particles()

        self.background.run("populations", lambda progress: view.overview, then)

    def show_stable(self, number: int) -> None:
        """Show a stable state, counted from 1."""
        view = self._view
        coordinates = view.stable_places()[number - 1]
        self._show_elsewhere(view.state_of(coordinates, self.tabs.show_controls.chosen_level))
        self.say(f"Stable state {number}, with {view.overview.states[number - 1].in_words()} of the particles.")

    def go_between(self, first: int, last: int) -> None:
        """Make a movie of the densest way between two stable states."""
        self._make_movie(along_density(self._view, first, last, self.tabs.movie.frames.value()))

    def show_from_images(self, index: int) -> None:
        """Show one of the states that have maps made from images."""
        view, level = self._view, self.tabs.show_controls.chosen_level
        mapped = view.mapped_states()[index]

        def then(state: ShownState) -> None:
            self._show_elsewhere(state)
            self.say(f"State {mapped.number}, {mapped.name}: map from the images of the particles around it, of both half sets.")

        self.background.run("map made from images", lambda progress: view.state_from_images(mapped, level), then)

    def _show_elsewhere(self, state: ShownState) -> None:
        """Show a state that was not clicked at."""
        self.molecule.clear_movie()
        self.point = self._view.drawn(state.coordinates[None])[0]
        self._show(state)

    # particles -----------------------------------------------------------------------------------------------------------

    def select(self, corners: NDArray[np.float64]) -> None:
        """Count the particles inside an outline (c, 2)."""
        inside = in_polygon(self._view.reduction.points, corners)
        self.corners = corners
        self.canvas.mark_polygon(corners)
        self.tabs.setCurrentWidget(self.tabs.particles)
        rms = self._view.session.part.rms_displacement.cpu().numpy()[inside]
        moved = f", rms displacement {np.sqrt(np.mean(rms**2)):.1f} Å" if len(rms) else ""
        share = 100 * inside.mean()
        self.tabs.particles.count.setText(f"{inside.sum()} particles ({share:.1f} %) are inside{moved}.")
        self.say(f"{inside.sum()} of {len(inside)} particles are inside the selection.")

    @property
    def selected(self) -> NDArray[np.bool_]:
        """(P,) particles inside the outline; UserError where none was drawn."""
        if self.corners is None:
            raise UserError("Nothing is selected; surround particles with the right mouse button (or Ctrl and left).")
        return in_polygon(self._view.reduction.points, self.corners)

    # files ---------------------------------------------------------------------------------------------------------------

    def save_map(self) -> None:
        """Save the map of the state that is shown."""
        self._save("map", partial(saved_files.save_state, self._view.session, self._coordinates))

    def save_gaussians(self) -> None:
        """Save the Gaussians of the state that is shown."""
        self._save("Gaussians", partial(saved_files.save_gaussians, self._view.session, self._coordinates))

    def save_movie(self) -> None:
        """Save the movie that was made last."""
        if self.path is None:
            raise UserError("There is no movie yet; draw a trajectory with the middle mouse button, or press a main motion.")
        self._save("movie", partial(saved_files.save_movie, self._view.session, self.path.states))

    def save_selection(self) -> None:
        """Save the particles inside the outline."""
        both = self.tabs.particles.both.isChecked()
        self._save("particles", partial(saved_files.save_selection, self._view.session, self.selected, both))

    def save_figure(self) -> None:
        """Save the drawing of the latent space."""
        assert self.colouring is not None
        self._save("figure", partial(saved_files.save_figure, self._view.session, self._view.reduction, self.colouring))

    def save_picture(self) -> None:
        """Save a picture of the whole window."""
        path = saved_files.picture_path(self._view.session)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.viewer.screenshot(str(path), canvas_only=False, flash=False)
        self._saved(path)

    def _save(self, what: str, work: Callable[[BackgroundJob], Path]) -> None:
        self.background.run(f"saving {what}", work, self._saved)

    def _saved(self, path: Path) -> None:
        self.say(f"Wrote {path}.")
        self.job.report(f"Wrote {path}.")

    @property
    def _view(self) -> HalfView:
        assert self.view is not None
        return self.view

    @property
    def _coordinates(self) -> Tensor:
        if self.state is None:
            raise UserError("No state is shown; click one in the latent space.")
        return self.state.coordinates
