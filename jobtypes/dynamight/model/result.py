"""A training as the later tasks see it: both halves' models, latents and poses, read from one checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common.checkpoints import load_checkpoint
from jobtypes.common.digests import digest, digest_of_particles
from jobtypes.common.job_paths import is_same
from jobtypes.common.particles import ParticleTable, read_particles
from jobtypes.dynamight import layout
from jobtypes.dynamight.model.common_state import choose_consensus
from jobtypes.dynamight.model.control_points import ControlPoints
from jobtypes.dynamight.model.displacement import DisplacementField
from jobtypes.dynamight.model.encoder import Encoder
from jobtypes.dynamight.model.gaussians import GaussianModel
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.parts import Parts
from jobtypes.dynamight.model.poses import N_TURNS, RefinedPoses
from jobtypes.dynamight.model.quality import rather_good
from relion_jobs.contract.errors import UserError

KIND, FORMAT_VERSION = "dynamight forward deformations", 6
_REMEDY = "run the forward deformations again in a new job, or go on with the version of relion_jobs that wrote it"
# of a half set, in the checkpoint of a training that has ended
LATENT_BY_OTHER, HELD_OUT_VERDICT = "latent_by_other", "held_out_verdict"


@dataclass(frozen=True)
class HalfResult:
    """One half set after training; every tensor is on the device asked for.

    Attributes
    ----------
    half
        1 or 2.
    model
        In evaluation mode, without gradients. Its consensus is the central state of the particles, not that of the training: its
        Gaussians lie there, and displacements start there.
    rows : (n_h,)
        0-based rows of the particle STAR file, held-out ones too.
    held_out : (n_h,)
        True for particles that trained nothing.
    latent_mean, latent_log_variance : (n_h, d)
        Posterior of each particle.
    angles_matrices : (n_h, 3, 3)
        Refined rotations A, r_image = A r_map.
    shifts_angstroms : (n_h, 2)
        Refined shifts of the projection.
    rms_displacement : (n_h,) A
        Rms displacement of each particle's Gaussians, each counted the same, from the consensus.
    quality, scale : (n_h,)
        Probability that each image is the molecule at its pose; and the strength of its signal if it is, 1 on average.
    presence : (n_h, R)
        Probability that each particle has each of the parts that some lack, `model.parts`.
    part_numbers
        Of the R parts, from 1; parts of both half sets at the same place have the same number.
    latent_by_other : (m, d)
        Latents that the other half's model gives to the held-out particles, in their order; None before the training has
        ended.
    """

    half: int
    model: HalfModel
    rows: np.ndarray
    held_out: np.ndarray
    latent_mean: Tensor
    latent_log_variance: Tensor
    angles_matrices: Tensor
    shifts_angstroms: Tensor
    rms_displacement: Tensor
    quality: Tensor
    scale: Tensor
    presence: Tensor
    part_numbers: tuple[int, ...] = ()
    latent_by_other: Tensor | None = None

    def occupancy(self, number: int) -> NDArray[np.float64]:
        """(n_h,) probability that each particle has the part of a number; 1 where the part was not found in this half set."""
        if number not in self.part_numbers:
            return np.ones(len(self.rows))
        return np.asarray(self.presence[:, self.part_numbers.index(number)].cpu().double().numpy())

    def lacking(self, particle: int) -> tuple[int, ...]:
        """Numbers of the parts that a particle rather lacks than has."""
        missing = (self.presence[particle] < 0.5).tolist()
        return tuple(number for number, lacks in zip(self.part_numbers, missing, strict=True) if lacks)

    def there(self, lacking: Sequence[int]) -> Tensor:
        """(n,) share of each Gaussian that is there where the parts of these numbers are missing."""
        left_out = [number in lacking for number in self.part_numbers]
        there: Tensor = 1 - self.model.parts.membership[left_out].sum(0)
        return there

    def uncertain_by(self) -> Iterator[Tensor]:
        """For each latent, what one standard deviation of its posterior does to the coefficients of each particle: (n_h, K)."""
        field, deviation = self.model.field, (0.5 * self.latent_log_variance).exp()
        for latent in range(deviation.shape[1]):
            along = torch.zeros_like(deviation)
            along[:, latent] = deviation[:, latent]
            yield (field.coefficients(self.latent_mean + along) - field.coefficients(self.latent_mean - along)) / 2

    @property
    def good(self) -> Tensor:
        """(n_h,) bool, on the device: rather the molecule than not; all of them where none is."""
        return rather_good(self.quality)


@dataclass(frozen=True)
class ForwardResult:
    """Both half sets after training.

    Attributes
    ----------
    halves
        Keys 1 and 2.
    identity
        Names this very checkpoint, with the particles whose state is the consensus: an inverse trained on it keeps the name.
    box, pixel_size_angstroms
        Of the particles.
    star_file, particle_diameter_angstroms
        As the training used them; the path is relative to the project directory.
    epoch
        Epochs done.
    path
        The checkpoint file.
    seed, particles_digest
        Of the half sets where the STAR file has none, and what it held then; empty: not known.
    path_prefix
        Where its stacks had moved, as of `read_particles`.
    phase_flipped
        Of each optics group, as the training found it; None: as the STAR file says.
    input_warnings
        What the training found that may be wrong with poses, CTFs or map.
    """

    halves: dict[int, HalfResult]
    identity: str
    box: int
    pixel_size_angstroms: float
    star_file: str
    particle_diameter_angstroms: float
    epoch: int
    path: Path
    seed: int = 0
    particles_digest: str = ""
    path_prefix: str = ""
    phase_flipped: tuple[bool, ...] | None = None
    input_warnings: tuple[str, ...] = ()

    @property
    def part_numbers(self) -> list[int]:
        """Of the parts that some particles lack, of both half sets."""
        return sorted({number for part in self.halves.values() for number in part.part_numbers})

    @property
    def lone_parts(self) -> list[int]:
        """Numbers of the parts that one half set alone found."""
        return [number for number in self.part_numbers if any(number not in part.part_numbers for part in self.halves.values())]

    def with_lone_parts_there(self) -> ForwardResult:
        """The same where all particles have the parts that one half set alone found.

        So both half maps hold such a part as it is in the mean of the particles. Where one held it whole and the other as thin as
        the mean, they would differ though no particle does, and nothing may tell the other half set who lacks it.
        """
        lone = self.lone_parts
        halves = {}
        for half, part in self.halves.items():
            alone = torch.tensor([number in lone for number in part.part_numbers], dtype=torch.bool, device=part.presence.device)
            halves[half] = replace(part, presence=part.presence.masked_fill(alone, 1.0)) if lone else part
        return replace(self, halves=halves)

    def sentences_of_lone_parts(self) -> list[str]:
        """Say which parts do not count in maps, and why."""
        found_by = {n: next(half for half, part in self.halves.items() if n in part.part_numbers) for n in self.lone_parts}
        return [
            f"Part {number}, which some particles lack, was found in half {half} alone: both half maps show it as it is in the "
            "mean of the particles."
            for number, half in found_by.items()
        ]


def checkpoint_path(job_directory: Path, checkpoint_file: str | None) -> Path:
    """The checkpoint that a task should use: the one named, or the last one of the job.

    Raises
    ------
    UserError
        The file named is not there or belongs to another job, or the job has no checkpoint yet.
    """
    folder = Path(job_directory) / layout.CHECKPOINTS
    if checkpoint_file:
        path = Path(checkpoint_file)
        if not path.is_file():
            raise UserError(f"Checkpoint file {checkpoint_file} does not exist; leave fn_checkpoint empty to take the last one.")
        if folder.resolve() not in path.resolve().parents:
            raise UserError(f"Checkpoint file {checkpoint_file} belongs to another job; this job's are in {folder}/.")
        return path
    if (final := Path(job_directory) / layout.FINAL_CHECKPOINT).is_file():
        return final
    numbered = sorted(Path(job_directory).glob(layout.CHECKPOINT_PATTERN), key=lambda path: int(path.stem))
    if not numbered:
        raise UserError(f"There is no checkpoint in {folder}/; run the forward deformations of this job first.")
    return numbered[-1]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `forward_deformations.checkpointing` has written.

    Raises
    ------
    UserError
        It is damaged, or of another kind or format version.
    """
    return load_checkpoint(path, kind=KIND, version=FORMAT_VERSION, remedy=_REMEDY)


