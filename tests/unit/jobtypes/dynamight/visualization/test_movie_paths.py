from __future__ import annotations

import numpy as np
import pytest

from jobtypes.dynamight.visualization.half_view import HalfView
from jobtypes.dynamight.visualization.movie_paths import along_motion, along_stroke, shown_states
from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.errors import JobAborted, UserError


@pytest.fixture
def view(flexible_job, forward) -> HalfView:
    return HalfView(Session(flexible_job.directory, forward, 1))


def test_a_stroke_becomes_states_that_lie_on_it(view: HalfView) -> None:
    ends = np.array(((-1.0, 0.5), (2.0, -0.5)))
    path = along_stroke(view, ends, 7)
    assert np.allclose(path.drawn[[0, -1]], ends)
    assert np.allclose(path.states[:, [0, 1]], path.drawn, atol=1e-5)  # drawn along the two main motions


def test_a_stroke_that_is_a_point_is_refused(view: HalfView) -> None:
    with pytest.raises(UserError, match="at least 2 different points"):
        along_stroke(view, np.ones((3, 2)), 7)


def test_a_main_motion_is_drawn_where_its_states_are(view: HalfView) -> None:
    path = along_motion(view, 0, 5)
    assert np.allclose(path.drawn, path.states[:, :2])


def test_a_main_motion_is_drawn_through_the_particles_of_its_states_where_axes_are_no_motions(view: HalfView) -> None:
    view.reduction = view.reduce("ica", 1)
    path = along_motion(view, 0, 5)
    nearest = (view.session.coordinates[None] - path.states[:, None]).norm(dim=2).argmin(1)
    assert np.allclose(path.drawn, view.reduction.points[nearest.numpy()])


def test_the_same_way_in_more_steps_has_the_same_ends_and_middle(view: HalfView) -> None:
    path = along_motion(view, 0, 5)
    finer = path.with_frames(9)
    assert np.allclose(finer.states[::2], path.states, atol=1e-5)
    assert np.allclose(finer.drawn[::2], path.drawn)
    assert finer.name == path.name == "main motion 1"


def test_a_movie_tells_how_far_it_is_and_can_be_stopped(view: HalfView, flexible_job) -> None:
    path = along_motion(view, 0, 3)
    shown = shown_states(view, path, view.surfaces.level, flexible_job)
    assert np.allclose([state.coordinates.numpy() for state in shown], path.states)
    assert flexible_job.steps == [(1, 3), (2, 3), (3, 3)]
    flexible_job.stop_after = -1
    with pytest.raises(JobAborted):
        shown_states(view, path, view.surfaces.level, flexible_job)
