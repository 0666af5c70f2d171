"""The window from the job's side: it opens, and the job ends when it is closed or aborted."""

from __future__ import annotations

import napari
import pytest
from qtpy.QtCore import QTimer

from jobtypes.dynamight.visualization import task
from jobtypes.dynamight.visualization.window.availability import why_no_window
from relion_jobs.contract.errors import JobAborted


def test_a_window_can_be_opened_here() -> None:
    assert why_no_window() is None


@pytest.mark.parametrize("aborted", [False, True])
def test_the_job_ends_when_its_window_is_closed_or_the_job_aborted(hinge, qapp, aborted: bool) -> None:
    def end() -> None:
        if aborted:
            hinge.job.stop_after = 0
        else:
            napari.current_viewer().close()

    QTimer.singleShot(3000, end)
    if aborted:
        with pytest.raises(JobAborted):
            task.run({"halfset": 2}, hinge.job)
    else:
        task.run({"halfset": 2}, hinge.job)
    assert "The window is open; the job ends when it is closed." in hinge.job.reports
