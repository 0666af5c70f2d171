"""The story of one simulation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from jobtypes.common import fourier
from jobtypes.common.masks import raised_cosine
from jobtypes.common.volumes import write_volume
from jobtypes.common.whole_files import written_whole
from jobtypes.simulate import dataset
from jobtypes.simulate.files import write_particles_star, write_stack
from jobtypes.simulate.job import CONSENSUS_MAP, HALF_MAPS, MASK_MAP, PARTICLES_STAR, PICTURE
from jobtypes.simulate.motion import MovingModel
from jobtypes.simulate.options import Nuisances, SimulationOptions, read_values
from jobtypes.simulate.pictures import draw
from jobtypes.simulate.reconstruct import SliceInsertion, merged_signal_to_noise
from jobtypes.simulate.tilts import TiltSeries, premultiplied, write_project
from jobtypes.simulate.truth import FOLDER, Truth, write_truth
from relion_jobs.contract.options import Value
from relion_jobs.contract.running_job import RunningJob

PARTICLES_PER_STACK, EXAMPLES = 1000, 8
RECORD = "simulation.json"
MASK_LOW_PASS_ANGSTROMS = 15.0
MASK_LEVEL = 0.06
MASK_EXTENSION_ANGSTROMS = 9.0
MASK_EDGE_PIXELS = 5.0


def check(values: Mapping[str, Value], job_directory: Path) -> list[str]:
    """Give the plan in sentences; UserError where the options contradict each other or the molecule leaves the box."""
    options = read_values(values)
    model = dataset.draw_model(options)
    images = options.nr_particles * (options.nr_tilts if options.in_tilts else 1)
    size = images * options.box_size**2 * (2 if options.float16 else 4) / 1e6
    of_tilts = (
        f"{options.nr_particles} particles in tilt series of {options.nr_tilts} frames to {options.largest_tilt:g} degrees, "
        f"{options.total_dose:g} e/A^2; about "
    )
    return [
        describe(options, model),
        f"{of_tilts if options.in_tilts else ''}{images} images of {options.box_size} pixels ({options.angpix:g} A per pixel), "
        f"{size:.0f} MB, "
        f"go to {job_directory}.",
    ]


def run(values: Mapping[str, Value], job: RunningJob) -> None:
    """Simulate: molecule, particles, stacks, rigid maps, truth, pictures; particles.star comes last."""
    options = read_values(values)
    torch.set_num_threads(options.nr_threads)
    model = dataset.draw_model(options)
    job.report(describe(options, model))
    particles, series = dataset.draw_particles(options), dataset.draw_series(options)
    maker = dataset.ImageMaker(options, model, particles if series is None else particles.in_tilts(series))
    maker.calibrate()
    directory = job.project / job.directory
    names, sums, examples = draw_stacks(maker, job, directory, series)
    job.report("Reconstructing rigid half maps at the observed poses.")
    maps = rigid_maps(sums)
    for name, volume in {CONSENSUS_MAP: maps["consensus"], HALF_MAPS[1]: maps["half1"], HALF_MAPS[2]: maps["half2"]}.items():
        write_volume(directory / name, volume, options.angpix)
    write_volume(directory / MASK_MAP, solvent_mask(maps["consensus"], options.angpix), options.angpix)
    job.check_abort()
    save_truth(directory / FOLDER, maker, particles, {half: sums[half].volume(1) for half in (1, 2)})
    record(directory / RECORD, options, maker)
    draw(directory / PICTURE, maker, consensus=maps["consensus"], halves=(maps["half1"], maps["half2"]), examples=examples)
    write_star_files(directory, job, names, particles, series, options)
    job.report(
        f"Done: {job.directory / PARTICLES_STAR}; the known motion is in {job.directory / FOLDER}, "
        f"a picture in {job.directory / PICTURE}."
    )


def write_star_files(
    directory: Path,
    job: RunningJob,
    names: list[str],
    particles: dataset.Particles,
    series: TiltSeries | None,
    options: SimulationOptions,
) -> None:
    """Write the particle STAR file, and all that describes tilt series, if there are any, before it."""
    poses, optics, half = particles.observed, particles.observed_optics, particles.half
    if series is not None:
        write_project(
            directory,
            job.directory.as_posix(),
            series,
            names,
            poses=poses,
            optics=optics,
            half=half,
            options=options,
            particles_star=PARTICLES_STAR,
        )
        return
    write_particles_star(
        directory / PARTICLES_STAR,
        names,
        poses=poses,
        optics=optics,
        half=half,
        box=options.box_size,
        pixel_size_angstroms=options.angpix,
    )


def save_truth(directory: Path, maker: dataset.ImageMaker, particles: dataset.Particles, oracle: dict[int, Tensor]) -> None:
    """Write the folder truth/; `oracle` holds the half maps (N, N, N) without motion."""
    plan = particles.plan
    truth = Truth(
        maker.model,
        maker.renderer,
        coordinates=particles.coordinates,
        half=particles.half,
        poses=particles.true.as_columns(),
        consensus_coordinates=particles.consensus_coordinates,
        kind=plan.kind,
        has_arm=plan.has_arm,
    )
    write_truth(directory, truth, oracle, amplitude=plan.amplitude, defocus=maker.particles.optics.defocus_columns())


def draw_stacks(
    maker: dataset.ImageMaker, job: RunningJob, directory: Path, series: TiltSeries | None
) -> tuple[list[str], dict[int, SliceInsertion], NDArray[np.float32]]:
    """Draw and write all images: where each particle is, both halves' sums (kind 0 the data, kind 1 without motion), 8 images.

    A stack holds many particles of one image, or all images of one particle.
    """
    options, optics = maker.options, maker.particles.observed_optics
    generator = dataset.noise_generator(options.seed)
    sums = {half: SliceInsertion(options.box_size, kinds=2) for half in (1, 2)}
    names: list[str] = []
    examples: list[NDArray[np.float32]] = []
    n_images = options.nr_particles if series is None else int(series.visible.sum())
    for name, stack in _stacks(options, series):
        images = []
        for rows in dataset.chunks(stack.start, stack.stop, maker.chunk):
            job.check_abort()
            drawn = maker.images(rows, generator)
            dataset.insert(sums, maker, rows, drawn)
            examples += list(drawn[0].numpy()) if len(examples) < EXAMPLES else []
            images.append((drawn[0] if series is None else premultiplied(drawn[0], optics, rows, options.angpix)).numpy())
            job.progress("drawing images", rows.stop, n_images, "images")
        write_stack(directory / name, np.concatenate(images), options.angpix, float16=options.float16)
        path = (job.directory / name).as_posix()
        names += [path] if series is not None else [f"{place:06d}@{path}" for place in range(1, stack.stop - stack.start + 1)]
    return names, sums, np.stack(examples[:EXAMPLES])


def _stacks(options: SimulationOptions, series: TiltSeries | None) -> Iterator[tuple[str, slice]]:
    """File, in the job's directory, and rows of each stack of images."""
    if series is None:
        for number, rows in enumerate(dataset.chunks(0, options.nr_particles, PARTICLES_PER_STACK), 1):
            yield f"Particles/particles_{number:03d}.mrcs", rows
        return
    for particle in range(options.nr_particles):
        yield f"Particles/tomo{series.tomogram[particle] + 1}/{particle + 1}_stack2d.mrcs", series.images_of(particle)


