"""Real mouse events on the latent plot; what they do is compared with the truth that the model was made from."""

from __future__ import annotations

import mrcfile
import numpy as np
import starfile
from PIL import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from jobtypes.common.volumes import write_volume
from jobtypes.dynamight import layout
from jobtypes.dynamight.visualization.landscape import populations
from jobtypes.dynamight.visualization.landscape.overview import Overview
from jobtypes.dynamight.visualization.landscape.stable_states import StableState
from jobtypes.dynamight.visualization.written_states import write_list, written_state

_PATIENCE = 120_000  # milliseconds; the machine may be busy


def pixel(explorer, point) -> QPoint:
    """Where a point (2,) of the drawing is on the canvas, in Qt's pixels."""
    canvas = explorer.canvas
    x, y = canvas.axes.transData.transform(np.asarray(point, float))
    ratio = canvas.device_pixel_ratio
    return QPoint(round(x / ratio), round(canvas.height() - y / ratio))


def click(explorer, point) -> None:
    QTest.mouseClick(explorer.canvas, Qt.MouseButton.LeftButton, pos=pixel(explorer, point))


def drag(explorer, points, button, modifier=Qt.KeyboardModifier.NoModifier) -> None:
    """Press, move and release."""
    places = [pixel(explorer, point) for point in points]
    QTest.mousePress(explorer.canvas, button, modifier, places[0])
    for place in places[1:]:
        QTest.mouseMove(explorer.canvas, place)
        QTest.qWait(5)
    QTest.mouseRelease(explorer.canvas, button, modifier, places[-1])


def wait(explorer, qtbot) -> None:
    qtbot.waitUntil(lambda: not explorer.background.busy, timeout=_PATIENCE)


def vertices(layer) -> np.ndarray:
    """Vertices (m, 3) A, x y z, of a surface layer."""
    return np.asarray(layer.data[0], float)[:, ::-1] * (1, 1, -1)


def true_spread(explorer, hinge, angle: float) -> float:
    """How unequal the true density is over the surface that is shown; 0 where the surface is a contour of the truth."""
    density = hinge.density(angle, vertices(explorer.molecule.state))
    return float(np.std(density) / np.mean(density))


def along(explorer, hinge, lowest: float, highest: float, count: int = 12) -> np.ndarray:
    """Points (c, 2) of the drawing of particles with angles from `lowest` to `highest`."""
    wanted = np.linspace(lowest, highest, count)
    return explorer.view.reduction.points[[int(np.abs(hinge.angles - angle).argmin()) for angle in wanted]]


def test_a_click_shows_the_true_state_of_the_molecule(explorer, hinge) -> None:
    explorer.tabs.show_controls.gaussians.setChecked(True)
    for angle in (-0.8, 0.1, 0.8):
        particle = int(np.abs(hinge.angles - angle).argmin())
        click(explorer, explorer.view.reduction.points[particle])
        assert true_spread(explorer, hinge, hinge.angles[particle]) < 0.06
        assert true_spread(explorer, hinge, hinge.angles[particle] - 0.5 * np.sign(angle)) > 0.15
        gaussians = np.asarray(explorer.molecule.gaussians.data, float)[:, ::-1] * (1, 1, -1)
        assert np.linalg.norm(gaussians - hinge.turned(hinge.angles[particle]), axis=1).max() < 1.0
        assert "State at main motion 1" in explorer.status.text()


def test_a_click_far_from_every_particle_is_said_to_be_a_guess_and_grey(explorer, qtbot) -> None:
    left, right = explorer.canvas.axes.get_xlim()
    bottom, top = explorer.canvas.axes.get_ylim()
    corners = np.array(((left, bottom), (left, top), (right, bottom), (right, top))) * 0.97
    distance, _ = explorer.view.reduction.nearest(corners, 1)
    click(explorer, corners[distance[:, 0].argmax()])
    assert "no particles are near" in explorer.status.text()
    assert explorer.molecule.state.colormap.name == "outside the data"


