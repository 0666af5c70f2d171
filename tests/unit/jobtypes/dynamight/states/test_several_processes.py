"""Maps of states that several processes make are those of one, but for rounding; threads stand for the processes here."""

from __future__ import annotations

from threading import BrokenBarrierError

import mrcfile
import numpy as np
import pytest
import starfile

from jobtypes.dynamight.options import StatesOptions
from jobtypes.dynamight.states.task import make_maps
from relion_jobs.contract.errors import JobAborted
from tests.crews import work_as_team

NAMES = ("state001_half1", "state001_half2", "state002_plain_half1", "state002_plain_half2", "state002")


def share(swinging, name, count, **job_options):
    """The maps and the table that a team of so many processes writes, and the job of each process."""
    values = {"fn_star": swinging.forward.star_file, "n_states": 2, "max_bins": 4, "backproject_batchsize": 50, "nr_threads": 1}
    jobs = [swinging.job(name, **job_options) for _ in range(count)]
    options = StatesOptions.from_values(values)
    work_as_team(count, lambda team: make_maps(options, jobs[team.rank], team))
    folder = jobs[0].directory / "states"
    table = starfile.read(folder / "states.star", always_dict=True)["states"]
    return {name: mrcfile.read(folder / f"{name}.mrc") for name in NAMES}, table, jobs


def assert_alike(found, expected):
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], atol=2e-3 * np.abs(expected[name]).max(), err_msg=name)


@pytest.mark.parametrize("count", [5])
def test_the_maps_are_those_of_one_process(swinging, count):
    alone, table, _ = share(swinging, "DynaMight/job002", 1)
    shared, of_all, jobs = share(swinging, "DynaMight/job003", count)
    assert_alike(shared, alone)
    np.testing.assert_allclose(of_all["shown"], table["shown"], atol=0.01)
    assert of_all["particles_half1"].tolist() == table["particles_half1"].tolist()
    assert not [path for job in jobs[1:] for path in job.outputs]
    assert not list((jobs[0].directory / "states").glob("partial_sums*"))
    assert not list((jobs[0].directory / "states").glob("solved*"))


def test_a_run_that_was_left_by_four_goes_on_with_two(swinging):
    undisturbed, _, _ = share(swinging, "DynaMight/job002", 1)
    with pytest.raises((JobAborted, BrokenBarrierError)):
        share(swinging, "DynaMight/job003", 4, stop_after=40)
    assert list((swinging.project / "DynaMight/job003/states/solved").glob("*.pth"))
    again, _, jobs = share(swinging, "DynaMight/job003", 2)
    assert "Going on with the maps of an earlier run." in jobs[0].reports
    assert_alike(again, undisturbed)
