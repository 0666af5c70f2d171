"""What a training takes of the memory, counted before it starts."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from jobtypes.common.conventions import HALVES
from jobtypes.common.memory import available_memory_bytes
from jobtypes.common.particles import ParticleTable
from jobtypes.dynamight.forward_deformations.seeding import ModelSize
from jobtypes.dynamight.forward_deformations.training import STRAIN_SAMPLE
from jobtypes.dynamight.model.compiled_loops import NUMBERS_IN_CACHE
from jobtypes.dynamight.model.control_points import NEAREST, SPACINGS_ANGSTROMS
from jobtypes.dynamight.model.observations import Band
from jobtypes.dynamight.model.parts import MOST_PARTS
from jobtypes.dynamight.model.projection import Projector
from relion_jobs.contract.errors import UserError

GIGABYTE = 1e9
# Of the training, that the last stage works out at once: the few particles that need more steps than others fill a batch then.
BATCHES_TOGETHER = 4
PROCESS_BYTES = 500_000_000  # of an interpreter with its libraries


@dataclass(frozen=True)
class MemoryUse:
    """What a training takes of the memory, in bytes, and what is free, after the particles' table was read.

    Attributes
    ----------
    spectra_bytes
        Of all particles.
    step_bytes
        A step of one half set.
    table_bytes
        Of the particles; each process has its own.
    learned_bytes
        What is kept and learned of all particles beside their spectra, and its copies while a checkpoint is written.
    free_bytes
        Free.
    """

    spectra_bytes: int
    step_bytes: int
    table_bytes: int
    learned_bytes: int
    free_bytes: int

    def holds(self, steps: int, share: float = 1.0) -> bool:
        """Whether so many steps, each in a process of its own, fit into a share of what is free.

        Each process has the table, and what is learned of all particles of its half set.
        """
        others = (steps - 1) * (PROCESS_BYTES + self.table_bytes)
        learned = max(1.0, steps / len(HALVES)) * self.learned_bytes
        return steps * self.step_bytes + learned + others <= share * self.free_bytes

    def holds_spectra(self, *, share: float) -> bool:
        """Whether the spectra fit into a share of what is free, a step of one half set and what is learned beside them."""
        return self.spectra_bytes <= share * self.free_bytes - self.step_bytes - self.learned_bytes


def count_memory(size: ModelSize, band: Band, *, batch: int, table: ParticleTable) -> MemoryUse:
    """Count what a training takes.

    Parameters
    ----------
    size, band
        Of the model of a half set, and its Fourier terms.
    batch
        Particles of a step.
    table
        The particles of both half sets.

    Raises
    ------
    UserError
        Not even a step of one half set fits.
    """
    step = step_bytes(
        gaussians=size.n_gaussians,
        batch=batch,
        n_fields=size.n_fields,
        n_latent=size.n_latent,
        n_terms=len(band.of_view),
        n_views=band.n_views,
        grid=Projector(band).grid(len(band)).size,
    )
    use = MemoryUse(
        band.spectrum_bytes * len(table),
        step,
        table.n_bytes,
        learned_bytes(len(table), size.n_latent, table.n_images),
        available_memory_bytes(),
    )
    if not torch.cuda.is_available() and not use.holds(1):
        raise UserError(
            f"A training step with {size.n_gaussians} Gaussians and {batch} particles takes about {step / GIGABYTE:.1f} GB of "
            f"memory, what is learned of all {len(table)} particles {use.learned_bytes / GIGABYTE:.1f} GB, and "
            f"{use.free_bytes / GIGABYTE:.1f} GB are free; take a smaller training_batch_size or fewer Gaussians (nr_gaussians), "
            "or a machine with more memory."
        )
    return use


def learned_bytes(particles: int, n_latent: int, images: int = 0) -> int:
    """Bytes of what is kept and learned of particles beside their spectra, with two copies while a checkpoint is written.

    `images`: where particles have several, how many there are of all, of which none is in a checkpoint.
    """
    posterior = 2 * 4 * n_latent
    pose = 4 * (9 + 2) + 4 * 5  # as it was given, and its correction
    judgement = 4 * (3 + MOST_PARTS)
    places = 8 * (3 + 2)  # row, group, image, and the order of an epoch with what trains
    ctf = 4 * 8
    of_images = images * (ctf + 4 * 9 + 8 * 3) if images > particles else 0  # how each is seen, and where it is kept
    return 3 * particles * (posterior + pose + judgement + places + ctf) + of_images


def step_bytes(*, gaussians: int, batch: int, n_fields: int, n_latent: int, n_terms: int, grid: int, n_views: int = 1) -> int:
    """Bytes that one step of a half set, or of its last stage, takes at most, its model and optimiser included, images not.

    Parameters
    ----------
    gaussians, batch, n_fields, n_latent, n_terms
        n, b, K, d, q of one image.
    n_views
        Images of a particle.
    grid
        Pixels per side of the images that are rendered.
    """
    near = len(SPACINGS_ANGSTROMS) * (NEAREST + 1)
    # indices, distances and weights of control points with their gradients; fields, values of control points, Adam
    trunk = gaussians * (24 * near + 18 * 3 * n_fields + 100)
    strain = gaussians * 3 * (4 * STRAIN_SAMPLE)  # forces; points with their gradients
    # in the last stage predictions and their derivatives: differences, all, with residuals, weighted
    in_last_stage = max(n_views, BATCHES_TOGETHER * batch)  # images, of as many particles as they make up
    terms = n_terms * 2 * max(12 * batch * n_views, 4 * (n_latent + 3) * in_last_stage)
    # images and points of the particles that are rendered together, with their gradients
    rendered = 4 * max(NUMBERS_IN_CACHE, grid**2 + 6 * gaussians)
    return 4 * (trunk + strain + terms + rendered) + 2 * 20 * gaussians * 16  # and the pairs of neighbours