def load_centred_result(
    job_directory: Path, checkpoint_file: str | None = None, device: torch.device | str = "cpu"
) -> ForwardResult:
    """Read a job's checkpoint, and make the state of a particle the consensus of both half sets' models.

    Latent zero is the middle of the prior, not of the data: where particles lie on an arc no particle is there, and a map in
    that state is of no conformation that the molecule has. The central state is that of the particle nearest to the mean
    deformation, of those in crowded places; both half sets have the state nearest to the central ones of both: see
    `model.common_state`.

    Parameters
    ----------
    job_directory
        Relative to the project directory or absolute.
    checkpoint_file
        Value of `fn_checkpoint`; empty: the last one.
    device
        Where the models and tensors go.

    Raises
    ------
    UserError
        No checkpoint, a damaged one, one of another job, kind or format version.
    """
    path = checkpoint_path(Path(job_directory), checkpoint_file)
    content = read_checkpoint(path)
    settings = content["settings"]
    parts = {int(half): part for half, part in content["halves"].items()}
    models = {half: build_model(part["model"], settings).eval().requires_grad_(False) for half, part in parts.items()}
    # on the CPU, so that another device does not round its way to other particles
    chosen = choose_consensus(
        models,
        {half: _trained_latents(models[half], part) for half, part in parts.items()},
        settings["box"] * settings["pixel_size_angstroms"],
    )
    models = {half: model.to(device) for half, model in models.items()}
    halves = {half: _result_of_half(half, models[half], part, torch.device(device)) for half, part in parts.items()}
    return ForwardResult(
        halves=_with_part_numbers(halves),
        identity=digest(content["identity"], *(f"{half}:{chosen[half]}" for half in sorted(chosen))),
        box=settings["box"],
        pixel_size_angstroms=settings["pixel_size_angstroms"],
        star_file=settings["star_file"],
        particle_diameter_angstroms=settings["particle_diameter_angstroms"],
        epoch=content["epoch"],
        path=path,
        seed=settings["seed"],
        particles_digest=settings["inputs"]["fn_star"],
        path_prefix=settings.get("path_prefix", ""),
        phase_flipped=None if "phase_flipped" not in settings else tuple(settings["phase_flipped"]),
        input_warnings=tuple(settings.get("input_warnings", ())),
    )