def rigid_maps(sums: dict[int, SliceInsertion]) -> dict[str, Tensor]:
    """Unregularised half maps and the Wiener-filtered map of all particles, (N, N, N) each."""
    halves = {half: sums[half].volume(0) for half in (1, 2)}
    both = SliceInsertion(sums[1].box, kinds=sums[1].kinds)
    both.sums = sums[1].sums + sums[2].sums
    consensus = both.volume(0, signal_to_noise=merged_signal_to_noise(halves[1], halves[2]))
    return {"half1": halves[1], "half2": halves[2], "consensus": consensus}


def solvent_mask(volume: Tensor, pixel_size_angstroms: float) -> Tensor:
    """Make a mask as MaskCreate does: the largest piece of the low-passed map above a level, extended, with a soft edge."""
    box = volume.shape[0]
    frequency = fourier.frequencies_3d(box, pixel_size_angstroms).norm(dim=-1)
    spectrum = fourier.rfft3(volume) * torch.exp(-((frequency * MASK_LOW_PASS_ANGSTROMS) ** 2))
    smooth = fourier.irfft3(spectrum, box).numpy()
    pieces, _ = ndimage.label(smooth > MASK_LEVEL * smooth.max())
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    outside = pieces != int(sizes.argmax())
    distance = torch.from_numpy(ndimage.distance_transform_edt(outside))
    return raised_cosine(distance, MASK_EXTENSION_ANGSTROMS / pixel_size_angstroms, MASK_EDGE_PIXELS).float()


def record(path: Path, options: SimulationOptions, maker: dataset.ImageMaker) -> None:
    """Write down what was simulated."""
    numbers = asdict(options) | {
        "atoms": len(maker.model.elements),
        "moving_atoms": len(maker.moving),
        "density_amplitude": maker.renderer.amplitude,
    }
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(numbers, indent=1) + "\n")


def describe(options: SimulationOptions, model: MovingModel) -> str:
    """Say in one sentence or two what is simulated."""
    arms = "1 arm" if options.nr_arms == 1 else f"{options.nr_arms} arms"
    dense = "" if options.dense_part == "none" else f" and a dense {options.dense_part}"
    molecule = (
        f"A core of {options.core_mass:g} kDa with {arms}{dense} ({len(model.elements)} pseudo-atoms), "
        f"{describe_motion(options, model)}; signal-to-noise ratio {options.snr:g}, {options.noise} noise."
    )
    return " ".join([molecule, *describe_nuisances(options.nuisances)])


def describe_motion(options: SimulationOptions, model: MovingModel) -> str:
    """Say what moves and how far."""
    moving = model.driver >= 0
    if not moving.any():
        return "no motion"
    motions = "one motion" if model.motions == 1 else f"{model.motions} independent motions"
    states = {"even": "", "two_states": ", in two states", "uneven": ", unevenly spread", "beta": ", in one broad hump"}[
        options.states
    ]
    if options.motion_kind == "turn":
        far = f"a turn through {options.turn_angle:g} degrees"
    else:
        ends = float(np.linalg.norm(model.path[-1] - model.path[0], axis=1)[moving].mean())
        far = f"{ends:.1f} A between the ends on average"
    return f"{motions} of {moving.mean():.0%} of the atoms, {far}{states}"


def describe_nuisances(nuisances: Nuisances) -> list[str]:
    """Say what is wrong with the particles: one sentence, or none."""
    shares = [
        *zip(
            nuisances.fault_shares,
            ("empty", "of another molecule", "at a wrong pose", "with a neighbour", "with a speck"),
            strict=True,
        ),
        (nuisances.missing_arm_share, "without the first arm"),
        (nuisances.side_view_share, "preferred side views"),
    ]
    words = [f"{share:.0%} {name}" for share, name in shares if share]
    if nuisances.amplitude_spread:
        words.append(f"amplitudes spread by {nuisances.amplitude_spread:.0%}")
    if nuisances.defocus_error:
        words.append(f"defocus wrong by {nuisances.defocus_error:g} A")
    return ["Particles: " + ", ".join(words) + "."] if words else []
