"""Which of several copies of an image a list of particles means."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from jobtypes.common.particles import ParticleTable, read_particles, write_particles
from jobtypes.dynamight.visualization.given_states import states_of_particles
from relion_jobs.contract.errors import UserError
from tests.trained_job import write_particles as write_project

COPIES = 4


@pytest.fixture
def expanded(tmp_path: Path) -> ParticleTable:
    """Six particles of a molecule of fourfold symmetry about z: each image four times, turned by 90 degrees."""
    write_project(tmp_path, n_particles=6, box=8, pixel_size_angstroms=4.0)
    table = read_particles(tmp_path / "particles.star")
    rows = np.repeat(np.arange(6), COPIES)
    turned = table.angles_degrees[rows, 0] + 90 * np.tile(np.arange(COPIES), 6)
    write_particles(table, tmp_path / "expanded.star", rows=rows, rlnAngleRot=turned)
    return read_particles(tmp_path / "expanded.star")


def session_of(table: ParticleTable) -> Any:
    """Half 1, whose particles have the number of their row as their state."""
    rows = np.flatnonzero(table.half == 1)
    return SimpleNamespace(
        half=1, part=SimpleNamespace(rows=rows, lacking=lambda particle: ()), coordinates=torch.from_numpy(rows).float()[:, None]
    )


@pytest.mark.parametrize("listed", [[0], [2], [10, 9, 1], [0, 1, 2, 3]])
def test_the_copy_that_is_listed_is_the_one_that_is_shown(expanded: ParticleTable, tmp_path: Path, listed: list[int]) -> None:
    write_particles(expanded, tmp_path / "list.star", rows=np.array(listed))
    states, elsewhere = states_of_particles(session_of(expanded), tmp_path / "list.star", expanded)
    assert [int(state.coordinates) for state in states] == listed
    assert [state.name for state in states] == [f"particle {row + 1}" for row in listed]
    assert elsewhere == 0


def test_a_copy_is_found_by_its_orientation_also_where_that_was_refined_a_little(expanded: ParticleTable, tmp_path: Path) -> None:
    write_particles(expanded, tmp_path / "list.star", rows=np.array([3]), rlnAngleRot=expanded.angles_degrees[[3], 0] + 361.5)
    states, _ = states_of_particles(session_of(expanded), tmp_path / "list.star", expanded)
    assert [state.name for state in states] == ["particle 4"]


def test_a_list_that_does_not_tell_copies_apart_is_refused_with_the_remedy(expanded: ParticleTable, tmp_path: Path) -> None:
    path = tmp_path / "list.star"
    path.write_text(f"data_particles\n\nloop_\n_rlnImageName\n{expanded.image_name(0)}\n")
    with pytest.raises(UserError, match=r"row 1 \(line 5\) has 4 copies in .*expanded.star, and without _rlnAngleRot"):
        states_of_particles(session_of(expanded), path, expanded)


def test_without_copies_the_name_is_enough(expanded: ParticleTable, tmp_path: Path) -> None:
    single = expanded.select(np.arange(0, len(expanded), COPIES))
    path = tmp_path / "list.star"
    path.write_text(f"data_particles\n\nloop_\n_rlnImageName\n{single.image_name(2)}\n")
    states, _ = states_of_particles(session_of(single), path, single)
    assert [state.name for state in states] == ["particle 3"]
