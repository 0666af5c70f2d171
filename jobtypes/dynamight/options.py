"""Typed options of the forward deformations, built once from parsed job.star values. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from relion_jobs.contract.options import Value


@dataclass(frozen=True)
class ForwardOptions:
    """Options of task "forward deformations"; see job.yaml for their meaning.

    Those in `FREE_ON_RESUME` may change when a training goes on; the others are part of what was learned.
    """

    fn_star: str
    fn_map: str
    nr_gaussians: int
    initial_threshold: float | None
    reg_factor: float
    fn_mask: str | None
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

    @classmethod
    def from_values(cls, values: Mapping[str, Value]) -> ForwardOptions:
        """Pick this task's options out of all parsed values of the job."""
        options = cls(**{name: values[name] for name in cls.__dataclass_fields__})  # type: ignore[arg-type]
        # the CCP-EM pipeliner writes -1 where it means automatic
        threshold = options.initial_threshold
        return replace(options, initial_threshold=None if threshold is not None and threshold <= 0 else threshold)

    def as_dict(self) -> dict[str, Value]:
        """Plain values, for a checkpoint."""
        return asdict(self)

    def differences(self, earlier: Mapping[str, Value], *, allowed: frozenset[str] | None = None) -> list[str]:
        """Names of the options that differ from an earlier run's, but those that may (default: `FREE_ON_RESUME`)."""
        allowed = FREE_ON_RESUME if allowed is None else allowed
        now = self.as_dict()
        return [name for name in now if name not in allowed and now[name] != earlier.get(name)]


# where a training runs does not change what it means
FREE_ON_RESUME = frozenset({"gpu_id", "nr_threads", "do_preload"})
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
}
