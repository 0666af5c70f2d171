"""Options of the reconstruction as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from jobtypes.dynamight.backprojection.warp import Direction, Order
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.options import Value


@dataclass(frozen=True)
class Settings:
    """What the user chose.

    Attributes
    ----------
    batch_size
        Images at once.
    field
        ``forward``: deformations of the model itself. ``inverse``: those of the inverse network, as RELION's workflow has it.
    order
        Interpolation of warps.
    tolerance_pixels
        Largest rms displacement within a bin.
    most_bins
        Largest number of bins.
    iterations
        Most conjugate-gradient steps of a solve.
    seed
        Of the bins.
    threads
        CPU threads.
    """

    batch_size: int = 10
    field: Direction = "forward"
    order: Order = "cubic"
    tolerance_pixels: float = 0.1
    most_bins: int = 40
    iterations: int = 10
    seed: int = 0
    threads: int = 1

    def numbers(self) -> dict[str, Any]:
        """All that the sums depend on, as plain values; the batch size changes them by rounding only, and threads likewise."""
        kept = asdict(self)
        for name in ("threads", "iterations", "order"):
            del kept[name]
        return kept


def settings_from(values: Mapping[str, Value]) -> Settings:
    """Take the settings out of parsed option values; options that are missing take their defaults.

    Raises
    ------
    UserError
        A number that makes no sense.
    """
    given = Settings(
        batch_size=_whole(values, "backproject_batchsize", Settings.batch_size),
        field=cast(Direction, _word(values, "backprojection_field", Settings.field, ("forward", "inverse"))),
        order=cast(Order, _word(values, "warp_interpolation", Settings.order, ("linear", "cubic"))),
        tolerance_pixels=_number(values, "bin_tolerance", Settings.tolerance_pixels),
        most_bins=_whole(values, "max_bins", Settings.most_bins),
        iterations=_whole(values, "reconstruction_iterations", Settings.iterations),
        seed=_whole(values, "seed", Settings.seed, least=0),
        threads=_whole(values, "nr_threads", Settings.threads),
    )
    return given


def _number(values: Mapping[str, Value], name: str, default: float) -> float:
    value = values.get(name)
    number = default if value in (None, "") else float(cast(float, value))
    if not number > 0:
        raise UserError(f"Option {name} is {number:g}; expected a number above 0.")
    return number


def _whole(values: Mapping[str, Value], name: str, default: int, least: int = 1) -> int:
    value = values.get(name)
    number = default if value in (None, "") else int(cast(int, value))
    if number < least:
        raise UserError(f"Option {name} is {number}; expected a whole number of at least {least}.")
    return number


def _word(values: Mapping[str, Value], name: str, default: str, known: tuple[str, ...]) -> str:
    word = str(values.get(name) or default)
    if word not in known:
        raise UserError(f"Option {name} is '{word}'; expected {' or '.join(known)}.")
    return word
