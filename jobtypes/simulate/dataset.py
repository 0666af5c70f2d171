"""Particles: drawn at random, rendered chunk by chunk, noise added, reconstructed on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common import fourier
from jobtypes.simulate.dense_parts import add_dense_part
from jobtypes.simulate.geometry import Poses, random_poses, with_depth, with_errors
from jobtypes.simulate.molecule import make_molecule
from jobtypes.simulate.motion import MovingModel, make_motion
from jobtypes.simulate.noise import noise_filter, noise_images
from jobtypes.simulate.nuisances import OTHER, Plan, draw_plan
from jobtypes.simulate.optics import Optics, ctf, random_optics
from jobtypes.simulate.options import SimulationOptions
from jobtypes.simulate.reconstruct import SliceInsertion, unshift
from jobtypes.simulate.render import AtomRenderer
from jobtypes.simulate.states import places
from jobtypes.simulate.strangers import OTHER_MASS_SHARE, Strangers
from jobtypes.simulate.tilts import TiltSeries, draw_tilt_series
from relion_jobs.contract.errors import UserError

Array = NDArray[np.float64]

CALIBRATION_PARTICLES = 200
CHUNK_ELEMENTS = 2**22
MARGIN_ANGSTROMS = 5.0


@dataclass(frozen=True)
class Particles:
    """p particles before they are drawn.

    Parameters
    ----------
    coordinates
        (p, motions) in 0..1.
    half
        (p,) 1 or 2.
    true, observed
        Poses: those that the images are made with, and those in the STAR file.
    optics, observed_optics
        Microscope and defocus: those that the images are made with, and those in the STAR file.
    plan
        What each particle is.
    """

    coordinates: Array
    half: NDArray[np.int64]
    true: Poses
    observed: Poses
    optics: Optics
    observed_optics: Optics
    plan: Plan

    def in_tilts(self, series: TiltSeries) -> Particles:
        """Every image of a tilt series as a particle."""
        return Particles(
            self.coordinates[series.particle],
            self.half[series.particle],
            series.poses(self.true),
            series.poses(self.observed),
            series.optics(self.optics, self.true),
            series.optics(self.observed_optics, self.observed),
            series.plan(self.plan),
        )

    @property
    def consensus_coordinates(self) -> Array:
        """(motions,) halfway."""
        return np.full(self.coordinates.shape[1], 0.5)


def draw_model(options: SimulationOptions) -> MovingModel:
    """Build the molecule and its motion.

    Raises
    ------
    UserError
        It leaves the box, or its arms are too short for the amplitude.
    """
    rng = _stream(options.seed, 0)
    molecule = make_molecule(rng, core_kilodaltons=options.core_mass, arms=options.nr_arms, arm_share=options.arm_share)
    model = make_motion(
        molecule,
        motions=options.nr_motions,
        kind=options.motion_kind,
        amplitude_angstroms=options.amplitude,
        turn_degrees=options.turn_angle,
    )
    model = add_dense_part(model, options.dense_part, _stream(options.seed, 6))
    reach = float(np.linalg.norm(model.path, axis=-1).max()) + MARGIN_ANGSTROMS + options.shift_range * options.angpix
    if reach > options.box_size / 2 * options.angpix:
        enough = 2 * int(np.ceil(reach / options.angpix))
        raise UserError(
            f"box_size {options.box_size} at {options.angpix:g} A per pixel is too small: "
            f"with its motion and shifts the molecule reaches {reach:.0f} A from the centre; "
            f"give box_size at least {enough}, or a larger angpix."
        )
    return model


def draw_particles(options: SimulationOptions) -> Particles:
    """Conformations, half sets, poses, optics and what is wrong, at random."""
    count, rng = options.nr_particles, _stream(options.seed, 1)
    plan = draw_plan(options.nuisances, count, _stream(options.seed, 4))
    half = rng.permutation(np.arange(count) % 2 + 1)
    true = plan.true_poses(random_poses(count, rng, shift_range_angstroms=options.shift_range * options.angpix))
    if options.in_tilts:
        true = with_depth(true, _stream(options.seed, 7), shift_range_angstroms=options.shift_range * options.angpix)
    observed = with_errors(
        true, rng, angle_degrees=options.pose_error_angle, shift_angstroms=options.pose_error_shift * options.angpix
    )
    optics = random_optics(
        count, rng, defocus_angstroms=(options.defocus_min, options.defocus_max), voltage_kilovolts=options.voltage
    )
    coordinates = places(rng.uniform(0, 1, (count, options.nr_motions)), options.states)
    observed_poses, observed_optics = plan.observed_poses(observed), plan.observed_optics(optics)
    return Particles(coordinates, half, true, observed_poses, optics, observed_optics, plan)


def draw_series(options: SimulationOptions) -> TiltSeries | None:
    """Tilt series that the particles lie in; None: each has a single image."""
    return draw_tilt_series(options, _stream(options.seed, 8)) if options.in_tilts else None


class ImageMaker:
    """Draws the particles of a set.

    Parameters
    ----------
    options
        Of the simulation.
    model
        Atoms and paths.
    particles
        What to draw.
    """

    def __init__(self, options: SimulationOptions, model: MovingModel, particles: Particles) -> None:
        self.options, self.model, self.particles = options, model, particles
        self.renderer = AtomRenderer(options.box_size, options.angpix, model.elements)
        self.frequencies = fourier.frequencies_2d(options.box_size, options.angpix)
        self.colour = noise_filter(options.noise, options.box_size, options.angpix)
        self.moving = np.flatnonzero(model.driver >= 0)
        self.static = np.flatnonzero(model.driver < 0)
        self.first_arm = np.flatnonzero(model.part == 1)
        self.halfway = torch.from_numpy(model.positions(particles.consensus_coordinates[None])[0])
        self.strangers = Strangers(
            particles.plan,
            particles.true,
            particles.optics,
            ours=self.renderer,
            ours_positions=self.halfway,
            other=make_molecule(
                _stream(options.seed, 5), core_kilodaltons=OTHER_MASS_SHARE * options.core_mass, arms=0, arm_share=0.0
            ),
        )

    @property
    def chunk(self) -> int:
        """Particles drawn at once: as many as keep the tables of waves within 100 MB."""
        return max(1, CHUNK_ELEMENTS // (self.options.box_size * len(self.model.elements)))

    def calibrate(self) -> float:
        """Set the amplitude so that noise of variance 1 gives the wished signal-to-noise ratio; returns the amplitude.

        The ratio is that of whole molecules of mean amplitude, whatever is wrong with the particles; the other molecule follows.
        """
        plan, options = self.particles.plan, self.options
        order = _stream(options.seed, 2).permutation(len(self.particles.half))
        dose, snr = self.particles.optics.dose, options.snr
        if dose is not None:
            order, snr = order[dose[order] == 0], snr / options.nr_tilts
        rows = order[plan.is_clean[order]][:CALIBRATION_PARTICLES]
        if len(rows) == 0:
            raise UserError(
                f"None of the {options.nr_particles} particles is good and whole; give more, or smaller shares of faults."
            )
        power = [self._power(self.signals(slice(int(row), int(row) + 1))[0]) / float(plan.amplitude[row]) ** 2 for row in rows]
        self.renderer.amplitude *= float(np.sqrt(snr / (sum(power) / len(rows))))
        others = np.flatnonzero(plan.kind == OTHER)[:CALIBRATION_PARTICLES]
        if len(others):
            found = float(self.strangers.others(others).var(dim=(1, 2), correction=0).mean())
            self.strangers.other.amplitude *= options.nuisances.other_strength * float(np.sqrt(snr / found))
        return self.renderer.amplitude

    def _power(self, spectra: Tensor) -> float:
        """Variance of the image of a spectrum (1, N, N//2+1); the mean grey value is no signal."""
        weights = fourier.half_plane_weights(self.options.box_size, 2)
        weights[0, 0] = 0
        return float((spectra.abs() ** 2 * weights).sum()) / self.options.box_size**4

    def signals(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Spectra (b, N, N//2+1) of CTF-applied, shifted images of our molecule in particles `rows`.

        As it is, and as if it were whole and nothing moved; both have the particle's amplitude.
        """
        matrices = torch.from_numpy(self.particles.true.matrices[rows]).float()
        coordinates = self.particles.coordinates[rows]
        static = self._spectra(self.halfway[self.static].expand(len(matrices), -1, -1), matrices, self.static)
        still = moving = static
        if len(self.moving):
            bent = torch.from_numpy(self.model.positions(coordinates, self.moving))
            moving = static + self._spectra(bent, matrices, self.moving)
            straight = self.halfway[self.moving].expand(len(matrices), -1, -1)
            still = static + self._spectra(straight, matrices, self.moving)
        lacking = np.flatnonzero(~self.particles.plan.has_arm[rows])
        if len(lacking):
            arm = torch.from_numpy(self.model.positions(coordinates[lacking], self.first_arm))
            moving = moving.index_add(0, torch.from_numpy(lacking), -self._spectra(arm, matrices[lacking], self.first_arm))
        transfer = ctf(self.particles.optics, rows, self.options.box_size, self.options.angpix)
        transfer = transfer * torch.from_numpy(self.particles.plan.amplitude[rows]).float()[:, None, None]
        # RELION's origin is the shift that centres the particle: the image is moved by its negative
        origins = torch.from_numpy(self.particles.true.origins_angstroms[rows]).float()
        moved = unshift(torch.complex(transfer, torch.zeros_like(transfer)), -origins, self.frequencies)
        return moving * moved, still * moved

    def _spectra(self, positions: Tensor, matrices: Tensor, atoms: NDArray[np.int64]) -> Tensor:
        return self.renderer.spectra(positions @ matrices[:, :2].transpose(1, 2), atoms)

    def images(self, rows: slice, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noisy images (b, N, N) of particles `rows`: as they are, and with the same noise as if whole and nothing moved."""
        moving, still = (fourier.irfft2(spectra, self.options.box_size) for spectra in self.signals(rows))
        beside = noise_images(len(moving), self.colour, generator) + self.strangers.images(rows)
        return moving + beside, still + beside


def noise_generator(seed: int) -> torch.Generator:
    """Start the stream of random numbers that noise is drawn from."""
    return torch.Generator().manual_seed(int(_stream(seed, 3).integers(2**62)))


def insert(sums: dict[int, SliceInsertion], maker: ImageMaker, rows: slice, images: tuple[Tensor, Tensor]) -> None:
    """Add images (b, N, N) of particles `rows` to the reconstruction of their half, at the observed poses and defocus."""
    particles, options = maker.particles, maker.options
    transfer = ctf(particles.observed_optics, rows, options.box_size, options.angpix)
    matrices = torch.from_numpy(particles.observed.matrices[rows]).float()
    origins = torch.from_numpy(particles.observed.origins_angstroms[rows]).float()
    spectra = [unshift(fourier.rfft2(kind), origins, maker.frequencies) for kind in images]
    for half, insertion in sums.items():
        mine = torch.from_numpy(np.flatnonzero(particles.half[rows] == half))
        if len(mine):
            insertion.insert([spectrum[mine] for spectrum in spectra], transfer[mine], matrices[mine])


def chunks(start: int, stop: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows from `start` to `stop`."""
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def _stream(seed: int, number: int) -> np.random.Generator:
    """One of several independent streams, so that a change in one does not change the others."""
    return np.random.default_rng([seed, number])
