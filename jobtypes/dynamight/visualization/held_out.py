"""Half-set 0: the particles that trained nothing, as the models of both halves see them.

What is compared are displacements at the same points (the Gaussians of the half that a particle is held out of) in the same
particles, each about its mean over the particles: which conformation a half calls its consensus is its own choice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import ParticleTable, read_particles
from jobtypes.common.whole_files import written_whole
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.observations import Band, Observations, image_mask
from jobtypes.dynamight.model.poses import RefinedPoses
from jobtypes.dynamight.model.projection import Projector
from jobtypes.dynamight.model.result import ForwardResult
from jobtypes.dynamight.outputs import training_resolution
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.running_job import RunningJob

HELD_OUT = Path("visualization/held_out.npz")
_BATCH = 32
_AT_ONCE = 4096  # particles whose spectra are in memory


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


@dataclass(frozen=True)
class TwoMotions:
    """Displacements that two models give to the same particles at the same points, each about its mean over the particles.

    Attributes
    ----------
    coefficients, other_coefficients : (P, K), (P, L)
        Of the two models' fields, their means over the particles taken off.
    basis, other_basis : (K, n, 3), (L, n, 3) A
        The fields at the points.
    """

    coefficients: Tensor
    basis: Tensor
    other_coefficients: Tensor
    other_basis: Tensor

    def disagreement(self) -> Disagreement:
        """Difference and mean of the two, without ever making (P, n, 3) displacements."""
        basis = torch.cat((self.basis, self.other_basis)).double()
        difference = torch.cat((self.coefficients, -self.other_coefficients), dim=1).double()
        mean = 0.5 * torch.cat((self.coefficients, self.other_coefficients), dim=1).double()
        gram = torch.einsum("knc,lnc->kl", basis, basis) / basis.shape[1]

        def of_particles(coefficients: Tensor) -> Tensor:
            return ((coefficients @ gram) * coefficients).sum(1).clamp(min=0).sqrt()

        def of_gaussians(coefficients: Tensor) -> Tensor:
            covariance = coefficients.T @ coefficients / len(coefficients)
            return torch.einsum("kl,knc,lnc->n", covariance, basis, basis).clamp(min=0).sqrt()

        return Disagreement(of_particles(difference), of_particles(mean), of_gaussians(difference), of_gaussians(mean))

    def difference(self, particle: int) -> Tensor:
        """(n, 3) A between the displacements that the two give to one particle."""
        own = torch.einsum("k,knc->nc", self.coefficients[particle], self.basis)
        return own - torch.einsum("k,knc->nc", self.other_coefficients[particle], self.other_basis)


class HeldOutParticles:
    """The held-out particles of both halves.

    Parameters
    ----------
    forward
        Both halves' models.
    latents
        Half h -> (m, d) latents that the model of half h gives to all of them: first those held out of half 1, then of half 2.
    """

    def __init__(self, forward: ForwardResult, latents: dict[int, Tensor]) -> None:
        self.forward, self.latents = forward, {half: values.cpu() for half, values in latents.items()}
        parts = forward.halves
        self.rows = np.concatenate([part.rows[part.held_out] for part in parts.values()])
        self.half = np.concatenate([np.full(int(part.held_out.sum()), half) for half, part in parts.items()])

    def __len__(self) -> int:
        return len(self.rows)

    def own_latents(self, half: int) -> Tensor:
        """(m_h, d) latents by half h's model of the particles held out of it."""
        return self.latents[half][torch.from_numpy(self.half == half)]

    @cached_property
    def motions(self) -> dict[int, TwoMotions]:
        """Half h -> both models' motions of the particles held out of h, at the Gaussians of h."""
        return {half: self._motions(half) for half in self.forward.halves}

    def _motions(self, half: int) -> TwoMotions:
        own, other = self.forward.halves[half].model, self.forward.halves[3 - half].model
        points, mine = own.gaussians.positions, torch.from_numpy(self.half == half)

        def centred(model: HalfModel, latents: Tensor) -> Tensor:
            coefficients = model.field.coefficients(latents.to(points)).cpu()
            return coefficients - coefficients.mean(0)

        return TwoMotions(
            centred(own, self.latents[half][mine]),
            own.field.basis_at_gaussians(points).cpu(),
            centred(other, self.latents[3 - half][mine]),
            other.field.basis(points).cpu(),
        )

    @cached_property
    def disagreements(self) -> dict[int, Disagreement]:
        """Half h -> disagreement about the particles held out of h."""
        return {half: motions.disagreement() for half, motions in self.motions.items()}

    @property
    def errors(self) -> NDArray[np.float64]:
        """(m,) disagreement about each particle, rms over the Gaussians, A."""
        return torch.cat([found.particle_error for found in self.disagreements.values()]).numpy()

    @property
    def motion(self) -> NDArray[np.float64]:
        """(m,) rms displacement in A of each particle's Gaussians, by the model of the half that it is held out of."""
        parts = self.forward.halves.values()
        return np.concatenate([part.rms_displacement.cpu().double().numpy()[part.held_out] for part in parts])

    def gaussian_errors(self, index: int) -> Tensor:
        """(n,) disagreement in A about particle `index`, at each Gaussian of the half that it is held out of."""
        half = int(self.half[index])
        return self.motions[half].difference(int((self.half[:index] == half).sum())).norm(dim=1)


