"""Half-set 0: both halves' models on the particles that trained neither, and how far they disagree.

What is compared are displacements at the same points (the Gaussians of the half that a particle is held out of) in the same
particles, each about its mean over the particles: which conformation a half calls its consensus is its own choice.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import read_particles
from jobtypes.common.whole_files import written_whole
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.observations import Band, Observations, image_mask
from jobtypes.dynamight.model.poses import RefinedPoses
from jobtypes.dynamight.model.projection import Projector
from jobtypes.dynamight.model.result import ForwardResult
from jobtypes.dynamight.outputs import training_resolution
from jobtypes.dynamight.visualization.figures import draw_disagreement
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.running_job import RunningJob

_BATCH = 32


@dataclass(frozen=True)
class Disagreement:
    """Of both models on the held-out particles of one half.

    Attributes
    ----------
    particle_error, particle_motion : (P,)
        Rms over the Gaussians of the difference and of the mean of both models' displacements, A.
    gaussian_error, gaussian_motion : (n,)
        The same over the particles, A.
    """

    particle_error: Tensor
    particle_motion: Tensor
    gaussian_error: Tensor
    gaussian_motion: Tensor

    @property
    def rms_error(self) -> float:
        """Rms of the disagreement over everything, A."""
        return float(self.particle_error.square().mean().sqrt())

    @property
    def rms_motion(self) -> float:
        """Rms of the motion over everything, A."""
        return float(self.particle_motion.square().mean().sqrt())

    @property
    def correlation(self) -> float:
        """Of the two models' displacements: with a the sum and b the difference, (|a|^2 - |b|^2) / (|a|^2 + |b|^2)."""
        total, difference = 4 * self.rms_motion**2, self.rms_error**2
        return (total - difference) / (total + difference) if total + difference > 0 else 0.0


def disagreement(first: Tensor, second: Tensor) -> Disagreement:
    """Compare two models' displacements (P, n, 3) A of the same points in the same particles."""
    first, second = first - first.mean(0), second - second.mean(0)
    error = (first - second).square().sum(2)  # (P, n)
    motion = (0.5 * (first + second)).square().sum(2)
    return Disagreement(error.mean(1).sqrt(), motion.mean(1).sqrt(), error.mean(0).sqrt(), motion.mean(0).sqrt())


def compare_halves(forward: ForwardResult, job: RunningJob, folder: Path) -> None:
    """Encode the held-out particles of each half with the other half's model too, and draw where the two disagree."""
    results = {half: _compare(forward, half, job) for half in forward.halves}
    for half, found in results.items():
        job.report(
            f"Held-out particles of half {half}: the two models disagree by {found.rms_error:.2f} A rms where the motion is "
            f"{found.rms_motion:.2f} A rms (correlation {found.correlation:.3f})."
        )
    draw_disagreement(
        {half: found.particle_error.numpy() for half, found in results.items()},
        {half: found.particle_motion.numpy() for half, found in results.items()},
        {half: found.gaussian_error.numpy() for half, found in results.items()},
        {half: found.gaussian_motion.numpy() for half, found in results.items()},
        folder / "figures" / "06_disagreement.png",
    )
    numbers = {
        f"half{half}": {"rms_error_angstroms": r.rms_error, "rms_motion_angstroms": r.rms_motion, "correlation": r.correlation}
        for half, r in results.items()
    }
    with written_whole(folder / "disagreement.json") as temporary:
        temporary.write_text(json.dumps(numbers, indent=1))


def _compare(forward: ForwardResult, half: int, job: RunningJob) -> Disagreement:
    part, other = forward.halves[half], forward.halves[3 - half]
    if int(part.held_out.sum()) < 2:
        raise UserError(
            f"Half {half} has {int(part.held_out.sum())} held-out particle(s), and half-set 0 compares the halves on these; "
            "expected at least 2. Show half set 1 or 2 instead."
        )
    latents = encode_with(other.model, forward, part.rows[part.held_out], job, f"encoding held-out particles of half {half}")
    held_out = torch.from_numpy(part.held_out).to(part.latent_mean.device)
    points = part.model.gaussians.positions
    own = part.model.displacement(part.latent_mean[held_out])
    theirs = other.model.displacement(latents, points)
    return disagreement(own.cpu(), theirs.cpu())


@torch.no_grad()
def encode_with(model: HalfModel, forward: ForwardResult, rows: object, job: RunningJob, stage: str) -> Tensor:
    """Posterior means (m, d) that a half's model gives to particles of its own or the other half, in their input poses.

    Parameters
    ----------
    model
        The half's model.
    forward
        Box, pixel size, mask and resolution of the training.
    rows : (m,)
        Rows of the particle STAR file.
    job, stage
        For progress and abort.
    """
    device = model.gaussians.positions.device
    table = read_particles(job.project / forward.star_file, seed=0)
    mask, _ = image_mask(
        forward.box, forward.pixel_size_angstroms, forward.particle_diameter_angstroms, forward.soft_edge_angstroms
    )
    band = Band(forward.box, forward.pixel_size_angstroms, training_resolution(job.directory, forward))
    observations = Observations(table, rows, band, mask, device=device)  # type: ignore[arg-type]
    done = 0

    def after_batch(count: int) -> None:
        nonlocal done
        done += count
        job.progress(stage, done, len(observations), "images")
        job.check_abort()

    observations.read(ParticleImages(table, job.project), after_batch)
    twin = copy.deepcopy(model)
    twin.poses = RefinedPoses(len(observations), 1.0, 1.0).to(device)  # its corrections are 0: the input poses
    projector = Projector(band.to(device))
    return torch.cat(
        [
            twin.encode(observations.batch(index), projector, len(band)).mean
            for index in torch.arange(len(observations)).split(_BATCH)
        ]
    )
