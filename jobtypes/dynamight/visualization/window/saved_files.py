"""What the window saves, in a thread; free of Qt. Names and folders are those of the task without a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.dynamight import layout
from jobtypes.dynamight.model.result import particles_of
from jobtypes.dynamight.outputs import gather_logbook, register_particles
from jobtypes.dynamight.visualization import saving
from jobtypes.dynamight.visualization.colourings import Colouring
from jobtypes.dynamight.visualization.latent_drawing import save_latent_space
from jobtypes.dynamight.visualization.reductions import Reduction
from jobtypes.dynamight.visualization.selection import write_subset
from jobtypes.dynamight.visualization.session import Session
from jobtypes.dynamight.visualization.written_states import write_list, written_state
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.running_job import RunningJob


def save_state(session: Session, coordinates: Tensor, job: RunningJob) -> Path:
    """Write the map of a state and register it; beside it a list of this state, for which maps can be made from the images."""
    path, portrait = saving.save_map(session, coordinates)
    job.add_output(path, layout.MAP_LABEL)
    write_list(path.with_suffix(".star"), [written_state(session, path, path.stem, coordinates, is_outside=portrait.outside)])
    return path


def save_gaussians(session: Session, coordinates: Tensor, job: RunningJob) -> Path:
    """Write the Gaussians of a state."""
    return saving.save_gaussians(session, coordinates)


def save_movie(session: Session, path: Tensor, job: RunningJob) -> Path:
    """Write the states along a path."""
    return saving.save_movie(session, path, job).folder


def save_selection(session: Session, selected: NDArray[np.bool_], both_halves: bool, job: RunningJob) -> Path:
    """Write the selected particles (P,) of the particle STAR file, with those of the other half that are like them if wanted."""
    if not selected.any():
        raise UserError("No particle is inside the selection; surround some.")
    rows = session.part.rows[selected]
    if both_halves:
        rows = np.concatenate((rows, session.of_other_half(selected)))
    table = particles_of(session.forward, job.project)
    path = write_subset(table, session.job_directory, rows, None if both_halves else session.half)
    register_particles(path, job.add_output)
    return path


def save_figure(session: Session, reduction: Reduction, colouring: Colouring, job: RunningJob) -> Path:
    """Write the drawing of the latent space, and make logfile.pdf anew."""
    path = session.job_directory / layout.saved_latents_figure(reduction.method, colouring.name, session.half)
    save_latent_space(path, reduction, colouring, least_moved=session.least_moved, half=session.half)
    gather_logbook(session.job_directory, job)
    return path


def picture_path(session: Session) -> Path:
    """Next free name of a picture of the window."""
    return saving.next_path(session, layout.WINDOW_PICTURES, ".png")
