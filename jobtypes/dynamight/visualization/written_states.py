"""The list of the maps that the task without a window has written: what each of them is, and what the next run replaces."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from jobtypes.common.small_tables import read_small_tables, write_small_tables
from jobtypes.dynamight import layout
from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.errors import UserError


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


def written_state(session: Session, path: Path, name: str, coordinates: Tensor, *, is_outside: bool) -> WrittenState:
    """Row of the list of maps."""
    moved = session.state_positions(coordinates) - session.model.gaussians.positions.cpu()
    rms = float(moved.square().sum(1).mean().sqrt())
    return WrittenState(path.relative_to(session.job_directory), name, coordinates, rms, is_outside)


def write_list(path: Path, states: Sequence[WrittenState]) -> None:
    """Write the list as a STAR file, data_states, lengths in A."""
    table = pd.DataFrame(
        {
            "file": [str(state.file) for state in states],
            "state": [state.name for state in states],
            "outside_data": ["yes" if state.outside else "no" for state in states],
            "rms_A": [state.rms_angstroms for state in states],
        }
    )
    for motion, along in enumerate(zip(*(state.coordinates.tolist() for state in states), strict=True), start=1):
        table[f"motion{motion}_A"] = along
    write_small_tables(path, {"states": table}, decimals=2)


def read_states(path: Path, n_motions: int) -> list[tuple[str, Tensor]]:
    """Names and coordinates (D,) A of the states in a list that `write_list` wrote, or rows of it.

    Raises
    ------
    UserError
        The file cannot be read, or its states are not those of a half set with so many main motions, D.
    """
    labels = [f"motion{motion}_A" for motion in range(1, n_motions + 1)]
    table = read_small_tables(path, {"states": ("state", *labels)}, texts=("file", "state"))["states"]
    further = f"motion{n_motions + 1}_A"
    if further in table:
        raise UserError(
            f"{path} has a column _{further}, but the half set has {n_motions} main motions; give a list of the half set whose "
            "states are mapped (halfset), written since its last training."
        )
    rows = table if isinstance(table, pd.DataFrame) else pd.DataFrame([table])
    coordinates = torch.tensor(rows[labels].to_numpy(dtype=np.float32))
    return list(zip(rows["state"].astype(str), coordinates, strict=True))


def remove_listed(path: Path, job_directory: Path) -> None:
    """Remove the maps and movies that an earlier run has listed, and the list; what was saved by hand stays.

    Raises
    ------
    UserError
        The list is damaged.
    """
    for listed, read in ((path, _files_in), (path.with_suffix(".tsv"), _files_in_text)):
        if not listed.is_file():
            continue
        for file in map(Path, read(listed)):
            if file.parts[:1] == layout.MAPS.parts and len(file.parts) == 2:
                (job_directory / file).unlink(missing_ok=True)
            elif file.parts[:1] == layout.MOVIES.parts and len(file.parts) == 3:
                shutil.rmtree(job_directory / file.parent, ignore_errors=True)
        listed.unlink()


def _files_in(path: Path) -> list[str]:
    tables = read_small_tables(path, {"states": ("file",)}, texts=("file", "state"))
    return list(tables["states"]["file"])


def _files_in_text(path: Path) -> list[str]:
    """Files in a list as version 0.1 wrote it: tab-separated, with a header line."""
    return [line.split("\t")[0] for line in path.read_text(errors="replace").splitlines()[1:]]
