"""The list of the maps that the task without a window has written: what each of them is, and what the next run replaces."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from jobtypes.common.whole_files import written_whole
from jobtypes.dynamight import layout


@dataclass(frozen=True)
class WrittenState:
    """One map.

    Attributes
    ----------
    file
        Relative to the job directory.
    name
        What it shows, e.g. ``cluster 2`` or ``main motion 1, state 3 of 11``.
    coordinates : (D,) A
        Along the main motions.
    rms_angstroms
        Rms over the Gaussians of the displacement from the consensus.
    outside
        Whether the state lies outside the data.
    """

    file: Path
    name: str
    coordinates: Tensor
    rms_angstroms: float
    outside: bool


def write_list(path: Path, states: Sequence[WrittenState]) -> None:
    """Write the list as tab-separated text with a header line, lengths in A."""
    count = max((len(state.coordinates) for state in states), default=0)
    lines = ["\t".join(["file", "state", "outside_data", "rms_A", *(f"motion{i + 1}_A" for i in range(count))])]
    for state in states:
        numbers = [f"{value:.2f}" for value in (state.rms_angstroms, *state.coordinates.tolist())]
        lines.append("\t".join([str(state.file), state.name, "yes" if state.outside else "no", *numbers]))
    with written_whole(path) as temporary:
        temporary.write_text("\n".join([*lines, ""]))


def remove_listed(path: Path, job_directory: Path) -> None:
    """Remove the maps and movies that an earlier run has listed, and the list; what was saved by hand stays."""
    if not path.is_file():
        return
    for line in path.read_text().splitlines()[1:]:
        file = Path(line.split("\t")[0])
        if file.parts[:1] == layout.MAPS.parts and len(file.parts) == 2:
            (job_directory / file).unlink(missing_ok=True)
        elif file.parts[:1] == layout.MOVIES.parts and len(file.parts) == 3:
            shutil.rmtree(job_directory / file.parent, ignore_errors=True)
    path.unlink()
