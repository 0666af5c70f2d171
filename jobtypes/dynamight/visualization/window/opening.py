"""Open the window for a job and stay until it is closed."""

from __future__ import annotations

import napari
from qtpy.QtCore import QTimer

from jobtypes.dynamight.model.result import ForwardResult
from jobtypes.dynamight.visualization.half_view import FIRST_CHOICES
from jobtypes.dynamight.visualization.window.explorer import Explorer
from relion_jobs.contract.running_job import RunningJob

_MILLISECONDS_BETWEEN_LOOKS = 500  # for the abort mark
_SIZE = (1340, 860)


def make_explorer(
    viewer: napari.Viewer, forward: ForwardResult, job: RunningJob, *, half_set: int, n_clusters: int, seed: int
) -> Explorer:
    """Put the dock into a viewer, and begin to open the half set that was asked for."""
    viewer.title = f"{job.directory} - DynaMight"
    viewer.theme = "dark"
    viewer.canvas.overlays.scale_bar.visible = True
    explorer = Explorer(viewer, forward, job, n_clusters=n_clusters, seed=seed)
    viewer.window.add_dock_widget(explorer, name="Latent space", area="right")
    explorer.make_room()
    explorer.open(FIRST_CHOICES[half_set])
    return explorer


def show_window(forward: ForwardResult, job: RunningJob, *, half_set: int, n_clusters: int, seed: int) -> None:
    """Show the window until the user closes it, or RELION aborts the job.

    Raises
    ------
    JobAborted
        The abort mark is there.
    """
    viewer = napari.Viewer(ndisplay=3)
    viewer.window.resize(*_SIZE)
    explorer = make_explorer(viewer, forward, job, half_set=half_set, n_clusters=n_clusters, seed=seed)
    timer = QTimer()
    timer.timeout.connect(lambda: viewer.close() if job.abort_requested() else None)
    timer.start(_MILLISECONDS_BETWEEN_LOOKS)
    job.report("The window is open; the job ends when it is closed.")
    napari.run()
    timer.stop()
    explorer.background.wait()
    job.check_abort()