def test_a_trajectory_becomes_a_movie_that_plays_and_is_saved(explorer, hinge, qtbot) -> None:
    explorer.tabs.movie.frames.setValue(7)
    drag(explorer, along(explorer, hinge, -0.8, 0.8), Qt.MouseButton.MiddleButton)
    wait(explorer, qtbot)
    assert len(explorer.movie_states) == 7
    dims = explorer.viewer.dims
    assert dims.nsteps[0] == 7
    tips = []
    for frame in range(7):
        dims.set_current_step(0, frame)
        tips.append(vertices(explorer.molecule.state)[:, 1].max())  # the arm swings from -y to +y
    assert np.argmin(tips) < np.argmax(tips) == 6
    dims.set_current_step(0, 6)
    assert true_spread(explorer, hinge, 0.8) < 0.08
    dims.set_current_step(0, 0)
    qt_dims = explorer.viewer.window._qt_viewer.dims
    qt_dims.play(0, fps=2)  # slower than software OpenGL on a busy machine
    qtbot.waitUntil(lambda: dims.current_step[0] >= 3, timeout=_PATIENCE)
    qt_dims.stop()
    QTest.mouseClick(explorer.tabs.movie.save, Qt.MouseButton.LeftButton)
    wait(explorer, qtbot)
    folder = hinge.job.directory / "movies" / "movie01_half1"
    assert [path.name for path in sorted(folder.glob("*.mrc"))] == [f"volume{index:03d}.mrc" for index in range(7)]
    assert [name for name in hinge.job.outputs if name.endswith(".mrc")] == [str(folder / "volume000.mrc")]
    assert "vseries play" in (folder / "play.cxc").read_text()
    with Image.open(folder / "animation.gif") as picture:
        assert picture.n_frames > 7
    assert f"Wrote {folder}." in hinge.job.reports
    correlation = [_correlation(folder / f"volume{index:03d}.mrc", hinge, angle) for index, angle in ((0, -0.8), (6, 0.8))]
    assert min(correlation) > 0.98


def _correlation(path, hinge, angle: float) -> float:
    """Of a saved map with the true density of a state."""
    with mrcfile.open(path) as file:
        assert float(file.voxel_size.x) == 4.0
        data = file.data.astype(float)
    axis = (np.arange(32) - 16) * 4.0
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    truth = hinge.density(angle, np.column_stack((x.ravel(), y.ravel(), z.ravel())))
    return float(np.corrcoef(truth, data.ravel())[0, 1])


def test_a_state_its_gaussians_and_the_latent_space_are_saved(explorer, hinge, qtbot) -> None:
    explorer.show_point(along(explorer, hinge, 0.6, 0.6, 1)[0])
    for button in (
        explorer.tabs.files.map,
        explorer.tabs.files.gaussians,
        explorer.tabs.files.figure,
        explorer.tabs.files.picture,
    ):
        explorer.tabs.setCurrentWidget(explorer.tabs.files)
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        wait(explorer, qtbot)
    directory = hinge.job.directory
    assert _correlation(directory / "maps" / "map001_half1.mrc", hinge, 0.6) > 0.98
    assert (directory / "maps" / "map002_half1.pdb").is_file() or (directory / "maps" / "map001_half1.pdb").is_file()
    assert len(list((directory / "visualization" / "figures").glob("07_pca_amount_of_motion_half1.png"))) == 1
    assert (directory / "visualization" / "window001_half1.png").is_file()
    assert "DensityMap.mrc.relion.dynamight" in hinge.job.outputs.values()


def test_surrounded_particles_are_counted_and_saved_as_a_subset(explorer, hinge, qtbot) -> None:
    first = explorer.view.reduction.points[:, 0]
    left, right = np.median(first), first.max() + 0.05 * np.ptp(first)
    bottom, top = explorer.canvas.axes.get_ylim()
    low, high = bottom + 0.02 * (top - bottom), top - 0.02 * (top - bottom)
    drag(explorer, [(left, low), (right, low), (right, high), (left, high)], Qt.MouseButton.RightButton)
    selected = explorer.selected
    assert abs(int(selected.sum()) - int((first >= left).sum())) <= 2
    assert f"{selected.sum()} of 120 particles" in explorer.status.text()
    clearly = hinge.angles[selected & (np.abs(hinge.angles) > 0.15)]
    assert len(np.unique(np.sign(clearly))) == 1  # one side of the hinge
    assert explorer.tabs.particles.both.isChecked()
    for name, both in (("subset_001_half1.star", False), ("subset_002.star", True)):
        explorer.tabs.particles.both.setChecked(both)
        explorer.tabs.setCurrentWidget(explorer.tabs.particles)
        QTest.mouseClick(explorer.tabs.particles.save, Qt.MouseButton.LeftButton)
        wait(explorer, qtbot)
        path = hinge.job.directory / "subsets" / name
        tables = starfile.read(path)
        assert sorted(tables) == ["optics", "particles"]
        of_half = tables["particles"]["rlnRandomSubset"].value_counts()
        assert of_half[1] == selected.sum()
        assert abs(of_half.get(2, 0) - (60 if both else 0)) <= 8
        assert hinge.job.outputs[str(path)] == "ParticleGroupMetadata.star.relion.dynamight"


def test_saving_without_a_selection_or_a_movie_is_refused_in_words(explorer, qtbot) -> None:
    QTest.mouseClick(explorer.tabs.particles.save, Qt.MouseButton.LeftButton)
    assert "Nothing is selected" in explorer.status.text()
    QTest.mouseClick(explorer.tabs.movie.save, Qt.MouseButton.LeftButton)
    assert "There is no movie yet" in explorer.status.text()


