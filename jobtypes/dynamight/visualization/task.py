"""The task without a display: latent figures, states along the main motions, states of clusters, displacement per region."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common.devices import choose_device
from jobtypes.common.particles import read_particles
from jobtypes.common.volumes import write_volume
from jobtypes.dynamight.model.gaussians import automatic_threshold
from jobtypes.dynamight.model.result import ForwardResult, load_forward_result
from jobtypes.dynamight.motion_figures import draw_displacements, draw_gaussians, draw_latents
from jobtypes.dynamight.outputs import (
    MAP_LABEL,
    PARTICLES_LABEL,
    gather_logbook,
    rms_of_gaussians,
    write_gaussians_pdb,
    write_motion_arrows,
    write_particles_with_latents,
)
from jobtypes.dynamight.visualization.figures import Portrait, Scene, cameras_for, draw_states
from jobtypes.dynamight.visualization.animation import write_animation
from jobtypes.dynamight.visualization.movies import write_chimerax_script, write_series
from jobtypes.dynamight.visualization.options import VisualizationOptions
from jobtypes.dynamight.visualization.regions import find_regions, write_regions
from jobtypes.dynamight.visualization.session import Session
from jobtypes.dynamight.visualization.validation import compare_halves
from relion_jobs.contract.options import Value
from relion_jobs.contract.running_job import RunningJob

FOLDER = Path("visualization")
_STATES_IN_MONTAGE = 5
_ANIMATION_PIXELS = 220


def check(values: Mapping[str, Value], job_directory: Path) -> list[str]:
    """Say the plan in sentences; UserError where the forward deformations are missing or another job's."""
    options = VisualizationOptions.from_values(values)
    _, sentence = choose_device(options.gpu_id)
    forward = load_forward_result(job_directory, options.checkpoint_file)
    return [sentence, f"Visualization of {forward.path} (epoch {forward.epoch}): {_what(options)}. {_NO_WINDOW}"]


_NO_WINDOW = "States are written to files: maps, ChimeraX scripts, animations and figures."


def _what(options: VisualizationOptions) -> str:
    if options.half_set == 0:
        return "held-out particles as both halves' models see them"
    return (
        f"half {options.half_set}, {options.n_motions} main motions of {options.n_frames} states each, "
        f"{options.n_clusters} clusters of particles"
    )


def run(values: Mapping[str, Value], job: RunningJob) -> None:
    """Draw one half set, or compare both on held-out particles, into visualization/ and logfile.pdf."""
    options = VisualizationOptions.from_values(values)
    torch.set_num_threads(options.n_threads)
    device, sentence = choose_device(options.gpu_id)
    job.report(sentence)
    forward = load_forward_result(job.directory, options.checkpoint_file, device)
    job.report(f"Visualization of {forward.path} (epoch {forward.epoch}): {_what(options)}. {_NO_WINDOW}")
    if options.half_set == 0:
        compare_halves(forward, job, job.directory / FOLDER)
    else:
        show_half(Session(job.directory, forward, options.half_set), options, job)
    draw_both_halves(forward, job)
    gather_logbook(job.directory, job)


def draw_both_halves(forward: ForwardResult, job: RunningJob) -> None:
    """Figures that show both half sets side by side."""
    figures = job.directory / FOLDER / "figures"
    halves = forward.halves
    rms = {half: rms_of_gaussians(part).cpu().numpy() for half, part in halves.items()}
    draw_gaussians(
        {half: part.model.gaussians.positions.cpu().numpy() for half, part in halves.items()}, rms, figures / "02_gaussians.png"
    )
    draw_displacements(
        {half: part.rms_displacement.cpu().numpy() for half, part in halves.items()}, figures / "03_displacements.png"
    )


def show_half(session: Session, options: VisualizationOptions, job: RunningJob) -> None:
    """Everything about one half set."""
    half, folder = session.half, job.directory / FOLDER
    shares = ", ".join(f"{value:.2f} A" for value in session.motions.rms_angstroms[: options.n_motions])
    job.report(
        f"Half {half}: rms displacement along the main motions {shares}. States are drawn from {session.maps.description}."
    )
    clusters = session.clusters(options.n_clusters, options.seed)
    draw_embedding(session, options, clusters.particles, folder)
    write_clusters(session, clusters.centres, job)
    n_motions = min(options.n_motions, len(session.motions))
    for motion in range(n_motions):
        show_motion(session, motion, options, job)
        job.progress("motions", motion + 1, n_motions, "motions")
    report_regions(session, options, job)
    write_files(session, job, clusters.labels, options.seed)


def draw_embedding(session: Session, options: VisualizationOptions, marked: NDArray[np.int64], folder: Path) -> None:
    """Density and displacement of the particles in the latent space."""
    points, labels = session.embedding(options.embedding, options.seed)
    half = session.half
    draw_latents(
        {half: points},
        {half: session.part.rms_displacement.cpu().numpy()},
        folder / "figures" / f"01_latents_half{half}.png",
        axis_labels={half: labels},
        title=f"Latent space of half {half}",
        marked={half: points[marked]},
    )


