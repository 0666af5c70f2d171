from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from jobtypes.common.particles import read_particles
from jobtypes.dynamight.visualization.selection import in_polygon, in_range, write_subset
from relion_jobs.contract.errors import UserError

POINTS = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, -1.0]])


def test_a_polygon_takes_what_lies_inside() -> None:
    assert in_polygon(POINTS, np.array([[-1, -1], [2, -1], [2, 3], [-1, 3]])).tolist() == [True, True, False]


def test_two_corners_are_no_polygon() -> None:
    with pytest.raises(UserError, match="has 2 corners"):
        in_polygon(POINTS, POINTS[:2])


def test_a_range_may_have_one_end() -> None:
    assert in_range(POINTS[:, 1], 0.0, None).tolist() == [True, True, False]


def test_a_subset_keeps_rows_columns_and_optics(flexible_job) -> None:
    table = read_particles("particles.star")
    path = write_subset(table, flexible_job.directory, np.array([7, 2]), 1)
    assert path == Path("DynaMight/job002/subsets/subset_001_half1.star")
    original = Path("particles.star").read_text().splitlines()
    rows = [line.split() for line in original if "@stack" in line]
    assert [line.split() for line in path.read_text().splitlines() if "@stack" in line] == [rows[2], rows[7]]
    assert read_particles(path).pixel_size_angstroms == 4.0
    assert write_subset(table, flexible_job.directory, np.array([1]), 2).name == "subset_002_half2.star"


def test_an_empty_selection_is_refused(flexible_job) -> None:
    with pytest.raises(UserError, match="The selection is empty"):
        write_subset(read_particles("particles.star"), flexible_job.directory, np.array([], dtype=int), 1)


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_star_handler") is None, reason="needs Debian's relion package")
def test_relion_reads_a_subset(flexible_job) -> None:
    path = write_subset(read_particles("particles.star"), flexible_job.directory, np.arange(5), 1)
    command = ["relion_star_handler", "--i", str(path), "--o", "again.star", "--select", "rlnDefocusU", "--minval", "0"]
    subprocess.run(command, check=True, capture_output=True)
    assert len(read_particles("again.star")) == 5
