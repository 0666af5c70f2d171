"""Files that several tasks write: the logbook, Gaussians for ChimeraX and PyMOL, particles with their latents."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.colors import to_rgb
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from jobtypes.common.conventions import EULER_ANGLE_COLUMNS, ORIGIN_COLUMNS
from jobtypes.common.particles import ParticleTable, write_particles
from jobtypes.common.rotations import euler_angles
from jobtypes.common.tilt_stacks import ORIGIN_COLUMNS as TILT_ORIGIN_COLUMNS
from jobtypes.common.tilt_stacks import optimisation_set_beside, stored_poses
from jobtypes.common.volumes import write_volume
from jobtypes.common.whole_files import written_whole
from jobtypes.dynamight import layout
from jobtypes.dynamight.colours import ARROW_COLOUR
from jobtypes.dynamight.figures import write_logbook
from jobtypes.dynamight.model.deformed import combine
from jobtypes.dynamight.model.density import render_density
from jobtypes.dynamight.model.disagreement import held_out_errors
from jobtypes.dynamight.model.principal_motions import PrincipalMotions, principal_motions
from jobtypes.dynamight.model.result import ForwardResult, HalfResult, particles_of
from jobtypes.dynamight.motion_figures import Row, draw_displacements, draw_gaussians, draw_history, draw_latents, draw_quality
from jobtypes.dynamight.occupancy import occupancy_columns, write_parts
from relion_jobs.contract.labels import LOGFILE_PDF
from relion_jobs.contract.running_job import RunningJob

HELD_OUT_ERROR = "rlnDynamightHeldOutError"  # A
NOT_HELD_OUT = -1.0  # in its place


def gather_logbook(job_directory: Path, job: RunningJob | None = None) -> Path | None:
    """Make logfile.pdf anew from the figures of all tasks in the job directory, and register it.

    Figures are the files that `figures.save_figure` wrote; each task's are sorted by name.

    Returns
    -------
    Path or None
        None where no task has drawn anything yet.
    """
    pictures = [path for pattern in layout.FIGURE_PATTERNS for path in sorted(Path(job_directory).glob(pattern))]
    if not pictures:
        return None
    path = write_logbook(pictures, Path(job_directory) / LOGFILE_PDF, heading=f"DynaMight  {job_directory}")
    if job is not None:
        job.add_output(path, layout.LOGFILE_LABEL)
    return path


def write_forward_outputs(forward: ForwardResult, history: Sequence[Row], job: RunningJob) -> None:
    """Write what a finished training shows: figures, consensus maps, Gaussians and their motion, particles with latents.

    Parameters
    ----------
    forward
        The training, as loaded from its checkpoint.
    history
        Rows of the training's history; see `draw_history`.
    job
        The running job; maps and particles are registered as output nodes, logfile.pdf is made anew.
    """
    folder, halves = job.directory, forward.halves
    motions = {half: motions_of(part) for half, part in halves.items()}
    if history:
        draw_history(history, folder / layout.TRAINING_FIGURE)
    coordinates = {half: _two_columns(motions[half], part) for half, part in halves.items()}
    displacements = {half: part.rms_displacement.cpu().numpy() for half, part in halves.items()}
    names = ("main motion 1 (Å)", "main motion 2 (Å)")
    draw_latents(coordinates, displacements, folder / layout.LATENTS_FIGURE, axis_labels=dict.fromkeys(halves, names))
    rms = {half: rms_of_gaussians(part) for half, part in halves.items()}
    positions = {half: part.model.gaussians.positions.cpu().numpy() for half, part in halves.items()}
    draw_gaussians(positions, {half: values.cpu().numpy() for half, values in rms.items()}, folder / layout.GAUSSIANS_FIGURE)
    draw_displacements(displacements, folder / layout.DISPLACEMENTS_FIGURE)
    scales = {half: part.scale[part.good].cpu().numpy() for half, part in halves.items()}
    draw_quality({half: part.quality.cpu().numpy() for half, part in halves.items()}, scales, folder / layout.QUALITY_FIGURE)
    write_parts(forward, job)
    for half, part in halves.items():
        _write_half(forward, part, motions[half], rms[half], job)
    table, particles = particles_of(forward, job.project), folder / layout.PARTICLES
    errors = np.concatenate([held_out_errors(forward, half) for half in halves])
    extra = {HELD_OUT_ERROR: np.nan_to_num(errors, nan=NOT_HELD_OUT)} if np.isfinite(errors).any() else None
    write_particles_with_latents(table, particles, [(part, motions[half]) for half, part in halves.items()], extra)
    register_particles(particles, job.add_output)
    gather_logbook(job.directory, job)


def _write_half(
    forward: ForwardResult,
    part: HalfResult,
    motions: PrincipalMotions,
    rms: Tensor,
    job: RunningJob,
) -> None:
    folder, half, gaussians, pixel_size_angstroms = job.directory, part.half, part.model.gaussians, forward.pixel_size_angstroms
    shift = forward.box // 2 * pixel_size_angstroms
    consensus = folder / layout.consensus(half)
    write_volume(
        consensus, render_density(gaussians, gaussians.positions, forward.box, pixel_size_angstroms), pixel_size_angstroms
    )
    job.add_output(consensus, layout.MAP_LABEL)
    write_gaussians_pdb(folder / layout.gaussians(half), gaussians.positions, gaussians.amplitudes, rms, shift)
    ends = motions.coefficients(torch.stack((-motions.rms_angstroms, motions.rms_angstroms)) * torch.eye(len(motions))[:1])
    low, high = _displaced(part, ends)
    write_motion_arrows(folder / layout.motion_arrows(half), gaussians.positions + low, high - low, shift)


def training_resolution(job_directory: Path, forward: ForwardResult) -> float:
    """Resolution limit in A of the training's last epoch, from its history; Nyquist where there is none."""
    path = Path(job_directory) / layout.HISTORY
    rows = json.loads(path.read_text()) if path.is_file() else []
    return float(rows[-1]["resolution_angstroms"]) if rows else 2 * forward.pixel_size_angstroms