def show_motion(session: Session, motion: int, options: VisualizationOptions, job: RunningJob) -> None:
    """Maps along one main motion, their ChimeraX script, animation and figure."""
    half, name = session.half, f"motion{motion + 1:02d}_half{session.half}"
    folder = job.directory / FOLDER / name
    path = session.traversal(motion, options.n_frames)
    portraits = []
    middle = session.state_positions(path[len(path) // 2])
    for coordinates in path:
        job.check_abort()
        positions = session.state_positions(coordinates)
        moved = (positions - middle).norm(dim=1)
        portraits.append(Portrait(session.state_map(coordinates), positions, moved, f"{float(coordinates[motion]):+.1f} Å"))
    scene = make_scene(session, portraits, motion)
    for file in write_series(folder, [portrait.volume for portrait in portraits], session.pixel_size):
        job.add_output(file, MAP_LABEL)
    arrows = folder / "motion.bild"
    first, last = portraits[0].positions, portraits[-1].positions
    write_motion_arrows(arrows, first, last - first, _shift(session))
    write_chimerax_script(
        folder / "play.cxc", [f"volume{i:03d}.mrc" for i in range(len(portraits))], scene.level, arrows=arrows.name
    )
    write_animation(
        folder / "animation", [np.concatenate(scene.pictures(portrait, _ANIMATION_PIXELS), axis=1) for portrait in portraits]
    )
    shown = [round(i * (len(portraits) - 1) / (_STATES_IN_MONTAGE - 1)) for i in range(_STATES_IN_MONTAGE)]
    draw_states(
        scene,
        [portraits[i] for i in sorted(set(shown))],
        job.directory / FOLDER / "figures" / f"04_{name}.png",
        title=f"Main motion {motion + 1} of half {half}",
        caption=f"States along main motion {motion + 1}, from its 2nd to its 98th percentile over the particles, in two views at "
        "a right angle; the number is the position along the motion (rms over the density). Drawn from "
        f"{session.maps.description}. Colour: displacement from the middle state, in Å.",
    )
    job.report(f"Wrote {folder}/: {len(portraits)} maps, play.cxc for ChimeraX, animation.gif.")


def make_scene(session: Session, portraits: list[Portrait], motion: int) -> Scene:
    """Cameras that show a main motion best and hold all states, one contour level, one colour scale."""
    first, last = (session.state_positions(coordinates) for coordinates in session.traversal(motion, 2))
    cameras = cameras_for(torch.cat([first, last, *(portrait.positions for portrait in portraits)]), last - first)
    level = automatic_threshold(portraits[len(portraits) // 2].volume)
    largest = max(float(torch.quantile(portrait.rms, 0.99)) for portrait in portraits)
    return Scene(cameras, level, max(largest, 0.5), session.pixel_size)


def write_clusters(session: Session, centres: Tensor, job: RunningJob) -> None:
    """Map of the state in the middle of each cluster, and a figure of them."""
    folder = job.directory / FOLDER / "maps"
    rest = session.state_positions(torch.zeros(len(session.motions)))
    portraits = []
    for number, coordinates in enumerate(centres, start=1):
        job.check_abort()
        volume, positions = session.state_map(coordinates), session.state_positions(coordinates)
        file = folder / f"cluster{number:02d}_half{session.half}.mrc"
        write_volume(file, volume, session.pixel_size)
        job.add_output(file, MAP_LABEL)
        portraits.append(Portrait(volume, positions, (positions - rest).norm(dim=1), f"cluster {number}"))
    scene = make_scene(session, portraits, 0)
    draw_states(
        scene,
        portraits[:6],
        job.directory / FOLDER / "figures" / f"05_clusters_half{session.half}.png",
        title=f"States of clusters of half {session.half}",
        caption="State of the particle in the middle of each cluster, numbered as in the latent space, in the order of the first "
        "main motion, in two views at a right angle. Colour: displacement from the mean state, in Å.",
    )
    job.report(f"Wrote {len(portraits)} states of clusters to {folder}/.")


def report_regions(session: Session, options: VisualizationOptions, job: RunningJob) -> None:
    """Table of displacement per region."""
    gaussians = session.model.gaussians
    regions, _ = find_regions(
        gaussians.positions.cpu(),
        gaussians.amplitudes.cpu(),
        session.gaussians.basis.cpu(),
        session.coefficients.cpu(),
        count=options.n_regions,
        seed=options.seed,
    )
    path = job.directory / FOLDER / f"regions_half{session.half}.tsv"
    write_regions(path, regions)
    most, least = regions[0], regions[-1]
    where = ", ".join(f"{value:.0f}" for value in most.centre_angstroms)
    job.report(
        f"Half {session.half}: the region around ({where}) A with {100 * most.mass_fraction:.0f} % of the mass moves by "
        f"{most.rms_angstroms:.1f} A rms, the stillest region by {least.rms_angstroms:.1f} A; all regions in {path}."
    )


def write_files(session: Session, job: RunningJob, labels: NDArray[np.int64], seed: int) -> None:
    """Gaussians for ChimeraX or PyMOL, and the particles with their latents."""
    folder, half = job.directory / FOLDER, session.half
    rms = rms_of_gaussians(session.part)
    gaussians = session.model.gaussians
    write_gaussians_pdb(folder / f"gaussians_half{half}.pdb", gaussians.positions, gaussians.amplitudes, rms, _shift(session))
    table = read_particles(job.project / session.forward.star_file, seed=seed)
    path = folder / f"particles_half{half}.star"
    write_particles_with_latents(table, path, [(session.part, session.motions)], {"rlnDynamightCluster": labels + 1})
    job.add_output(path, PARTICLES_LABEL)


def _shift(session: Session) -> float:
    """A from the first voxel, where viewers put the origin, to the box centre."""
    return session.box // 2 * session.pixel_size
