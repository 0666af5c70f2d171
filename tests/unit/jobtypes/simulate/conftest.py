"""One tiny simulated set that the tests of this folder share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from jobtypes.simulate.job import JOB_TYPE
from jobtypes.simulate.task import run
from relion_jobs.contract.options import parse_values

TINY = {
    "nr_particles": "120",
    "box_size": "32",
    "angpix": "5",
    "core_mass": "20",
    "arm_share": "0.3",
    "amplitude": "20",
    "snr": "1",
    "shift_range": "2",
    "nr_threads": "1",
}


@pytest.fixture(scope="session")
def make_set(recording_job) -> Callable[..., Path]:
    """Run the task in a fresh project: make_set(project, snr="2"); returns the job directory."""

    def simulate(project: Path, **changes: str) -> Path:
        job = recording_job(project, "External/job001")
        run(parse_values(JOB_TYPE.options, TINY | changes), job)
        assert job.steps[-1][0] == job.steps[-1][1]
        return project / job.directory

    return simulate


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory, make_set) -> Path:
    return make_set(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def junk_set(tmp_path_factory: pytest.TempPathFactory, make_set) -> Path:
    """A set with every nuisance."""
    shares = dict.fromkeys(("empty_share", "other_share", "wrong_pose_share", "neighbour_share", "speck_share"), "0.1")
    others = {"missing_arm_share": "0.2", "side_view_share": "0.3", "amplitude_spread": "0.2", "defocus_error": "200"}
    return make_set(tmp_path_factory.mktemp("junk"), **shares, **others)