def motions_of(part: HalfResult) -> PrincipalMotions:
    """Main motions of a half set over its particles that are the molecule, on the CPU."""
    gaussians, field = part.model.gaussians, part.model.field
    basis = field.basis_at_gaussians(gaussians.positions)
    return principal_motions(basis.cpu(), gaussians.amplitudes.cpu(), field.coefficients(part.latent_mean[part.good]).cpu())


def _displaced(part: HalfResult, coefficients: Tensor) -> Tensor:
    """Displacements (b, n, 3) A of the Gaussians in states with coefficients (b, K)."""
    basis = part.model.field.basis_at_gaussians(part.model.gaussians.positions)
    return combine(coefficients.to(basis), basis)


def _two_columns(motions: PrincipalMotions, part: HalfResult) -> NDArray[np.float64]:
    """(P, 2) coordinates along the two main motions, 0 for a second one that is not there."""
    coordinates = motions.coordinates(part.model.field.coefficients(part.latent_mean).cpu()).numpy().astype(np.float64)
    return np.pad(coordinates[:, :2], ((0, 0), (0, max(0, 2 - coordinates.shape[1]))))


@torch.no_grad()
def rms_of_gaussians(part: HalfResult, chunk: int = 4096) -> Tensor:
    """Rms displacement (n,) in A of each Gaussian about its mean position, over a half set's particles that are the molecule."""
    basis = part.model.field.basis_at_gaussians(part.model.gaussians.positions)  # (K, n, 3)
    coefficients = part.model.field.coefficients(part.latent_mean[part.good])
    centred = coefficients - coefficients.mean(0)
    covariance = centred.T @ centred / max(len(centred), 1)  # (K, K)
    power = torch.cat([torch.einsum("kl,knc,lnc->n", covariance, part_, part_) for part_ in basis.split(chunk, dim=1)])
    return power.clamp(min=0).sqrt()


def write_gaussians_pdb(
    path: Path, positions_angstroms: Tensor, amplitudes: Tensor, rms_angstroms: Tensor, shift_angstroms: float
) -> None:
    """Write Gaussians as atoms of a PDB file: occupancy = amplitude over the largest, B-factor column = rms displacement in A.

    Parameters
    ----------
    path
        File to write, whole or not at all.
    positions_angstroms : (n, 3)
        From the box centre.
    amplitudes, rms_angstroms : (n,)
        Of each Gaussian.
    shift_angstroms
        Position of the box centre in the maps' own frame, N // 2 times the pixel size, so that atoms lie on the maps.
    """
    xyz = positions_angstroms.cpu().double().numpy() + shift_angstroms
    occupancy = (amplitudes / amplitudes.max()).cpu().numpy()
    rms = rms_angstroms.cpu().numpy()
    lines = ["REMARK   Gaussians of a DynaMight half set; B-factor column: rms displacement in A"]
    for index, ((x, y, z), share, b) in enumerate(zip(xyz, occupancy, rms, strict=True)):
        serial, residue = (index + 1) % 100_000, index % 9_999 + 1
        lines.append(
            f"HETATM{serial:5d}  CA  GAU A{residue:4d}    {x:8.3f}{y:8.3f}{z:8.3f}{share:6.2f}{min(b, 999.99):6.2f}           C"
        )
    with written_whole(path) as temporary:
        temporary.write_text("\n".join([*lines, "END", ""]))