def refuse_other_star(forward: ForwardResult, fn_star: str, project: Path) -> None:
    """Refuse to go on from a training with another STAR file than its own, by whatever name of it.

    Raises
    ------
    UserError
        It is another one.
    """
    if not is_same(project, fn_star, forward.star_file):
        raise UserError(
            f"Input images STAR file is {fn_star}, but the checkpoint {forward.path} was trained on {forward.star_file}; "
            f"give that one (fn_star; in RELION --refinement-star-file {forward.star_file} in Additional arguments)."
        )


def particles_of(forward: ForwardResult, project: Path, *, path_prefix: str | None = None) -> ParticleTable:
    """All particles of a training, in the half sets that it trained on, whatever the STAR file and its seed would say.

    `path_prefix` is that of `read_particles`; None: that of the training. `half_is_given` is False where the column
    rlnRandomSubset of the file does not say the half sets; what is written then says them.

    Raises
    ------
    UserError
        The STAR file cannot be read, or does not hold what the training was made with.
    """
    prefix = forward.path_prefix if path_prefix is None else path_prefix
    table = read_particles(project / forward.star_file, seed=forward.seed, project=project, path_prefix=prefix)
    rows = np.concatenate([part.rows for part in forward.halves.values()])
    if int(rows.max()) >= len(table) or table.box != forward.box:
        raise UserError(
            f"{forward.star_file} has {len(table)} particles of box {table.box}, which are not those that the checkpoint "
            f"{forward.path} was trained on (box {forward.box}); put the STAR file back or train again."
        )
    if forward.particles_digest and digest_of_particles(table) != forward.particles_digest:
        raise UserError(
            f"{forward.star_file} does not hold what the checkpoint {forward.path} was trained on: particles, their order, "
            "poses, CTFs or half sets have changed; put the STAR file back, or train again."
        )
    if forward.phase_flipped is not None:
        table = table.with_phase_flipped(np.array(forward.phase_flipped))
    half = table.half.copy()
    for part in forward.halves.values():
        half[part.rows] = part.half
    return replace(table, half=half, half_is_given=table.half_is_given and np.array_equal(half, table.half))


