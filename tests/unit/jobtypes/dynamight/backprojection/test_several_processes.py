"""A reconstruction that several processes share gives the maps of one, but for rounding; threads stand for them here."""

from __future__ import annotations

from threading import BrokenBarrierError

import mrcfile
import numpy as np
import pytest

from jobtypes.dynamight.backprojection.task import reconstruct
from jobtypes.dynamight.options import BackprojectionOptions
from relion_jobs.contract.errors import JobAborted
from tests.crews import work_as_team

NAMES = ("rigid_half1", "map_half1", "rigid_half2", "map_half2", "map_filtered")
VALUES = {"fn_star": "particles.star", "backproject_batchsize": 16, "max_bins": 6}


def share(project, name, count, **job_options):
    """The maps that a team of so many processes writes, and the job of each process."""
    jobs = [project.job(name, **job_options) for _ in range(count)]
    options = BackprojectionOptions.from_values(VALUES)
    work_as_team(count, lambda team: reconstruct(options, jobs[team.rank], team))
    folder = jobs[0].directory / "backprojection"
    return {name: mrcfile.read(folder / f"{name}.mrc") for name in NAMES}, jobs


def assert_alike(found, expected, share_of_scale):
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], atol=share_of_scale * np.abs(expected[name]).max(), err_msg=name)


@pytest.mark.parametrize("count", [2, 5])
def test_the_maps_are_those_of_one_process(make_project, count):
    project = make_project(120)
    alone, (first,) = share(project, "DynaMight/job002", 1)
    shared, jobs = share(project, "DynaMight/job003", count)
    assert_alike(shared, alone, 1e-3)

    def verdict(job):
        return [line for line in [*job.reports, *job.warnings] if "held-out particles are" in line]

    assert verdict(jobs[0]) == verdict(first)
    assert not list((jobs[0].directory / "backprojection").glob("partial_sums*"))


def test_processes_without_a_bin_of_their_own_do_no_harm(make_project):
    project = make_project(60, motion=0.0)  # one bin
    alone, _ = share(project, "DynaMight/job002", 1)
    shared, _ = share(project, "DynaMight/job003", 5)
    assert_alike(shared, alone, 1e-4)


def test_a_run_that_was_left_by_four_goes_on_with_two(make_project):
    project = make_project(120)
    undisturbed, _ = share(project, "DynaMight/job002", 1)
    with pytest.raises((JobAborted, BrokenBarrierError)):
        share(project, "DynaMight/job003", 4, stop_after=12)
    folder = project.root / "DynaMight/job003/backprojection"
    assert len(list(folder.glob("partial_sums*.pth"))) > 1
    assert len(list((folder / "partial_sums").glob("*.pth"))) > 1
    again, jobs = share(project, "DynaMight/job003", 2)
    assert "Going on with the sums of an earlier run." in jobs[0].reports
    assert_alike(again, undisturbed, 0.02)
    assert not list(folder.glob("partial_sums*"))