def write_motion_arrows(
    path: Path,
    positions_angstroms: Tensor,
    displacement_angstroms: Tensor,
    shift_angstroms: float,
    *,
    n_arrows: int = 300,
    seed: int = 1,
) -> None:
    """Write the motion of a sample of Gaussians as arrows in a BILD file, which ChimeraX opens.

    Parameters
    ----------
    path
        File to write, whole or not at all.
    positions_angstroms, displacement_angstroms : (n, 3)
        Where each arrow starts, from the box centre, and how far it goes.
    shift_angstroms
        As for `write_gaussians_pdb`.
    n_arrows
        Arrows at most; Gaussians that move by less than 0.5 A get none.
    seed
        Of the sample.
    """
    length = displacement_angstroms.norm(dim=1)
    moving = torch.nonzero(length > 0.5).flatten().cpu()
    order = torch.randperm(len(moving), generator=torch.Generator().manual_seed(seed))[:n_arrows]
    start = positions_angstroms.cpu()[moving[order]] + shift_angstroms
    end = start + displacement_angstroms.cpu()[moving[order]]
    rows = [
        ".arrow " + " ".join(f"{v:.2f}" for v in (*a, *b)) + " 0.4 1.0 0.7"
        for a, b in zip(start.tolist(), end.tolist(), strict=True)
    ]
    colour = " ".join(f"{share:.2f}" for share in to_rgb(ARROW_COLOUR))
    with written_whole(path) as temporary:
        temporary.write_text("\n".join([f".color {colour}", *rows, ""]))


def register_particles(path: Path, register: Callable[[Path, str], None]) -> None:
    """Make a particle STAR file an output of the job; of tilt series its optimisation set, which RELION's jobs take, as well."""
    register(path, layout.PARTICLES_LABEL)
    of_tilts = optimisation_set_beside(path)
    if of_tilts.is_file():
        register(of_tilts, layout.OPTIMISATION_SET_LABEL)


def write_particles_with_latents(
    table: ParticleTable,
    path: Path,
    parts: Sequence[tuple[HalfResult, PrincipalMotions]],
    extra: Mapping[str, ArrayLike] | None = None,
) -> None:
    """Write the particles of one or both half sets with what was learned about them, in the order of the particle STAR file.

    The columns are rlnDynamightLatent1 ..., rlnDynamightMotion1 to 3 (A), rlnDynamightRmsDisplacement (A), rlnDynamightQuality
    (0 to 1: the probability that the image is the molecule at its pose), rlnDynamightScale (strength of its signal),
    rlnDynamightOccupancy1 ... (0 to 1: the probability that a part is there which some particles lack), and the refined pose as
    rlnDynamightAngleRot, ...Tilt, ...Psi (degrees), rlnDynamightOriginXAngst and ...YAngst, of tilt series ...ZAngst too, each in
    the sense of the column that it refines; RELION ignores them. Latents and
    motions of the two halves are not the same axes.

    Parameters
    ----------
    table
        All particles of the job, from `particles_of`.
    path
        File to write, whole or not at all.
    parts
        Each half set with its main motions.
    extra
        Further columns, in the order of `parts`.
    """
    n_motions = min(3, *(len(motions) for _, motions in parts))
    latents = np.concatenate([part.latent_mean.cpu().numpy() for part, _ in parts])
    coordinates = np.concatenate(
        [
            motions.coordinates(part.model.field.coefficients(part.latent_mean).cpu()).numpy()[:, :n_motions]
            for part, motions in parts
        ]
    )
    columns: dict[str, NDArray[Any]] = {f"rlnDynamightLatent{i + 1}": latents[:, i] for i in range(latents.shape[1])}
    columns |= {f"rlnDynamightMotion{i + 1}": coordinates[:, i] for i in range(n_motions)}
    columns["rlnDynamightRmsDisplacement"] = np.concatenate([part.rms_displacement.cpu().numpy() for part, _ in parts])
    columns["rlnDynamightQuality"] = np.concatenate([part.quality.cpu().numpy() for part, _ in parts])
    columns["rlnDynamightScale"] = np.concatenate([part.scale.cpu().numpy() for part, _ in parts])
    columns |= occupancy_columns([part for part, _ in parts])
    columns |= {name: np.asarray(values) for name, values in (extra or {}).items()}
    columns |= _refined_poses(table, [part for part, _ in parts])
    rows = np.concatenate([part.rows for part, _ in parts])
    order = np.argsort(rows)
    write_particles(table, path, rows=rows[order], **{name: values[order] for name, values in columns.items()})


def _refined_poses(table: ParticleTable, parts: Sequence[HalfResult]) -> dict[str, NDArray[Any]]:
    """Columns of the refined poses, in RELION's sense of the angles and origins: these are of the images as they are stored."""
    matrices = torch.cat([part.angles_matrices.cpu().double() for part in parts])
    origins = torch.cat([-part.shifts_angstroms.cpu().double() for part in parts]).numpy()
    rows = np.concatenate([part.rows for part in parts])
    if table.tilts is None:
        angles, origins = euler_angles(matrices).numpy(), table.stored_origins(rows, origins)
    else:
        angles, origins = stored_poses(table.source["particles"], table.rows[rows], matrices.numpy(), origins)
    of_origins = ORIGIN_COLUMNS if table.tilts is None else TILT_ORIGIN_COLUMNS
    names = [column.removeprefix("rln") for column in (*EULER_ANGLE_COLUMNS, *of_origins)]
    return {f"rlnDynamight{name}": values for name, values in zip(names, (*angles.T, *origins.T), strict=True)}
