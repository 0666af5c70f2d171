"""A project with a particle set that takes seconds to make: a cloud of blobs, projected quickly, with CTF and noise.

Good for timing only. The job type `simulate` makes sets with a motion to be found, and takes its time.
"""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import torch
from published_decoder import splat
from torch import Tensor

from jobtypes.common.fourier import frequencies_2d, frequencies_3d, irfft2, irfft3, rfft2, rfft3, shift_phases
from jobtypes.common.volumes import write_volume
from jobtypes.dynamight.job import JOB_TYPE
from jobtypes.dynamight.options import ForwardOptions
from jobtypes.simulate.dataset import Particles, draw_particles, draw_series
from jobtypes.simulate.files import write_particles_star, write_stack
from jobtypes.simulate.optics import ctf
from jobtypes.simulate.options import SimulationOptions
from jobtypes.simulate.tilts import premultiplied, write_project
from relion_jobs.contract.options import defaults, parse_values

BOX_LENGTH_ANGSTROMS = 192.0
N_BLOBS, BLOB_SIGMA_ANGSTROMS, CLOUD_SIGMA_ANGSTROMS = 400, 3.0, 16.0
NOISE = 3.0  # over the signal, rms, of a particle whose signal is all in one image
_AT_ONCE = 256  # images
STAR, MAP, STACK = "particles.star", "map.mrc", "particles.mrcs"


def make_particles(project: Path, *, particles: int, box: int) -> float:
    """Write the STAR file, its stack and the map of a set; both halves have as many particles. Returns the pixel size in A."""
    pixel_size_angstroms = BOX_LENGTH_ANGSTROMS / box
    drawn = draw_particles(SimulationOptions(nr_particles=particles, box_size=box, angpix=pixel_size_angstroms))
    generator = torch.Generator().manual_seed(0)
    blobs = torch.randn(N_BLOBS, 3, generator=generator) * CLOUD_SIGMA_ANGSTROMS
    write_images(project / STACK, blobs, drawn, box, pixel_size_angstroms, generator)
    names = [f"{place:06d}@{STACK}" for place in range(1, particles + 1)]
    write_particles_star(
        project / STAR,
        names,
        poses=drawn.observed,
        optics=drawn.optics,
        half=drawn.half,
        box=box,
        pixel_size_angstroms=pixel_size_angstroms,
    )
    write_volume(project / MAP, map_of(blobs, box, pixel_size_angstroms), pixel_size_angstroms)
    return pixel_size_angstroms


def make_tilt_series(project: Path, *, particles: int, box: int, tilts: int) -> None:
    """Write a set of tilt series: its STAR files, a stack of each particle that is multiplied by its CTF, and the map.

    However many tilts there are, they share one dose, so that each has less signal where there are more.
    """
    pixel_size_angstroms = BOX_LENGTH_ANGSTROMS / box
    options = SimulationOptions(
        nr_particles=particles, box_size=box, angpix=pixel_size_angstroms, geometry="tilt_series", nr_tilts=tilts
    )
    drawn, series = draw_particles(options), draw_series(options)
    assert series is not None
    images, generator = drawn.in_tilts(series), torch.Generator().manual_seed(0)
    blobs = torch.randn(N_BLOBS, 3, generator=generator) * CLOUD_SIGMA_ANGSTROMS
    noise = NOISE * tilts**0.5
    write_images(project / STACK, blobs, images, box, pixel_size_angstroms, generator, noise=noise)
    stacks = [f"Particles/{particle}_stack2d.mrcs" for particle in range(1, particles + 1)]
    with mrcfile.mmap(project / STACK) as file:
        for particle, stack in enumerate(stacks):
            rows = series.images_of(particle)
            seen = premultiplied(torch.from_numpy(file.data[rows].copy()), images.optics, rows, pixel_size_angstroms)
            write_stack(project / stack, seen.numpy(), pixel_size_angstroms, float16=False)
    write_project(
        project,
        ".",
        series,
        stacks,
        poses=drawn.observed,
        optics=drawn.optics,
        half=drawn.half,
        options=options,
        particles_star=STAR,
    )
    write_volume(project / MAP, map_of(blobs, box, pixel_size_angstroms), pixel_size_angstroms)


def write_images(
    path: Path,
    blobs: Tensor,
    drawn: Particles,
    box: int,
    pixel_size_angstroms: float,
    generator: torch.Generator,
    *,
    noise: float = NOISE,
) -> None:
    """Write the stack of blobs (m, 3) A with noise of so many times the signal, rms.

    A few images at a time, so that it may be larger than the memory.
    """
    parts = torch.arange(len(drawn.half)).split(_AT_ONCE)
    total = squares = 0.0
    with mrcfile.new_mmap(path, (len(drawn.half), box, box), mrc_mode=2, overwrite=True) as file:
        file.set_image_stack()
        file.voxel_size = pixel_size_angstroms
        for part in parts:
            images = project_blobs(blobs, drawn, part, box, pixel_size_angstroms)
            total, squares = total + float(images.double().sum()), squares + float(images.double().square().sum())
            file.data[part] = images
        n = file.data.size
        deviation = noise * ((squares - total**2 / n) / (n - 1)) ** 0.5
        for part in parts:
            file.data[part] += deviation * torch.randn(len(part), box, box, generator=generator).numpy()


def project_blobs(blobs: Tensor, drawn: Particles, rows: Tensor, box: int, pixel_size_angstroms: float) -> Tensor:
    """Images (b, N, N) of blobs (m, 3) A, with CTF, without noise."""
    matrices = torch.from_numpy(drawn.true.matrices[rows.numpy()]).float()
    xy = blobs @ matrices[:, :2].transpose(1, 2) / pixel_size_angstroms + box // 2
    frequencies = frequencies_2d(box, pixel_size_angstroms)
    spectra = rfft2(splat(xy, torch.ones(len(blobs)), box)) * _blur(frequencies)
    spectra = spectra * ctf(drawn.optics, slice(int(rows[0]), int(rows[-1]) + 1), box, pixel_size_angstroms)
    origins = torch.from_numpy(drawn.true.origins_angstroms[rows.numpy()]).float()
    return irfft2(spectra * shift_phases(-origins, frequencies), box)


def map_of(blobs: Tensor, box: int, pixel_size_angstroms: float) -> Tensor:
    """Density (N, N, N) of blobs (m, 3) A."""
    voxel = (blobs / pixel_size_angstroms).round().long() + box // 2
    volume = torch.zeros(box, box, box)
    volume.index_put_((voxel[:, 2], voxel[:, 1], voxel[:, 0]), torch.ones(len(blobs)), accumulate=True)
    return irfft3(rfft3(volume) * _blur(frequencies_3d(box, pixel_size_angstroms)), box)


def forward_options(*, gaussians: int, batch: int, threads: int) -> ForwardOptions:
    """Options of a training on the set, everything else as in a new job."""
    texts = defaults(JOB_TYPE.options) | {
        "fn_star": STAR,
        "fn_map": MAP,
        "nr_gaussians": str(gaussians),
        "nr_threads": str(threads),
        "other_args": f"--training-batch-size {batch}",
    }
    return ForwardOptions.from_values(parse_values(JOB_TYPE.options, texts, task="forward_deformations"))


def _blur(frequencies: Tensor) -> Tensor:
    return torch.exp(-2 * np.pi**2 * BLOB_SIGMA_ANGSTROMS**2 * frequencies.square().sum(-1))
