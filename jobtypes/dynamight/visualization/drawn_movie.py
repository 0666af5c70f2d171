"""The maps and pictures of a movie, drawn by all processes of a task: each draws some of them, and the first one has them all.

What to draw only the first process knows; the others wait for it in `help_drawing`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.dynamight.visualization.animation import AnimationStage
from jobtypes.dynamight.visualization.figures import Portrait, Scene
from jobtypes.dynamight.visualization.portraits import portrait_of, scene_of
from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.running_job import RunningJob

LEAST_PICTURES = 21  # of an animation: between few maps, states are drawn that are not written
ANIMATION_PIXELS = 260
_Picture = NDArray[np.float64]  # (h, w, 3)


@dataclass(frozen=True)
class DrawnMovie:
    """States along a path.

    Attributes
    ----------
    portraits
        The states whose maps are written.
    scene
        How they are drawn.
    pictures : (h, w, 3) each
        Of the animation.
    """

    portraits: list[Portrait]
    scene: Scene
    pictures: list[NDArray[np.float64]]


def draw_movie(session: Session, path: Tensor, job: RunningJob, *, stage: str) -> DrawnMovie:
    """Draw the states at (F, D) A along the main motions; called in the first process.

    `job` and `stage` are for progress, and for abort between two states.
    """
    session.team.from_first(lambda: (path, stage))
    drawn = _draw(session, path, job, stage)
    assert drawn is not None
    return drawn


def help_drawing(session: Session, job: RunningJob) -> None:
    """Draw this process's share of all movies, until the first process says that there are no more."""
    while (asked := session.team.from_first(lambda: None)) is not None:
        _draw(session, asked[0], job, asked[1])


def end_drawing(session: Session) -> None:
    """Say in the first process that there are no more movies."""
    session.team.from_first(lambda: None)


def _draw(session: Session, path: Tensor, job: RunningJob, stage: str) -> DrawnMovie | None:
    """All of a movie in the first process, None in the others."""
    team, middle = session.team, session.state_positions(path[len(path) // 2])
    own: dict[int, Portrait] = {}
    for at in range(team.rank, len(path), team.count):
        _go_on(session, job)
        own[at] = portrait_of(session, path[at], middle)
        job.progress(f"{stage}: maps", at + 1, len(path), "maps")
    of_all = team.gathered(own)
    portraits = None if of_all is None else list(of_all.values())
    scene = team.from_first(lambda: portraits and scene_of(session, portraits, portraits[-1].positions - portraits[0].positions))
    pictures = team.gathered(_pictures(session, path, own, scene, job, stage))
    return None if portraits is None or pictures is None else DrawnMovie(portraits, scene, list(pictures.values()))


def _pictures(
    session: Session, path: Tensor, own: dict[int, Portrait], scene: Scene, job: RunningJob, stage: str
) -> dict[int, _Picture]:
    """Draw the pictures of one process, by number: of its states and, where the states are few, of some between them."""
    team, between = session.team, max(1, -(-(LEAST_PICTURES - 1) // (len(path) - 1)))  # steps from one map to the next
    total = between * (len(path) - 1) + 1
    animation = AnimationStage(session, path, scene, ANIMATION_PIXELS)
    middle, pictures = session.state_positions(path[len(path) // 2]), {}
    for index in range(total):
        at, share = divmod(index, between)
        if (index if share else at) % team.count != team.rank:
            continue
        _go_on(session, job)
        coordinates = path[at]
        if share:
            coordinates = path[at] + (share / between) * (path[at + 1] - path[at])
        portrait = portrait_of(session, coordinates, middle) if share else own[at]
        pictures[index] = animation.picture(portrait, coordinates)
        job.progress(f"{stage}: pictures", index + 1, total, "pictures")
    return pictures


def _go_on(session: Session, job: RunningJob) -> None:
    """Stop where this process was asked to, or another one stopped."""
    job.check_abort()
    session.team.hear()