def held_out_particles(job_directory: Path, forward: ForwardResult, job: RunningJob) -> HeldOutParticles:
    """Open half-set 0: from its file where there is one of this training, else by encoding the images, which takes a while.

    Raises
    ------
    UserError
        A half has fewer than two held-out particles.
    """
    for half, part in forward.halves.items():
        if int(part.held_out.sum()) < 2:
            raise UserError(
                f"Half {half} has {int(part.held_out.sum())} held-out particle(s), and half-set 0 compares the halves on these; "
                "expected at least 2. Show half set 1 or 2 instead."
            )
    path = Path(job_directory) / HELD_OUT
    stored = _stored(path, forward)
    if stored is not None:
        return HeldOutParticles(forward, stored)
    latents = {half: _encode_all(forward, half, job) for half in forward.halves}
    found = HeldOutParticles(forward, latents)
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        arrays = {f"latents_half{half}": values.numpy() for half, values in found.latents.items()}
        np.savez(file, identity=forward.identity, rows=found.rows, half=found.half, errors_angstroms=found.errors, **arrays)
    return found


def read_held_out_errors(job_directory: Path, forward: ForwardResult, half: int) -> NDArray[np.float64]:
    """Disagreement in A about each particle (P,) of a half; nan for those that trained, and for all before it was measured."""
    part = forward.halves[half]
    errors = np.full(len(part.rows), np.nan)
    arrays = _arrays(Path(job_directory) / HELD_OUT, forward)
    if arrays is not None:
        errors[part.held_out] = arrays["errors_angstroms"][arrays["half"] == half]
    return errors


def _stored(path: Path, forward: ForwardResult) -> dict[int, Tensor] | None:
    arrays = _arrays(path, forward)
    return None if arrays is None else {half: torch.from_numpy(arrays[f"latents_half{half}"]) for half in forward.halves}


def _arrays(path: Path, forward: ForwardResult) -> dict[str, NDArray[np.float64]] | None:
    """What `held_out_particles` has written; None where there is nothing, or another training's."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files} if str(file["identity"]) == forward.identity else None
    except (OSError, ValueError, KeyError, BadZipFile):
        return None  # it is made anew


def _encode_all(forward: ForwardResult, half: int, job: RunningJob) -> Tensor:
    """(m, d) latents by half h's model: those it has, and for the other half's particles those it would give."""
    part, other = forward.halves[half], forward.halves[3 - half]
    own = part.latent_mean[torch.from_numpy(part.held_out).to(part.latent_mean.device)].cpu()
    stage = f"encoding held-out particles of half {3 - half}"
    theirs = encode_with(part.model, forward, other.rows[other.held_out], job, stage).cpu()
    return torch.cat((own, theirs) if half == 1 else (theirs, own))


def encode_with(model: HalfModel, forward: ForwardResult, rows: NDArray[np.int64], job: RunningJob, stage: str) -> Tensor:
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
    table = read_particles(job.project / forward.star_file, seed=0)
    encoder = _Encoder(model, forward, training_resolution(job.project / job.directory, forward), table, job.project)
    latents = []
    for start in range(0, len(rows), _AT_ONCE):

        def after_batch(count: int, done: int = start) -> None:
            job.progress(stage, done + count, len(rows), "images")
            job.check_abort()

        latents.append(encoder.latents(rows[start : start + _AT_ONCE], after_batch))
    return torch.cat(latents)


class _Encoder:
    """A half's model set up to encode images that it has not trained on."""

    def __init__(self, model: HalfModel, forward: ForwardResult, resolution: float, table: ParticleTable, project: Path) -> None:
        self.table, self.device = table, model.gaussians.positions.device
        self.images = ParticleImages(table, project)
        self.mask, _ = image_mask(
            forward.box, forward.pixel_size_angstroms, forward.particle_diameter_angstroms, forward.soft_edge_angstroms
        )
        self.band = Band(forward.box, forward.pixel_size_angstroms, resolution)
        self.twin = copy.deepcopy(model)

    @torch.no_grad()
    def latents(self, rows: NDArray[np.int64], after_batch: Callable[[int], None]) -> Tensor:
        """Posterior means (m, d)."""
        observations = Observations(self.table, rows, self.band, self.mask, device=self.device)
        done = 0

        def count(images: int) -> None:
            nonlocal done
            done += images
            after_batch(done)

        observations.read(self.images, count)
        self.twin.poses = RefinedPoses(len(observations), 1.0, 1.0).to(self.device)  # its corrections are 0: the input poses
        projector = Projector(self.band.to(self.device))
        batches = torch.arange(len(observations)).split(_BATCH)
        return torch.cat([self.twin.encode(observations.batch(index), projector, len(self.band)).mean for index in batches])
