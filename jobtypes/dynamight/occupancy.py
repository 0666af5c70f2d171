"""Parts that some particles lack, as people see them: numbers, columns, sentences, maps, a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from jobtypes.common.volumes import write_volume
from jobtypes.dynamight import layout
from jobtypes.dynamight.model.density import DensityRenderer
from jobtypes.dynamight.model.result import ForwardResult, HalfResult
from jobtypes.dynamight.motion_figures import PartDrawing, draw_occupancy
from relion_jobs.contract.running_job import RunningJob

OCCUPANCY = "rlnDynamightOccupancy"  # and the number of the part


def occupancy_columns(parts: Sequence[HalfResult]) -> dict[str, NDArray[np.float64]]:
    """Columns of the particles of half sets, one after the other: the probability that each has each part.

    A part that was found in one half set only is there in all particles of the other.
    """
    numbers = sorted({number for part in parts for number in part.part_numbers})
    columns = {f"{OCCUPANCY}{number}": [part.occupancy(number) for part in parts] for number in numbers}
    return {name: np.concatenate(values) for name, values in columns.items()}


def write_parts(forward: ForwardResult, job: RunningJob) -> None:
    """Report the parts, and write a map of each and a figure of who has them; where there is none, say so."""
    drawings: dict[int, list[PartDrawing]] = {}
    for part in forward.halves.values():
        for index, number in enumerate(part.part_numbers):
            drawings.setdefault(number, []).append(_drawing(part, index))
            _write_map(forward, part, index, job)
    for number in sorted(drawings):
        job.report(_sentence(number, drawings[number]))
    if drawings:
        draw_occupancy(drawings, job.directory / layout.OCCUPANCY_FIGURE)
    else:
        (job.directory / layout.OCCUPANCY_FIGURE).unlink(missing_ok=True)  # of an earlier training
        job.report("No part of the molecule was found that some of the particles lack.")


def _drawing(part: HalfResult, index: int) -> PartDrawing:
    gaussians, members = part.model.gaussians, part.model.parts.membership[index]
    amplitudes = (gaussians.amplitudes * members).cpu().double()
    positions = gaussians.positions.cpu().double()
    return PartDrawing(
        half=part.half,
        positions=positions.numpy(),
        members=members.cpu().numpy() > 0,
        centre=((amplitudes[:, None] * positions).sum(0) / amplitudes.sum()).numpy(),
        share_of_density=float(amplitudes.sum() / gaussians.amplitudes.sum().cpu()),
        presence=part.presence[part.good, index].cpu().double().numpy(),
    )


def _sentence(number: int, drawings: Sequence[PartDrawing]) -> str:
    first = drawings[0]
    where = ", ".join(f"{value:.0f}" for value in first.centre)
    missing = " and ".join(f"{100 * (1 - drawing.presence.mean()):.1f} % of half {drawing.half}" for drawing in drawings)
    elsewhere = "" if len(drawings) > 1 else f"; it was not found in half {3 - first.half}, where the column is 1"
    return (
        f"Part {number}, {100 * first.share_of_density:.1f} % of the density around ({where}) A from the box centre, is missing "
        f"in {missing}: column {OCCUPANCY}{number}, map {layout.part_map(first.half, number).name}{elsewhere}."
    )


@torch.no_grad()
def _write_map(forward: ForwardResult, part: HalfResult, index: int, job: RunningJob) -> None:
    renderer = DensityRenderer(part.model.gaussians, forward.box, forward.pixel_size_angstroms)
    path = job.directory / layout.part_map(part.half, part.part_numbers[index])
    density = renderer(part.model.gaussians.positions, part.model.parts.membership[index])
    write_volume(path, density, forward.pixel_size_angstroms)
    job.add_output(path, layout.MAP_LABEL)