def test_half_set_0_shows_both_models_and_where_they_differ(explorer, hinge, qtbot) -> None:
    explorer.open("0: held out of half 1")
    wait(explorer, qtbot)
    assert explorer.view.held_out is not None
    assert len(explorer.view.reduction.points) == 20
    click(explorer, explorer.view.reduction.points[hinge.mistake[0]])
    assert explorer.molecule.other.visible
    assert len(vertices(explorer.molecule.other)) > 100
    errors = explorer.state.errors
    number, mistake = hinge.mistake
    angle = hinge.angles[::6][number]
    # a twentieth of the one mistake is in the mean over the twenty
    true_errors = 0.95 * np.linalg.norm(hinge.turned(angle) - hinge.turned(angle + mistake), axis=1)
    assert true_errors.max() > 5
    assert np.abs(errors - true_errors).max() < 0.6
    assert np.allclose(explorer.molecule.gaussians.size, 1 + errors)
    assert explorer.tabs.show_controls.gaussian_bar.toolTip().startswith("disagreement of the halves (Å)")
    assert "the two models" in explorer.status.text()


def test_a_main_motion_has_a_button(explorer, hinge, qtbot) -> None:
    explorer.tabs.movie.frames.setValue(5)
    explorer.tabs.setCurrentWidget(explorer.tabs.movie)
    QTest.mouseClick(explorer.tabs.movie.buttons[0], Qt.MouseButton.LeftButton)
    wait(explorer, qtbot)
    assert len(explorer.movie_states) == 5
    ends = [explorer.movie_states[index].positions.numpy() for index in (0, 4)]
    swing = [np.abs(end - hinge.turned(angle)).max() for end in ends for angle in (-0.86, 0.86)]
    assert sorted(swing)[1] < 4.0  # its ends are those of the hinge


def test_every_colouring_and_reduction_can_be_drawn(explorer, qtbot) -> None:
    for menu in (explorer.top.colouring, explorer.top.reduction):
        for index in range(menu.count()):
            if menu.itemText(index) in ("UMAP", "energy"):
                continue  # seconds of compilation, or of work
            menu.setCurrentIndex(index)
            explorer.redraw()
            wait(explorer, qtbot)
            assert explorer.status.text().startswith("Coloured by")


def test_work_can_be_cancelled_and_nothing_changes(explorer, hinge, qtbot) -> None:
    before = vertices(explorer.molecule.state)
    explorer.tabs.movie.frames.setValue(400)
    explorer.traverse(0)
    QTest.mouseClick(explorer.background.cancel_button, Qt.MouseButton.LeftButton)
    wait(explorer, qtbot)
    assert explorer.status.text() == "Cancelled."
    assert explorer.movie_states == []
    assert np.array_equal(before, vertices(explorer.molecule.state))


def test_the_contour_slider_and_the_layers_follow_the_controls(explorer, qtbot) -> None:
    show = explorer.tabs.show_controls
    before = np.ptp(vertices(explorer.molecule.state), axis=0)
    show.level.setValue(round(1.6 * show.level.value()))
    wait(explorer, qtbot)
    assert (np.ptp(vertices(explorer.molecule.state), axis=0) < before).all()
    for box, layer in ((show.consensus, explorer.molecule.consensus), (show.gaussians, explorer.molecule.gaussians)):
        box.setChecked(True)
        assert layer.visible
    show.volume.setChecked(True)
    wait(explorer, qtbot)
    assert explorer.molecule.volume.data.shape == (32, 32, 32)
    show.source.setCurrentIndex(1)
    explorer.change_source(show.source.currentText())
    wait(explorer, qtbot)
    assert "no deformed reconstruction yet" in explorer.status.text()


def two_states(explorer, hinge, monkeypatch) -> None:
    """Populations with two stable states, near the ends of the hinge."""
    monkeypatch.setattr(populations, "CELLS", {1: 40, 2: 12})  # in no time
    session = explorer.view.session
    found = explorer.view.overview
    particles = [int(np.abs(hinge.angles - angle).argmin()) for angle in (-0.7, 0.7)]
    places = [tuple(session.coordinates[particle, : len(found.widest.motions)].tolist()) for particle in particles]
    states = tuple(StableState(place, 0.5, 0.02, {1: 0.5, 2: 0.5}, 1.0) for place in places)
    explorer.view.overview = Overview(found.landscapes, states)


