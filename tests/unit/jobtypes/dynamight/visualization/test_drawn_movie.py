"""Maps and pictures that several processes draw are those of one; threads stand for the processes here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jobtypes.common.team import Team
from jobtypes.dynamight.visualization import drawn_movie
from jobtypes.dynamight.visualization.drawn_movie import DrawnMovie, draw_movie, end_drawing, help_drawing
from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.errors import JobAborted
from tests.crews import work_as_team


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn_movie, "ANIMATION_PIXELS", 60)
    monkeypatch.setattr(drawn_movie, "LEAST_PICTURES", 5)


def drawn_by(team: Team, forward, job) -> DrawnMovie | None:
    session = Session(job.directory, forward, 1, team)
    if not team.is_first:
        return help_drawing(session, job)
    drawn = draw_movie(session, session.traversal(0, 3), job, stage="movie")
    end_drawing(session)
    return drawn


@pytest.mark.parametrize("count", [2, 4])
def test_a_movie_of_several_processes_is_that_of_one(forward, flexible_job, count):
    alone = drawn_by(Team(), forward, flexible_job)
    shared, *others = work_as_team(count, lambda team: drawn_by(team, forward, flexible_job))
    assert others == [None] * (count - 1)
    assert len(shared.portraits) == 3
    assert len(shared.pictures) == 5
    for found, expected in zip(shared.portraits, alone.portraits, strict=True):
        torch.testing.assert_close(found.volume, expected.volume)
    for found, expected in zip(shared.pictures, alone.pictures, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_process_that_is_stopped_ends_the_drawing(forward, flexible_job, monkeypatch):
    def stop() -> None:
        raise JobAborted("Stopped.")

    monkeypatch.setattr(flexible_job, "check_abort", stop)
    with pytest.raises(JobAborted):
        drawn_by(Team(), forward, flexible_job)
