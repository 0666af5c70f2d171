"""Files of maps of states: half maps for PostProcess, filtered maps, curves, and one table of all states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import Tensor

from jobtypes.common.conventions import HALVES
from jobtypes.common.fourier import fsc, resolution_at
from jobtypes.common.small_tables import write_small_tables
from jobtypes.common.volumes import write_volume
from jobtypes.dynamight import layout
from jobtypes.dynamight.backprojection.fsc_files import write_fsc_star
from jobtypes.dynamight.backprojection.local_gain import local_correlation
from jobtypes.dynamight.backprojection.normal_equations import wiener_filter
from jobtypes.dynamight.states.agreement import HalfMaps, Shown, agreement_of_halves, agreement_with_models
from jobtypes.dynamight.states.kernel import in_words
from jobtypes.dynamight.states.making import MadeState, Width
from relion_jobs.contract.running_job import RunningJob

MAPS_OF_A_STATE = 8  # deformed and plain half maps, three filtered means, local agreement
_DEFORMED, _PLAIN, _NEAREST, _LOCAL = "deformed", "plain", "nearest", "local"


@dataclass(frozen=True)
class PairFigures:
    """What a pair of half maps is worth.

    Attributes
    ----------
    curve, unmasked : (N // 2 + 1,)
        FSC in the mask and without it.
    filtered : (N, N, N)
        Their mean, filtered by their FSC.
    resolution_angstroms
        At FSC 0.143 in the mask.
    halves, models
        Where the molecule moves: mean local correlation of the half maps, and correlation with what the other half's model draws.
    """

    curve: Tensor
    unmasked: Tensor
    filtered: Tensor
    resolution_angstroms: float
    halves: float
    models: float

    @classmethod
    def of(cls, maps: HalfMaps, made: MadeState, mask: Tensor, *, pixel_size_angstroms: float, finest_shell: int) -> PairFigures:
        """Work them out, within a mask (N, N, N)."""
        curve, pixel = fsc(maps[1], maps[2], mask), pixel_size_angstroms
        return cls(
            curve,
            fsc(maps[1], maps[2]),
            wiener_filter((maps[1] + maps[2]) / 2, curve),
            resolution_at(curve, mask.shape[0], pixel),
            agreement_of_halves(maps, made.moving, pixel),
            agreement_with_models(maps, made.drawn, made.moving, finest_shell),
        )


@dataclass(frozen=True)
class WrittenStateMaps:
    """One state as it was written, without its half maps.

    Attributes
    ----------
    number, name, widths, width, shown, left_angstroms, moved_angstroms
        As of `making.MadeState` and its matched state.
    deformed, plain, nearest
        Its pairs of half maps.
    drawn : (N, N, N)
        Mean of what both halves' models draw of it.
    """

    number: int
    name: str
    widths: list[Width]
    width: Width
    shown: Shown
    left_angstroms: float
    moved_angstroms: float
    deformed: PairFigures
    plain: PairFigures
    nearest: PairFigures
    drawn: Tensor

    def sentence(self) -> str:
        """Say in words what the state is worth."""
        share = "" if self.shown.share != self.shown.share else f"; of the models' change the images show {_percent(self.shown)}"
        return (
            f"State {self.number}, {self.name}: {self.width.numbers[1]:.0f} and {self.width.numbers[2]:.0f} particles count "
            f"({in_words(*self.width.angstroms.values())}); {self.deformed.resolution_angstroms:.2f} A, without deformation "
            f"{self.plain.resolution_angstroms:.2f} A; where it moves the half maps agree by {self.deformed.halves:.2f} "
            f"({self.plain.halves:.2f}) and with the models by {self.deformed.models:.2f} ({self.plain.models:.2f}){share}."
        )

    def doubt(self) -> str | None:
        """A sentence of warning where the images do not show what the models draw."""
        if not self.shown.is_doubtful:
            return None
        return (
            f"State {self.number}, {self.name}, is not to be trusted: of the change that the models draw, the images of the "
            f"particles around it show {_percent(self.shown)}."
        )


def _percent(shown: Shown) -> str:
    return f"{100 * shown.share:.0f} +- {100 * shown.error:.0f} %"


def write_state(
    job: RunningJob, made: MadeState, mask: Tensor | None, *, pixel_size_angstroms: float, finest_shell: int
) -> WrittenStateMaps:
    """Write the maps and curves of a state and register the maps.

    The half maps are neither filtered nor sharpened nor masked, on the absolute scale of the data.

    Parameters
    ----------
    job
        Whose directory it is.
    made
        The state.
    mask : (N, N, N)
        In which the FSC is measured; None: around the molecule in this state.
    pixel_size_angstroms
        Of the maps.
    finest_shell
        Of what the models draw.
    """
    folder, pixel, number = job.directory, pixel_size_angstroms, made.number
    within = made.molecule if mask is None else mask
    figures = {
        name: PairFigures.of(maps, made, within, pixel_size_angstroms=pixel, finest_shell=finest_shell)
        for name, maps in ((_DEFORMED, made.deformed), (_PLAIN, made.plain), (_NEAREST, made.nearest))
    }
    half_maps = {layout.state_half_map(number, half): volume for half, volume in made.deformed.items()}
    half_maps |= {layout.plain_state_half_map(number, half): volume for half, volume in made.plain.items()}
    filtered = {layout.state_map(number, "" if name == _DEFORMED else name): pair.filtered for name, pair in figures.items()}
    for volumes, label in ((half_maps, layout.HALF_MAP_LABEL), (filtered, layout.MAP_LABEL)):
        for path, volume in volumes.items():
            write_volume(folder / path, volume, pixel)
            job.add_output(folder / path, label)
    local = local_correlation(made.deformed[1], made.deformed[2], pixel_size_angstroms=pixel) * within
    write_volume(folder / layout.state_map(number, _LOCAL), local, pixel)
    write_fsc_star(
        folder / layout.state_fsc(number),
        {name: (pair.curve, pair.unmasked) for name, pair in figures.items()},
        box=within.shape[0],
        pixel_size_angstroms=pixel,
        figures={"rlnFinalResolution": figures[_DEFORMED].resolution_angstroms},
    )
    return WrittenStateMaps(
        number,
        made.name,
        made.widths,
        made.width,
        made.shown,
        made.matched.left_angstroms,
        made.matched.moved_angstroms,
        **figures,
        drawn=(made.drawn[1] + made.drawn[2]) / 2,
    )


def write_table(path: Path, states: Sequence[WrittenStateMaps]) -> None:
    """Write all states as a STAR file: data_states, one row each, and data_widths, one row for each width that was tried."""
    rows = [
        {
            "file": str(layout.state_map(state.number)),
            "state": state.name,
            "width_half1_A": state.width.angstroms[1],
            "width_half2_A": state.width.angstroms[2],
            "particles_half1": state.width.numbers[1],
            "particles_half2": state.width.numbers[2],
            "resolution_A": state.deformed.resolution_angstroms,
            "plain_resolution_A": state.plain.resolution_angstroms,
            "halves_agree": state.deformed.halves,
            "plain_halves_agree": state.plain.halves,
            "models_agree": state.deformed.models,
            "plain_models_agree": state.plain.models,
            "shown": state.shown.share,
            "shown_error": state.shown.error,
            "moved_A": state.moved_angstroms,
            "halves_differ_A": state.left_angstroms,
        }
        for state in states
    ]
    tried = [
        {
            "state": state.name,
            "width_half1_A": width.angstroms[1],
            "width_half2_A": width.angstroms[2],
            "particles_half1": width.numbers[1],
            "particles_half2": width.numbers[2],
            "error": width.error,
        }
        for state in states
        for width in state.widths
    ]
    write_small_tables(path, {"states": pd.DataFrame(rows), "widths": pd.DataFrame(tried)}, decimals=4)


def remove_earlier(job_directory: Path) -> None:
    """Remove the maps, curves and lists of an earlier run; those of fewer states would leave some of them behind."""
    for path in (*job_directory.glob(layout.STATE_MAP_PATTERN), *(job_directory / layout.mapped_states(half) for half in HALVES)):
        path.unlink(missing_ok=True)
