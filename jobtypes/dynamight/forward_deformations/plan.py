"""What a training will use, worked out before it starts, and the refusal of input that cannot work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from jobtypes.common.conventions import HALVES
from jobtypes.common.ctf import depth_of_quarter_wave_angstroms
from jobtypes.common.digests import digest, digest_of_particles
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import ParticleTable, held_out, read_particles
from jobtypes.common.volumes import check_map, read_mask, read_volume
from jobtypes.dynamight.forward_deformations.atomic_start import start_from_model
from jobtypes.dynamight.forward_deformations.memory_use import GIGABYTE, MemoryUse, count_memory
from jobtypes.dynamight.forward_deformations.pace import Pace
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan, numbers_of_epochs, plan_epoch
from jobtypes.dynamight.forward_deformations.seeding import ModelSize, Seed, make_seed
from jobtypes.dynamight.forward_deformations.training import TrainingSettings
from jobtypes.dynamight.model.observations import Band, image_mask
from jobtypes.dynamight.options import ForwardOptions
from relion_jobs.contract.errors import UserError

HELD_OUT_FRACTION = 0.1
FEWEST_IMAGES = 2  # of a half set: one trains, one is held out
# The band ends where a Gaussian model still helps: not beyond 5.5 A, where noise is all that there is to learn in most data,
# nor within a tenth of Nyquist.
FINEST_RESOLUTION_ANGSTROMS, PIXELS_PER_RESOLUTION = 5.5, 2.2
STIFFNESS_PER_RESIDUE = 0.6  # log-likelihood units per A^2 of mean squared change of length, at a regularization factor of 1
# Of a CPU, where several processes share a half set: measured, two threads of one process are no faster than one, but processes.
THREADS_OF_A_PROCESS = 2
# Without "Preload images in RAM" the spectra go to a scratch file where they would fill more of the free memory than this, and
# in any case where they would fill more than the second share.
SHARE_OF_MEMORY, LARGEST_SHARE_OF_MEMORY = 0.25, 0.8


@dataclass(frozen=True)
class Asked:
    """What the user asked for, to be said beside what is done.

    Attributes
    ----------
    threshold
        Of the consensus; None: to be found.
    particle_diameter_angstroms
        None: all that the box holds.
    preload
        Spectra in memory.
    n_threads
        On the CPU.
    """

    threshold: float | None
    particle_diameter_angstroms: float | None
    preload: bool
    n_threads: int


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that is known before the images are read.

    Attributes
    ----------
    star_file, path_prefix, table, images
        The particles' STAR file as it was given, where its stacks have moved, the particles in it, and the reader of their
        stacks, verified.
    band
        Fourier terms.
    mask : (N, N)
        Soft mask of the images.
    particle_diameter_angstroms, soft_edge_angstroms
        Diameter of the mask's flat part, and the width of its edge.
    held_out : (P,)
        True for particles that train nothing.
    consensus : (N, N, N)
        The map as it was given; no model is made of more than the seed.
    seed
        Low-passed consensus and threshold.
    size
        Of the model of a half set.
    settings
        How a half set is trained.
    random_seed
        Of every random choice.
    spectra_in_memory
        False: in a scratch file.
    n_processes
        That train both half sets on this machine's CPU where the job is not started as several: see `processes_of`.
    memory
        What is needed of the memory and what was free.
    asked
        What the user asked for, which box or memory may not allow.
    inputs
        What the input files hold, as one digest for each option that names one: a training goes on with the same only.
    split_is_carried_over
        Whether half sets and held-out particles are those of an earlier training, on other images.
    input_warnings
        What may be wrong with poses, CTFs or map, found by comparing them.
    """

    star_file: str
    path_prefix: str
    table: ParticleTable
    images: ParticleImages
    band: Band
    mask: torch.Tensor
    particle_diameter_angstroms: float
    soft_edge_angstroms: float
    held_out: np.ndarray
    consensus: torch.Tensor
    seed: Seed
    size: ModelSize
    settings: TrainingSettings
    random_seed: int
    spectra_in_memory: bool
    n_processes: int
    memory: MemoryUse
    asked: Asked
    inputs: dict[str, str]
    split_is_carried_over: bool = False
    input_warnings: tuple[str, ...] = ()

    def rows(self, half: int) -> np.ndarray:
        """(n_h,) rows of a half set."""
        return self.table.rows_of_half(half)

    def n_images(self, half: int) -> int:
        """Images of the particles of a half set."""
        return len(self.table.images_of(self.rows(half))[0])

    @property
    def halves_side_by_side(self) -> bool:
        """Whether both halves train at once on a CPU."""
        return self.n_processes > 1

    @property
    def n_epochs(self) -> int:
        """Epochs of a half set as planned, without those that are done again where motions are found slowly."""
        return self.settings.n_epochs

    def epoch(self, number: int) -> EpochPlan:
        """What epoch 0, 1, ... of the plan does."""
        return plan_epoch(number, self.n_epochs, self.band.resolution(len(self.band)))

    def next_epoch(self, pace: Pace) -> EpochPlan:
        """What the epoch that comes next does; one that is done again looks for nothing that it has looked for."""
        epoch = self.epoch(pace.position)
        if not pace.is_again:
            return epoch
        return replace(epoch, remakes_consensus=False, looks_for_parts=False, judges_held_out=False)

    @property
    def last_epoch(self) -> EpochPlan:
        """What the last epoch does."""
        return self.epoch(self.n_epochs - 1)

    def sentences(self) -> list[str]:
        """The plan in words."""
        table, band, seed, size = self.table, self.band, self.seed, self.size
        sizes = [len(self.rows(half)) for half in HALVES]
        drawn = f"drawn with seed {self.random_seed}, as the STAR file has no rlnRandomSubset"
        given = "given by rlnRandomSubset" if table.half_is_given else drawn
        given = "those of the earlier training" if self.split_is_carried_over else given
        found = "given" if self.asked.threshold is not None else "found automatically"
        place = "in memory" if self.spectra_in_memory else "in a scratch file"
        wanted = self.asked.particle_diameter_angstroms or 0
        cut = f", all that the box holds of the {wanted:g} A asked for" if wanted > self.particle_diameter_angstroms else ""
        return [
            f"Particles: {len(table)}{self._in_tilts()} of box {table.box} at {table.pixel_size_angstroms:g} A per pixel, in "
            f"{len(table.optics.numbers)} optics group(s); half sets of {sizes[0]} and {sizes[1]}, {given}; "
            f"{int(self.held_out.sum())} held out of training.",
            *table.sentences_of_copies(),
            *self.images.sentences(),
            f"Images: circular mask of {self.particle_diameter_angstroms:.0f} A with a soft edge of "
            f"{self.soft_edge_angstroms:g} A{cut}.",
            f"Consensus: threshold {seed.threshold:.4g} ({found}) encloses {seed.volume_angstroms3:.3g} A^3, "
            f"about {seed.n_residues:.0f} residues{'' if seed.pieces else f'; Gaussians are placed down to {seed.lowest:.4g}'}.",
            f"Model of each half: {size.n_gaussians} Gaussians{f', {seed.pieces.words}' if seed.pieces else ''}; {size.n_fields} "
            f"basis fields, {size.n_latent} latent dimensions.",
            f"Band: {len(band)} Fourier terms to {band.resolution(len(band)):.2f} A; spectra take "
            f"{self.memory.spectra_bytes / GIGABYTE:.2f} GB {place}.",
            f"Memory: {self._memory()}",
            f"Training: {self.n_epochs} epochs in batches of {self.settings.batch_size}{self._more_epochs()}.",
        ]

    def warnings(self) -> list[str]:
        """What the program does not take into account, where it matters."""
        return [*(self.seed.pieces.warnings if self.seed.pieces else ()), *self._warnings_of_curvature()]

    def _warnings_of_curvature(self) -> list[str]:
        radius, resolution = self.seed.radius_angstroms, self.band.resolution(len(self.band))
        voltage = float(self.table.optics.voltage_kilovolts[self.table.used_groups].min())
        depth = depth_of_quarter_wave_angstroms(voltage, resolution)
        if radius <= depth:
            return []
        return [
            f"Ewald sphere: the molecule reaches {radius:.0f} A from the centre of its box, and at {resolution:.2g} A and "
            f"{voltage:g} kV an atom {depth:.0f} A before or behind it is a quarter wave out of phase. The curvature is not "
            "corrected: a coarser highest_resolution is safe."
        ]

    def _in_tilts(self) -> str:
        table = self.table
        return "" if table.tilts is None else f" in {table.n_images} images of tilt series, up to {table.most_images} of each,"

    def _more_epochs(self) -> str:
        most = self.settings.most_epochs
        return "" if most == self.n_epochs else f", and up to {most} as long as held-out particles improve"

    def _memory(self) -> str:
        """What is needed and what was done where not all would have fitted."""
        use = self.memory
        words = f"a training step of a half set takes up to {use.step_bytes / GIGABYTE:.2f} GB"
        words += f", what is learned of the particles {use.learned_bytes / GIGABYTE:.2f} GB"
        words += f"; {use.free_bytes / GIGABYTE:.1f} GB of this machine's are free."
        if self.asked.preload and not self.spectra_in_memory:
            words += " The spectra do not fit, so they are not preloaded in RAM."
        if self.asked.n_threads >= len(HALVES) and not self.halves_side_by_side:
            words += " It does not hold a step of both, so one half set is trained after the other."
        return words