def build_model(state: dict[str, Tensor], settings: dict[str, Any]) -> HalfModel:
    """A model of the shapes in a state dict, with that state."""
    n_latent, n_fields = settings["n_latent"], settings["n_fields"]
    positions = state["gaussians.positions"]
    model = HalfModel(
        GaussianModel(positions, amplitude=1.0, width_angstroms=1.0, n_widths=len(state["gaussians.log_widths"])),
        DisplacementField(
            n_latent=n_latent,
            n_fields=n_fields,
            control_points=ControlPoints.of_state(state, "field.trunk."),
            width=len(state["field.branch.0.bias"]),
        ),
        Encoder(state["encoder.probes"], n_latent),
        RefinedPoses(len(state["poses.corrections"]), n_shifts=len(state["poses.scale"]) - N_TURNS),
        torch.zeros_like(state["noise_power"]),
    )
    # tensors whose size is not known beforehand
    model.field.set_anchors(state["field.anchors"], state["field.anchor_weights"])
    model.field.mask = torch.zeros_like(state["field.mask"])
    model.parts = Parts(len(state["parts.presence"]), len(positions), len(state["parts.share"]))
    model.load_state_dict(state)
    return model


def _with_part_numbers(halves: dict[int, HalfResult]) -> dict[int, HalfResult]:
    """Number the parts: those of the second half set as the one of the first that lies nearest, if each is within the other."""
    numbered: dict[int, HalfResult] = {}
    places: list[tuple[Tensor, float]] = []  # of the parts numbered so far
    for half, part in halves.items():
        known, numbers = len(places), []
        for centre, radius in _extents(part.model):
            apart = [float((centre - other).norm()) for other, _ in places[:known]]
            near = [n for n, distance in enumerate(apart) if distance < min(radius, places[n][1]) and n + 1 not in numbers]
            if not near:
                places.append((centre, radius))
            numbers.append(min(near, key=apart.__getitem__) + 1 if near else len(places))
        numbered[half] = replace(part, part_numbers=tuple(numbers))
    return numbered


def _extents(model: HalfModel) -> list[tuple[Tensor, float]]:
    """Centre (3,) A and rms radius in A of each part."""
    positions = model.gaussians.positions
    extents = []
    for members in model.parts.membership:
        weights = members * model.gaussians.amplitudes
        weights = weights / weights.sum()
        centre = (weights[:, None] * positions).sum(0)
        extents.append((centre, float((weights * (positions - centre).square().sum(1)).sum().sqrt())))
    return extents


@torch.no_grad()
def _trained_latents(model: HalfModel, part: dict[str, Any]) -> Tensor:
    """(p, d) of the particles that trained a half set's model and are the molecule; all that trained it where none is."""
    trained = ~part["held_out"]
    good = trained & model.quality.is_good.cpu()
    latents: Tensor = part["latent_mean"][good if bool(good.any()) else trained]
    return latents


def _result_of_half(half: int, model: HalfModel, part: dict[str, Any], device: torch.device) -> HalfResult:
    latent_mean = part["latent_mean"].to(device)
    matrices, shifts = model.poses(
        torch.arange(len(latent_mean), device=device), part["input_matrices"].to(device), part["input_shifts"].to(device)
    )
    # mean over Gaussians of |sum_k a_k U_k|^2 is a quadratic form of the coefficients
    basis = model.field.basis_at_gaussians(model.gaussians.positions).flatten(1)  # (K, 3 n)
    gram = basis @ basis.T / len(model.gaussians.positions)
    coefficients = model.field.coefficients(latent_mean)
    power = ((coefficients @ gram) * coefficients).sum(1).clamp(min=0)
    return HalfResult(
        half=half,
        model=model,
        rows=part["rows"].numpy(),
        held_out=part["held_out"].numpy(),
        latent_mean=latent_mean,
        latent_log_variance=part["latent_log_variance"].to(device),
        angles_matrices=matrices,
        shifts_angstroms=shifts,
        rms_displacement=power.sqrt(),
        quality=model.quality.probability,
        scale=model.quality.scale,
        presence=model.parts.presence,
        latent_by_other=part[LATENT_BY_OTHER].to(device) if LATENT_BY_OTHER in part else None,
    )
