"""Everything that the window would show, written to files: states, movies, figures, tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from jobtypes.common.team import Team
from jobtypes.dynamight import layout
from jobtypes.dynamight.model.result import ForwardResult, particles_of
from jobtypes.dynamight.motion_figures import draw_displacements, draw_gaussians, draw_latents
from jobtypes.dynamight.options import VisualizationOptions
from jobtypes.dynamight.outputs import (
    gather_logbook,
    register_particles,
    rms_of_gaussians,
    write_gaussians_pdb,
    write_particles_with_latents,
)
from jobtypes.dynamight.visualization.drawn_movie import end_drawing, help_drawing
from jobtypes.dynamight.visualization.figures import Portrait, draw_colourings, draw_states
from jobtypes.dynamight.visualization.given_states import GivenState, states_of_latents, states_of_particles
from jobtypes.dynamight.visualization.landscape.figures import draw_landscape
from jobtypes.dynamight.visualization.landscape.overview import overview_of
from jobtypes.dynamight.visualization.landscape.tables import write_landscape
from jobtypes.dynamight.visualization.page.assembling import write_page
from jobtypes.dynamight.visualization.page.contents import page_content
from jobtypes.dynamight.visualization.portraits import scene_of
from jobtypes.dynamight.visualization.regions import find_regions, write_regions
from jobtypes.dynamight.visualization.saving import Movie, box_centre, save_map, save_movie
from jobtypes.dynamight.visualization.session import Clusters, Session
from jobtypes.dynamight.visualization.trajectories import smooth_path
from jobtypes.dynamight.visualization.validation import compare_halves
from jobtypes.dynamight.visualization.written_states import WrittenState, remove_listed, write_list, written_state
from relion_jobs.contract.running_job import RunningJob

_STATES_IN_MONTAGE = 5
_STATES_IN_FIGURE = 6
_COLOURINGS = ("log density", "direction of motion", "location of motion", "cluster", "pose", "shift")


def write_everything(forward: ForwardResult, options: VisualizationOptions, job: RunningJob, team: Team) -> None:
    """Draw one half set, or compare both on held-out particles, into files and logfile.pdf; all processes draw movies."""
    if not team.is_first:
        if options.halfset != 0:
            help_drawing(Session(job.directory, forward, options.halfset, team), job)
        return
    if options.halfset == 0:
        compare_halves(forward, job)
    else:
        session = Session(job.directory, forward, options.halfset, team)
        show_half(session, options, job)
        end_drawing(session)
    draw_both_halves(forward, job)
    gather_logbook(job.directory, job)
    show_in_page(forward, options, job)


def show_in_page(forward: ForwardResult, options: VisualizationOptions, job: RunningJob) -> None:
    """Write both half sets, and all figures, into one page."""
    content = page_content(forward, job.directory, embedding=options.embedding, n_clusters=options.n_clusters, seed=options.seed)
    path = job.directory / layout.PAGE
    write_page(content, path)
    job.add_output(path, layout.PAGE_LABEL)
    job.report(f"Everything in one page, for a browser: {path} ({path.stat().st_size / 1e6:.1f} MB).")


def draw_both_halves(forward: ForwardResult, job: RunningJob) -> None:
    """Figures that show both half sets side by side."""
    halves = forward.halves
    rms = {half: rms_of_gaussians(part).cpu().numpy() for half, part in halves.items()}
    positions = {half: part.model.gaussians.positions.cpu().numpy() for half, part in halves.items()}
    draw_gaussians(positions, rms, job.directory / layout.ALL_GAUSSIANS_FIGURE)
    displacements = {half: part.rms_displacement.cpu().numpy() for half, part in halves.items()}
    draw_displacements(displacements, job.directory / layout.ALL_DISPLACEMENTS_FIGURE)


def show_half(session: Session, options: VisualizationOptions, job: RunningJob) -> None:
    """Everything about one half set."""
    half = session.half
    shares = ", ".join(f"{value:.2f} A" for value in session.motions.rms_angstroms[: max(options.n_motions, 1)])
    job.report(
        f"Half {half}: rms displacement along the main motions {shares}. States are drawn from {session.maps.description}."
    )
    given = given_states(session, job, particles_file=options.particles_file, latents_file=options.latents_file)
    listed = job.directory / layout.shown_states(half)
    remove_listed(listed, job.directory)
    clusters = session.clusters(options.n_clusters, options.seed)
    draw_embedding(session, clusters, job, method=options.embedding, seed=options.seed)
    written: list[WrittenState] = []

    def keep(states: list[WrittenState]) -> None:
        written.extend(states)
        write_list(listed, written)  # at once, so that the next run replaces what an aborted one has written

    keep(show_clusters(session, clusters, job))
    if session.part.part_numbers:
        keep(show_parts(session, job))
    if given:
        keep(show_given(session, given, job))
    n_motions = min(options.n_motions, len(session.motions))
    for motion in range(n_motions):
        keep(show_motion(session, motion, job, n_frames=options.n_frames))
        job.progress("motions", motion + 1, n_motions, "motions")
    if options.do_trajectory and given:
        keep(show_trajectory(session, given, job, n_frames=options.n_frames))
    keep(show_landscape(session, options, job))
    report_regions(session, job, count=options.n_regions, seed=options.seed)
    write_files(session, job, clusters.labels)
    job.report(f"What each of the {len(written)} maps shows is listed in {listed}.")


def given_states(session: Session, job: RunningJob, *, particles_file: str | None, latents_file: str | None) -> list[GivenState]:
    """States of the particles and latents that the user has listed; those outside the data are named."""
    states: list[GivenState] = []
    if particles_file:
        table = particles_of(session.forward, job.project)
        found, elsewhere = states_of_particles(session, job.project / particles_file, table)
        states += found
        if elsewhere:
            job.warn(f"{elsewhere} particle(s) of {particles_file} belong to half {3 - session.half} and are left out.")
    if latents_file:
        states += states_of_latents(session, job.project / latents_file)
    if states:
        outside = session.outside(torch.stack([state.coordinates for state in states]))
        names = ", ".join(state.name for state, is_outside in zip(states, outside, strict=True) if is_outside)
        if names:
            job.warn(f"Outside the data, where no particle tells what the molecule does: {names}; drawn grey.")
    return states


def draw_embedding(session: Session, clusters: Clusters, job: RunningJob, *, method: str, seed: int) -> None:
    """Density and displacement of the particles in the latent space, and what else they can be coloured by."""
    half = session.half
    reduction = session.reduction(method, seed=seed)
    draw_latents(
        {half: reduction.points},
        {half: session.part.rms_displacement.cpu().numpy()},
        job.directory / layout.latents_figure(half),
        axis_labels={half: reduction.labels},
        title=f"Latent space of half {half}",
        marked={half: reduction.points[clusters.particles]},
    )
    names = (*_COLOURINGS[:-1], "held-out error") if np.isfinite(session.held_out_error).any() else _COLOURINGS
    draw_colourings(
        reduction,
        [session.colouring(name, reduction, clusters) for name in names],
        job.directory / layout.colourings_figure(half),
        half=half,
        least_moved=session.least_moved,
    )


def show_clusters(session: Session, clusters: Clusters, job: RunningJob) -> list[WrittenState]:
    """Map of the state in the middle of each cluster, and a figure of them."""
    states = [GivenState(f"cluster {number}", centre) for number, centre in enumerate(clusters.centres, start=1)]
    written, portraits = write_states(session, states, job)
    scene = scene_of(session, portraits, _first_motion(session))
    draw_states(
        scene,
        portraits[:_STATES_IN_FIGURE],
        job.directory / layout.clusters_figure(session.half),
        title=f"States of clusters of half {session.half}",
        caption="State of the particle in the middle of each cluster, numbered as in the latent space, in the order of the first "
        "main motion, in two views at a right angle. Colour: displacement from the consensus, in Å.",
    )
    job.report(f"States of {len(portraits)} clusters: {written[0].file} to {written[-1].file.name}.")
    return written


def show_given(session: Session, given: list[GivenState], job: RunningJob) -> list[WrittenState]:
    """Maps of the states that the user has listed, and a figure of the first of them."""
    written, portraits = write_states(session, given, job)
    scene = scene_of(session, portraits, _first_motion(session))
    more = f" The first {_STATES_IN_FIGURE} of {len(given)}." if len(given) > _STATES_IN_FIGURE else ""
    draw_states(
        scene,
        portraits[:_STATES_IN_FIGURE],
        job.directory / layout.listed_states_figure(session.half),
        title=f"Listed states of half {session.half}",
        caption=f"States of the particles or latents that were asked for, in two views at a right angle.{more} Colour: "
        "displacement from the consensus, in Å; states outside the data are grey.",
    )
    job.report(f"{len(given)} listed states: {written[0].file} to {written[-1].file.name}.")
    return written


def show_parts(session: Session, job: RunningJob) -> list[WrittenState]:
    """Maps of the consensus with all parts, and without each of those that some particles lack, and a figure of them."""
    consensus = session.motions.coordinates(torch.zeros_like(session.motions.mean)[None])[0]
    states = [GivenState("all parts", consensus)]
    states += [GivenState(f"without part {number}", consensus, (number,)) for number in session.part.part_numbers]
    written, portraits = write_states(session, states, job)
    draw_states(
        scene_of(session, portraits, _first_motion(session)),
        portraits[:_STATES_IN_FIGURE],
        job.directory / layout.parts_figure(session.half),
        title=f"Parts that some particles of half {session.half} lack",
        caption="The consensus with all parts, and without each of them, in two views at a right angle. In a reconstruction a "
        "part is as dense as it is in the mean of the particles.",
    )
    job.report(f"The consensus with and without {len(states) - 1} part(s): {written[0].file} to {written[-1].file.name}.")
    return written


def write_states(session: Session, states: list[GivenState], job: RunningJob) -> tuple[list[WrittenState], list[Portrait]]:
    """Save the maps of states and register them."""
    written, portraits = [], []
    for done, state in enumerate(states, start=1):
        job.check_abort()
        path, portrait = save_map(session, state.coordinates, label=state.name, lacking=state.lacking)
        job.add_output(path, layout.MAP_LABEL)
        written.append(written_state(session, path, state.name, state.coordinates, is_outside=portrait.outside))
        portraits.append(portrait)
        job.progress("states", done, len(states), "maps")
    return written, portraits


def show_motion(session: Session, motion: int, job: RunningJob, *, n_frames: int) -> list[WrittenState]:
    """Maps along one main motion, their ChimeraX script, animation and figure."""
    half, path = session.half, session.traversal(motion, n_frames)
    movie = save_movie(session, path, job, stage=f"main motion {motion + 1}")
    draw_montage(
        session,
        movie,
        [f"{float(coordinates[motion]):+.1f} Å" for coordinates in path],
        job.directory / layout.motion_figure(motion + 1, half),
        title=f"Main motion {motion + 1} of half {half}",
        what=f"States along main motion {motion + 1}, from its 2nd to its 98th percentile over the particles, in two views at "
        "a right angle; the number is the position along the motion (rms over the density).",
    )
    return _list_movie(session, movie, path, f"main motion {motion + 1}", job)


def show_trajectory(session: Session, given: list[GivenState], job: RunningJob, *, n_frames: int) -> list[WrittenState]:
    """Movie that goes smoothly through the listed states."""
    corners = torch.stack([state.coordinates for state in given]).double().numpy()
    path = torch.from_numpy(smooth_path(corners, n_frames)).float()
    movie = save_movie(session, path, job, stage="trajectory")
    draw_montage(
        session,
        movie,
        [f"state {number}" for number in range(1, len(path) + 1)],
        job.directory / layout.trajectory_figure(session.half),
        title=f"Trajectory through listed states of half {session.half}",
        what=f"States on a smooth path through {given[0].name} to {given[-1].name}, in two views at a right angle.",
    )
    return _list_movie(session, movie, path, "trajectory", job)


def show_landscape(session: Session, options: VisualizationOptions, job: RunningJob) -> list[WrittenState]:
    """Populations along the main motions as table and figure; maps and a movie of the path that was asked for."""
    half = session.half
    sessions = {one: session if one == half else Session(job.directory, session.forward, one) for one in session.forward.halves}
    overview = overview_of(sessions, half, seed=options.seed)
    ends = options.path_ends
    way = None if ends is None else overview.path(*ends, options.n_frames)
    write_landscape(job.directory / layout.landscape(half), overview.landscapes, overview.states)
    draw_landscape(overview.landscapes, overview.states, job.directory / layout.landscape_figure(half), half=half, way=way)
    job.report(overview.sentence())
    if ends is None or way is None:
        return []
    path = session.states_on(way)
    movie = save_movie(session, path, job, stage="path")
    name = f"path from stable state {ends[0]} to {ends[1]}"
    draw_montage(
        session,
        movie,
        [f"state {number}" for number in range(1, len(path) + 1)],
        job.directory / layout.state_path_figure(*ends, half),
        title=f"{name[0].upper()}{name[1:]} of half {half}",
        what="States on the way where most particles are, in two views at a right angle.",
    )
    return _list_movie(session, movie, path, name, job)


def draw_montage(session: Session, movie: Movie, labels: list[str], file: Path, *, title: str, what: str) -> None:
    """Figure of a few states of a movie."""
    count = len(movie.portraits)
    shown = sorted({round(i * (count - 1) / (_STATES_IN_MONTAGE - 1)) for i in range(_STATES_IN_MONTAGE)})
    draw_states(
        movie.scene,
        [movie.portraits[i].labelled(labels[i]) for i in shown],
        file,
        title=title,
        caption=f"{what} Drawn from {session.maps.description}. Colour: displacement from the middle state, in Å.",
    )


def _list_movie(session: Session, movie: Movie, path: torch.Tensor, name: str, job: RunningJob) -> list[WrittenState]:
    others = ", ".join(file.name for file in movie.files[len(path) :] if file.suffix != ".bild")
    job.report(f"Movie along {name}: {movie.folder}/ with {len(path)} maps, {others}.")
    if any(portrait.outside for portrait in movie.portraits):
        job.warn(f"The movie along {name} leaves the data: states drawn grey are those that no particle is like.")
    return [
        written_state(session, file, f"{name}, {index} of {len(path)}", coordinates, is_outside=portrait.outside)
        for index, (file, coordinates, portrait) in enumerate(zip(movie.files, path, movie.portraits, strict=False), start=1)
    ]


def _first_motion(session: Session) -> torch.Tensor:
    """(n, 3) A from one end of the first main motion to the other."""
    first, last = (session.state_positions(coordinates) for coordinates in session.traversal(0, 2))
    return last - first


def report_regions(session: Session, job: RunningJob, *, count: int, seed: int) -> None:
    """Table of displacement per region."""
    gaussians = session.model.gaussians
    regions, _ = find_regions(
        gaussians.positions.cpu(),
        gaussians.amplitudes.cpu(),
        session.gaussians.basis.cpu(),
        session.coefficients.cpu(),
        count=count,
        seed=seed,
    )
    path = job.directory / layout.shown_regions(session.half)
    write_regions(path, regions)
    most, least = regions[0], regions[-1]
    where = ", ".join(f"{value:.0f}" for value in most.centre_angstroms)
    job.report(
        f"Half {session.half}: the region around ({where}) A with {100 * most.mass_fraction:.0f} % of the mass moves by "
        f"{most.rms_angstroms:.1f} A rms, the stillest region by {least.rms_angstroms:.1f} A; all regions in {path}."
    )


def write_files(session: Session, job: RunningJob, labels: NDArray[np.int64]) -> None:
    """Gaussians for ChimeraX or PyMOL, and the particles with their latents."""
    half = session.half
    rms = rms_of_gaussians(session.part)
    gaussians = session.model.gaussians
    path = job.directory / layout.shown_gaussians(half)
    write_gaussians_pdb(path, gaussians.positions, gaussians.amplitudes, rms, box_centre(session))
    table = particles_of(session.forward, job.project)
    path = job.directory / layout.shown_particles(half)
    write_particles_with_latents(table, path, [(session.part, session.motions)], {"rlnDynamightCluster": labels + 1})
    register_particles(path, job.add_output)
