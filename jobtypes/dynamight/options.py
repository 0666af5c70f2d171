"""Typed options of each task, built once from parsed values. No torch here.

The fields of a class are options of job.yaml, under the names that they have there; type, limits, choices and default of each are
declared there, and nowhere else.

What an earlier run has stored of its options may be of another version of this program. An option that it did not know counts as
its default: a new option must have the default that does what was done before it was there. An option that this version does not
know any more, or not yet, differs, unless it is among the `WITHDRAWN` with the value that is still kept to.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self, get_args

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.options import Option, Value, defaults, read_options

OPTIONS = read_options(Path(__file__).with_name("job.yaml"))
# options that earlier versions had -> what this program always does now
WITHDRAWN: Mapping[str, Value] = {}


@cache
def _default(variable: str) -> Value:
    """Default of an option that may be left out; None of one that must be given."""
    (option,) = (option for option in OPTIONS if option.variable == variable)
    return None if option.required else option.parse(defaults([option], environment={})[variable])


@dataclass(frozen=True)
class TaskOptions:
    """What the options of all tasks have in common."""

    @classmethod
    def from_values(cls, values: Mapping[str, Value]) -> Self:
        """Pick this task's options out of the parsed values of a job; those that are not there take their defaults.

        Raises
        ------
        UserError
            A value that its option does not allow, or none for one that must be given.
        """
        picked: dict[str, Any] = {}
        for option in cls.declared():
            picked[option.variable] = option.checked(values.get(option.variable, _default(option.variable)))
        return cls(**picked)

    @classmethod
    def declared(cls) -> Iterator[Option]:
        """The declaration of each field."""
        by_variable = {option.variable: option for option in OPTIONS}
        return (by_variable[field.name] for field in fields(cls))

    def as_dict(self) -> dict[str, Value]:
        """Plain values, to be stored with results."""
        return asdict(self)

    @classmethod
    def as_now(cls, stored: Mapping[str, Value]) -> dict[str, Value]:
        """Options that an earlier run has stored: with the default of each that it did not know, without what is kept to."""
        kept = {name: value for name, value in stored.items() if (name, value) not in WITHDRAWN.items()}
        return {option.variable: _default(option.variable) for option in cls.declared()} | kept

    def differences(
        self, stored: Mapping[str, Value], *, free: Collection[str], is_same_file: Callable[[str, str], bool] = operator.eq
    ) -> list[str]:
        """Names of the options that differ from those that an earlier run has stored, but those that are `free` to.

        `is_same_file` tells whether two names mean one file.
        """
        now, before = self.as_dict(), self.as_now(stored)
        files = {option.variable for option in self.declared() if option.kind in ("node", "file")}

        def differs(name: str) -> bool:
            one, other = now[name], before[name]
            return one != other and not (name in files and one and other and is_same_file(str(one), str(other)))

        changed = [name for name in now if name not in free and differs(name)]
        return changed + [name for name in before if name not in now]


@dataclass(frozen=True)
class ForwardOptions(TaskOptions):
    """Options of task "forward deformations"."""

    fn_star: str
    particle_path_prefix: str
    fn_map: str
    nr_gaussians: int
    initial_threshold: float | None
    reg_factor: float
    fn_mask: str | None
    fn_model: str | None
    particle_diameter: float | None
    soft_edge: float
    n_latent_dimensions: int
    n_basis_fields: int
    n_gaussian_widths: int
    n_training_epochs: int | None
    training_batch_size: int
    learning_rate: float
    highest_resolution: float | None
    refine_poses: bool
    seed: int
    gpu_id: str
    nr_threads: int
    do_preload: bool
    accept_misfit: bool

    @classmethod
    def from_values(cls, values: Mapping[str, Value]) -> Self:
        """Pick this task's options, as `TaskOptions.from_values`; a threshold of 0 or less means automatic."""
        options = super().from_values(values)
        # the CCP-EM pipeliner writes -1
        threshold = options.initial_threshold
        return replace(options, initial_threshold=None) if threshold is not None and threshold <= 0 else options


# where a task runs, and its images lie, does not change what it means; all else is part of what was learned or summed
FREE_ON_RESUME = frozenset({"gpu_id", "nr_threads", "do_preload", "particle_path_prefix"})
# with other images of the same particles: all that does not shape the model
FREE_ON_OTHER_PARTICLES = FREE_ON_RESUME | {
    "fn_star",
    "fn_map",
    "fn_mask",
    "initial_threshold",
    "particle_diameter",
    "soft_edge",
    "highest_resolution",
    "n_training_epochs",
    "training_batch_size",
    "learning_rate",
    "reg_factor",
    "refine_poses",
    "accept_misfit",
}


Embedding = Literal["pca", "ica", "umap", "raw"]
EMBEDDINGS: tuple[Embedding, ...] = get_args(Embedding)


@dataclass(frozen=True)
class VisualizationOptions(TaskOptions):
    """Options of task "visualization"."""

    halfset: int
    fn_checkpoint: str | None
    n_motions: int
    n_frames: int
    n_clusters: int
    n_regions: int
    embedding: Embedding
    headless: bool
    particles_file: str | None
    latents_file: str | None
    do_trajectory: bool
    path_between: str
    seed: int
    nr_threads: int
    gpu_id: str

    @property
    def path_ends(self) -> tuple[int, int] | None:
        """Numbers of the stable states between which a path goes; None: of none.

        Raises
        ------
        UserError
            The option is not two numbers.
        """
        if not self.path_between:
            return None
        first, colon, last = self.path_between.partition(":")
        if not (colon and first.strip().isdigit() and last.strip().isdigit()):
            raise UserError(
                f"Option path_between is '{self.path_between}'; expected the numbers of two stable states, such as 1:2."
            )
        return int(first), int(last)


@dataclass(frozen=True)
class InverseOptions(TaskOptions):
    """Options of task "inverse-deformation estimation"."""

    fn_checkpoint: str | None
    nr_epochs: int
    do_store_deform: bool
    seed: int
    nr_threads: int
    gpu_id: str


@dataclass(frozen=True)
class BackprojectionOptions(TaskOptions):
    """Options of task "deformed backprojection"."""

    fn_checkpoint: str | None
    fn_star: str
    particle_path_prefix: str
    fn_fsc_mask: str | None
    backproject_batchsize: int
    backprojection_field: Literal["forward", "inverse"]
    warp_interpolation: Literal["linear", "cubic"]
    bin_tolerance: float
    max_bins: int | None
    reconstruction_iterations: int
    seed: int
    nr_threads: int
    gpu_id: str


@dataclass(frozen=True)
class StatesOptions(TaskOptions):
    """Options of task "maps of states"."""

    fn_checkpoint: str | None
    fn_star: str
    particle_path_prefix: str
    fn_fsc_mask: str | None
    halfset: int
    states_at: Literal["motion", "clusters", "listed"]
    states_motion: int
    n_states: int
    n_clusters: int
    particles_file: str | None
    latents_file: str | None
    states_file: str | None
    states_width: float | None
    backproject_batchsize: int
    warp_interpolation: Literal["linear", "cubic"]
    bin_tolerance: float
    max_bins: int | None
    reconstruction_iterations: int
    seed: int
    nr_threads: int
    gpu_id: str
