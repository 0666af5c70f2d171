"""One tiny simulated set that the tests of this folder share."""

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


class QuietJob:
    """A RunningJob that keeps what it is told."""

    def __init__(self, project: Path, directory: str = "External/job001") -> None:
        self.project, self.directory, self.is_continue = project, Path(directory), False
        (project / directory).mkdir(parents=True)
        self.lines: list[str] = []
        self.done: list[tuple[int, int]] = []

    def report(self, sentence: str) -> None:
        self.lines.append(sentence)

    warn = report

    def progress(self, stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        self.done.append((done, total))

    def check_abort(self) -> None:
        pass

    def abort_requested(self) -> bool:
        return False

    def add_output(self, path: Path, label: str) -> None:
        pass


def simulate(project: Path, **changes: str) -> Path:
    """Run the task in a fresh project; returns the job directory."""
    job = QuietJob(project)
    run(parse_values(JOB_TYPE.options, TINY | changes), job)
    assert job.done[-1][0] == job.done[-1][1]
    return project / job.directory


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def make_set():
    return simulate