def make_plan(options: ForwardOptions, project: Path) -> TrainingPlan:
    """Read the tables and the map, verify the stacks, and settle what is not given; below, the plan says it all.

    Raises
    ------
    UserError
        Any input that cannot work; nothing has been written then.
    """
    table = read_particles(
        project / options.fn_star, seed=options.seed, project=project, path_prefix=options.particle_path_prefix
    )
    _refuse_few_images(table)
    box, pixel_size_angstroms = table.box, table.pixel_size_angstroms
    consensus = read_volume(project / options.fn_map)
    images = ParticleImages(table, project)
    images.verify(consensus.box)
    in_headers = images.pixel_size_in_headers()
    check_map(consensus, box, pixel_size_angstroms, f"The map {options.fn_map}", of_stacks_angstroms=in_headers)
    mask, diameter, band = _compared(options, table)
    moving = None
    if options.fn_mask is not None:
        moving = read_mask(project / options.fn_mask, box, pixel_size_angstroms, f"Mask {options.fn_mask}")
    out = held_out(table, HELD_OUT_FRACTION, options.seed)
    n_training = max(int((~out[table.rows_of_half(half)]).sum()) for half in HALVES)
    seed = make_seed(
        consensus.data,
        pixel_size_angstroms,
        threshold=options.initial_threshold,
        radius_angstroms=diameter / 2 + options.soft_edge,
        mask=moving,
    )
    if options.fn_model is not None:
        seed = start_from_model(seed, project / options.fn_model, options.nr_gaussians)
    n_gaussians = len(seed.pieces.weights) if seed.pieces else options.nr_gaussians
    size = ModelSize(n_gaussians, options.n_gaussian_widths, options.n_latent_dimensions, options.n_basis_fields)
    memory = count_memory(size, band, batch=options.training_batch_size, table=table)
    return TrainingPlan(
        star_file=options.fn_star,
        path_prefix=options.particle_path_prefix,
        table=table,
        images=images,
        band=band,
        mask=mask,
        particle_diameter_angstroms=diameter,
        soft_edge_angstroms=options.soft_edge,
        held_out=out,
        consensus=consensus.data,
        seed=seed,
        size=size,
        settings=_training_settings(options, seed, mask, n_training),
        random_seed=options.seed,
        spectra_in_memory=memory.holds_spectra(share=LARGEST_SHARE_OF_MEMORY if options.do_preload else SHARE_OF_MEMORY),
        n_processes=processes_of(options.nr_threads, memory),
        memory=memory,
        asked=Asked(options.initial_threshold, options.particle_diameter, options.do_preload, options.nr_threads),
        inputs={"fn_star": digest_of_particles(table), "fn_map": digest(consensus.data)}
        | ({} if moving is None else {"fn_mask": digest(moving)})
        | ({} if seed.pieces is None else {"fn_model": digest(seed.pieces.positions, seed.pieces.weights)}),
    )


