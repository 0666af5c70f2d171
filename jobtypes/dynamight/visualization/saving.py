"""What is saved of a session, under the next free name: maps, movies, Gaussians. The window and the task without one save alike.

`layout.STATES`         a state: its map, or its Gaussians as .pdb
`layout.STATE_MOVIES`   a folder with the states along a path
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from jobtypes.common.volumes import write_volume
from jobtypes.dynamight import layout
from jobtypes.dynamight.outputs import write_gaussians_pdb, write_motion_arrows
from jobtypes.dynamight.visualization.animation import write_animation
from jobtypes.dynamight.visualization.drawn_movie import draw_movie
from jobtypes.dynamight.visualization.figures import Portrait, Scene
from jobtypes.dynamight.visualization.movies import write_chimerax_script, write_series
from jobtypes.dynamight.visualization.portraits import portrait_of
from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.running_job import RunningJob


@dataclass(frozen=True)
class Movie:
    """States along a path, as they were saved.

    Attributes
    ----------
    folder
        Of the movie.
    portraits
        The states whose maps are written.
    scene
        How they are drawn.
    files
        Everything that was written.
    """

    folder: Path
    portraits: list[Portrait]
    scene: Scene
    files: list[Path]


def next_path(session: Session, series: layout.Series, ending: str = "") -> Path:
    """First free path above all numbers that the session's half has taken, by a file of any ending or a folder."""
    names = (path.name for path in (session.job_directory / series.folder).glob("*"))
    taken = [found[0] for name in names if (found := series.number_and_half(name)) and found[1] == session.half]
    return session.job_directory / series.path(max(taken, default=0) + 1, session.half, ending)


def save_map(session: Session, coordinates: Tensor, *, label: str = "", lacking: Sequence[int] = ()) -> tuple[Path, Portrait]:
    """Write the map of the state at coordinates (D,) in A, without some parts, under the next free name; also what draws it."""
    path = next_path(session, layout.STATES, ".mrc")
    portrait = portrait_of(session, coordinates, label=label, lacking=lacking)
    write_volume(path, portrait.volume, session.pixel_size_angstroms)
    return path, portrait


def save_gaussians(session: Session, coordinates: Tensor) -> Path:
    """Write the Gaussians of the state at coordinates (D,) as a PDB file, B-factor: displacement in A."""
    path = next_path(session, layout.STATES, ".pdb")
    positions = session.state_positions(coordinates)
    moved = (positions - session.model.gaussians.positions.cpu()).norm(dim=1)
    write_gaussians_pdb(path, positions, session.model.gaussians.amplitudes, moved, box_centre(session))
    return path


def save_movie(session: Session, path: Tensor, job: RunningJob, *, stage: str = "movie") -> Movie:
    """Write the states along a path as maps, a ChimeraX script that plays them, and an animated picture.

    One of these files becomes an output node: the map of the first state, an end of the motion, where the states of two movies
    differ most. RELION's Display shows maps and no scripts or animations, and each node is a row in its list.

    Parameters
    ----------
    session
        The half set.
    path : (F, D) A
        Coordinates of the states along the main motions.
    job, stage
        For progress, abort between two states, and the output node.

    Returns
    -------
    Movie
        In a folder of the next free name.
    """
    folder = next_path(session, layout.STATE_MOVIES)
    drawn = draw_movie(session, path, job, stage=stage)
    portraits, scene = drawn.portraits, drawn.scene
    files = write_series(folder, [portrait.volume for portrait in portraits], session.pixel_size_angstroms)
    first, last = portraits[0].positions, portraits[-1].positions
    arrows, script = folder / layout.MOVIE_ARROWS, folder / layout.MOVIE_SCRIPT
    write_motion_arrows(arrows, first, last - first, box_centre(session))
    write_chimerax_script(script, [file.name for file in files], scene.level, arrows=arrows.name)
    files += [arrows, script, *write_animation(folder / layout.ANIMATION_STEM, drawn.pictures)]
    job.add_output(files[0], layout.MAP_LABEL)
    return Movie(folder, portraits, scene, files)


def box_centre(session: Session) -> float:
    """A from the first voxel, where viewers put the origin, to the box centre."""
    return session.box // 2 * session.pixel_size_angstroms