def test_the_landscape_shows_stable_states_and_the_way_between_them(explorer, hinge, qtbot, monkeypatch) -> None:
    two_states(explorer, hinge, monkeypatch)
    tab = explorer.tabs.landscape
    explorer.tabs.setCurrentWidget(tab)
    wait(explorer, qtbot)
    assert [button.text() for button in tab.buttons] == ["1: 50 ± 2 %", "2: 50 ± 2 %"]
    assert "freezing" in tab.populations.toolTip()
    numbers = {text.get_text() for text in explorer.canvas.axes.texts}
    assert numbers == {"1", "2"}
    QTest.mouseClick(tab.buttons[1], Qt.MouseButton.LeftButton)
    assert explorer.status.text().startswith("Stable state 2, with 50 ± 2 %")
    assert true_spread(explorer, hinge, 0.7) < 0.1
    explorer.tabs.movie.frames.setValue(5)
    QTest.mouseClick(tab.way, Qt.MouseButton.LeftButton)
    wait(explorer, qtbot)
    assert len(explorer.movie_states) == 5
    swing = [
        np.abs(explorer.movie_states[index].positions.numpy() - hinge.turned(angle)).max()
        for index, angle in ((0, -0.7), (4, 0.7))
    ]
    assert max(swing) < 4.0
    explorer.top.colouring.setCurrentText("energy")
    explorer.redraw()
    wait(explorer, qtbot)
    assert explorer.status.text().startswith("Coloured by energy along main motion 1 (kT).")
    tab.energies.setChecked(False)
    assert len(explorer.canvas.axes.texts) == 0
    explorer.show_point(explorer.view.reduction.points[0])
    assert "kT along main motion 1" in explorer.status.text()


def test_half_set_0_has_no_populations_and_says_so(explorer, qtbot) -> None:
    explorer.top.colouring.setCurrentText("energy")
    explorer.open("0: held out of half 1")
    wait(explorer, qtbot)
    assert explorer.view.held_out is not None
    assert explorer.top.colouring.currentText() == "amount of motion"
    explorer.tabs.setCurrentWidget(explorer.tabs.landscape)
    assert "Populations are those of whole half sets" in explorer.status.text()
    assert not explorer.tabs.landscape.way.isEnabled()


def test_a_state_made_from_images_is_shown_as_its_map_is(explorer, hinge, qtbot) -> None:
    assert not explorer.tabs.landscape.show_mapped.isEnabled()
    session = explorer.view.session
    particle = int(np.abs(hinge.angles - 0.6).argmin())
    place, path = session.coordinates[particle], hinge.job.directory / layout.state_map(1)
    write_volume(path, session.state_map(place), 4.0)
    write_list(hinge.job.directory / layout.mapped_states(1), [written_state(session, path, "listed", place, is_outside=False)])
    explorer.open("half 1")
    wait(explorer, qtbot)
    explorer.show_point(along(explorer, hinge, -0.8, -0.8, 1)[0])
    tab = explorer.tabs.landscape
    explorer.tabs.setCurrentWidget(tab)
    wait(explorer, qtbot)
    assert tab.mapped.currentText() == "listed"
    QTest.mouseClick(tab.show_mapped, Qt.MouseButton.LeftButton)
    wait(explorer, qtbot)
    assert explorer.status.text().startswith("State 1, listed: map from the images")
    assert true_spread(explorer, hinge, hinge.angles[particle]) < 0.06
    before = np.ptp(vertices(explorer.molecule.state), axis=0)
    show = explorer.tabs.show_controls
    show.level.setValue(round(1.6 * show.level.value()))
    wait(explorer, qtbot)
    assert explorer.state.mapped is not None
    assert (np.ptp(vertices(explorer.molecule.state), axis=0) < before).all()


def test_the_surface_shows_what_is_chosen(explorer, hinge, qtbot) -> None:
    show = explorer.tabs.show_controls
    explorer.show_point(along(explorer, hinge, 0.8, 0.8, 1)[0])
    values = {}
    for index in range(show.surface_colour.count()):
        name = show.surface_colour.itemText(index)
        show.surface_colour.setCurrentIndex(index)
        explorer.refresh()
        values[name] = np.asarray(explorer.molecule.state.data[2])
    assert values["displacement"].max() > 0.7
    assert values["occupancy"].max() < 1e-6  # all particles have all of it
    arm = vertices(explorer.molecule.state)[:, 0] > 20
    assert values["disagreement"][arm].mean() > 3 * values["disagreement"][~arm].mean()
    assert explorer.molecule.state.colormap.name == "plain"


def test_the_camera_stays_where_it_is_when_a_movie_comes_and_goes(explorer, qtbot) -> None:
    camera = explorer.viewer.scene.camera
    camera.zoom = 3.5
    explorer.tabs.movie.frames.setValue(3)
    explorer.traverse(0)
    wait(explorer, qtbot)
    assert camera.zoom == 3.5
    explorer.show_point(explorer.view.reduction.points[0])
    assert camera.zoom == 3.5