def processes_of(n_threads: int, memory: MemoryUse) -> int:
    """Processes that share so many threads of a CPU: as many for each half set, where the memory holds a step of each."""
    most = len(HALVES) * max(1, n_threads // (len(HALVES) * THREADS_OF_A_PROCESS))
    fitting = [count for count in range(len(HALVES), most + 1, len(HALVES)) if memory.holds(count)]
    return max(fitting, default=1) if n_threads >= len(HALVES) else 1


def _compared(options: ForwardOptions, table: ParticleTable) -> tuple[torch.Tensor, float, Band]:
    """What is compared of images: mask (N, N), the diameter of its flat part, Fourier terms; no more than every group holds."""
    mask, diameter = image_mask(
        table.box,
        table.pixel_size_angstroms,
        options.particle_diameter,
        options.soft_edge,
        within_angstroms=table.smallest_box_angstroms,
    )
    coarsest = table.coarsest_pixel_angstroms  # no image can be compared beyond what the images of every group hold
    resolution = options.highest_resolution or max(FINEST_RESOLUTION_ANGSTROMS, PIXELS_PER_RESOLUTION * coarsest)
    band = Band(table.box, table.pixel_size_angstroms, max(resolution, 2 * coarsest), table.most_images)
    if len(band) == 0:
        raise UserError(
            f"A highest resolution of {resolution:g} A (highest_resolution) leaves no Fourier term in a box of "
            f"{table.box * table.pixel_size_angstroms:g} A; expected a few times less than that."
        )
    return mask, diameter, band


def _training_settings(options: ForwardOptions, seed: Seed, mask: torch.Tensor, n_training: int) -> TrainingSettings:
    n_epochs, most_epochs = numbers_of_epochs(n_training, options.n_training_epochs)
    return TrainingSettings(
        batch_size=options.training_batch_size,
        stiffness=STIFFNESS_PER_RESIDUE * options.reg_factor * seed.n_residues,
        learns_stiffness=options.reg_factor == 1,  # another one is what somebody wishes
        independent_fraction=float(mask.square().mean()),
        refine_poses=options.refine_poses,
        learning_rate=options.learning_rate,
        n_epochs=n_epochs,
        most_epochs=most_epochs,
    )


def _refuse_few_images(table: ParticleTable) -> None:
    """Refuse half sets of which nothing would be left to hold out, or to train on."""
    for half in HALVES:
        images = len(np.unique(table.copy_of[table.rows_of_half(half)]))
        if images < FEWEST_IMAGES:
            raise UserError(
                f"{table.path}: half {half} has {images} particle(s); expected at least {FEWEST_IMAGES}, of which one is held "
                "out, and thousands to learn a motion from."
            )
