"""What the window saves, in a thread; free of Qt. Names and folders are those of the task without a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from jobtypes.common.particles import read_particles
from jobtypes.dynamight.outputs import MAP_LABEL, PARTICLES_LABEL, gather_logbook
from jobtypes.dynamight.visualization import saving
from jobtypes.dynamight.visualization.colourings import Colouring
from jobtypes.dynamight.visualization.latent_drawing import save_latent_space
from jobtypes.dynamight.visualization.reductions import Reduction
from jobtypes.dynamight.visualization.selection import write_subset
from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.running_job import RunningJob

FIGURES = Path("visualization/figures")


def save_state(session: Session, coordinates: Tensor, job: RunningJob) -> Path:
    """Write the map of a state and register it."""
    path, _ = saving.save_map(session, coordinates)
    job.add_output(path, MAP_LABEL)
    return path


def save_gaussians(session: Session, coordinates: Tensor, job: RunningJob) -> Path:
    """Write the Gaussians of a state."""
    return saving.save_gaussians(session, coordinates)


def save_movie(session: Session, path: Tensor, job: RunningJob) -> Path:
    """Write the states along a path, and register their maps."""
    movie = saving.save_movie(session, path, job)
    for file in movie.files:
        if file.suffix == ".mrc":
            job.add_output(file, MAP_LABEL)
    return movie.folder


def save_selection(session: Session, selected: NDArray[np.bool_], both_halves: bool, job: RunningJob) -> Path:
    """Write the selected particles (P,) of the particle STAR file, and register them.

    Of the other half set those particles are taken whose nearest neighbour, in the displacement of this half's Gaussians, is
    selected.
    """
    if not selected.any():
        raise UserError("No particle is inside the selection; surround some.")
    rows = session.part.rows[selected]
    if both_halves:
        other = session.forward.halves[3 - session.half]
        _, nearest = cKDTree(session.coordinates.numpy()).query(other_half_coordinates(session).numpy())
        rows = np.concatenate((rows, other.rows[selected[nearest]]))
    table = read_particles(job.project / session.forward.star_file, seed=0)
    path = write_subset(table, session.job_directory, rows, session.half)
    job.add_output(path, PARTICLES_LABEL)
    return path


@torch.no_grad()
def other_half_coordinates(session: Session) -> Tensor:
    """Coordinates (P', D) in A, along this half's main motions, of the particles of the other half by their own model.

    Both halves are taken about their mean state, since which conformation a half calls its consensus is its own choice.
    """
    other, gaussians = session.forward.halves[3 - session.half], session.model.gaussians
    weights = gaussians.amplitudes / gaussians.amplitudes.sum()
    motions = torch.einsum("dk,knc->dnc", session.motions.from_coordinates.to(weights), session.gaussians.basis)
    theirs = other.model.field.basis(gaussians.positions)
    projection = torch.einsum("n,knc,dnc->kd", weights, theirs, motions)
    coefficients = other.model.field.coefficients(other.latent_mean)
    return ((coefficients - coefficients.mean(0)) @ projection).cpu()


def save_figure(session: Session, reduction: Reduction, colouring: Colouring, job: RunningJob) -> Path:
    """Write the drawing of the latent space, and make logfile.pdf anew."""
    name = f"07_{reduction.method}_{colouring.name.replace(' ', '_')}_half{session.half}.png"
    path = session.job_directory / FIGURES / name
    save_latent_space(path, reduction, colouring, least_moved=session.least_moved, half=session.half)
    gather_logbook(session.job_directory, job)
    return path


def picture_path(session: Session) -> Path:
    """Next free name of a picture of the window."""
    folder = session.job_directory / "visualization"
    return folder / f"{saving.next_name(folder, 'window', session.half)}.png"
