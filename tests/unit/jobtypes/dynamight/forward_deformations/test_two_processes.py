"""A training as two processes, started by torchrun or by itself: the bytes of one process, one log, one mark, one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from jobtypes.common.team import Team, accompanied
from jobtypes.dynamight.forward_deformations.checkpointing import load_last
from jobtypes.dynamight.forward_deformations.task import halves_of, run
from jobtypes.dynamight.model.result import LATENT_BY_OTHER
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.options import defaults
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk import project as projects
from relion_jobs.ondisk.job_star import JobRequest

ROOT = Path(__file__).parents[5]
TWO, ONE = Path("DynaMight/job002"), Path("DynaMight/job001")
EPOCHS = "--n-training-epochs 9"


@pytest.fixture(autouse=True)
def relion_project(project):
    projects.create(project)


@pytest.fixture(params=["torchrun", "itself"])
def start(request):
    """Start both processes of DynaMight/job002 with the options of fixture `values`."""

    def call(*, is_continue: bool = False) -> subprocess.Popen[bytes]:
        return started(request.param == "torchrun", is_continue=is_continue)

    return call


# the job is asked to stop when its last stage begins, which waits until the first process has heard it
STOPS_IN_LAST_STAGE = """
import sys
import time
from pathlib import Path

from jobtypes.dynamight.forward_deformations import task
from relion_jobs.running import worker

work_out = task.work_out_posteriors


def stop(*words, **settings):
    (Path(sys.argv[1]) / "RELION_JOB_ABORT_NOW").touch()
    while settings["team"].is_first and not settings["job"].abort_requested():
        time.sleep(0.01)
    work_out(*words, **settings)


task.work_out_posteriors = stop
sys.exit(worker.main())
"""


def started(
    by_torchrun: bool, *, is_continue: bool, program: tuple[str, ...] = ("-m", "relion_jobs.running.worker")
) -> subprocess.Popen[bytes]:
    from jobtypes.dynamight.job import JOB_TYPE

    flags = "--training-batch-size 5 --soft-edge-width 12 --n-basis-fields 4 --n-latent-dimensions 2 " + EPOCHS
    texts = defaults(option for option in JOB_TYPE.options if not option.extra)
    texts |= {"fn_star": "particles.star", "fn_map": "map.mrc", "nr_gaussians": "60", "nr_threads": "2", "other_args": flags}
    TWO.mkdir(parents=True, exist_ok=True)
    job_star.write(JobRequest("dynamight", is_continue, False, texts), TWO / "job.star")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if by_torchrun else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *launcher, *program, str(TWO)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def log() -> str:
    path = TWO / "run.out"
    return path.read_text() if path.is_file() else ""


def marks() -> list[str]:
    return sorted(path.name for path in TWO.glob("RELION_JOB_EXIT*"))


def learned(directory: Path) -> list[bytes]:
    """Every learned number of each half set, and the figures of all epochs but the time they took."""
    content = load_last(directory)
    assert content is not None
    states = [content["halves"][half] for half in (1, 2)]
    names = ("latent_mean", "latent_log_variance", LATENT_BY_OTHER)
    tensors = [[*state["model"].values(), *(state[name] for name in names)] for state in states]
    figures = [sorted(item for item in row.items() if item[0] != "seconds") for row in content["history"]]
    return [b"".join(tensor.contiguous().numpy().tobytes() for tensor in part) for part in tensors] + [repr(figures).encode()]


def test_two_processes_that_were_aborted_and_continued_learn_the_bytes_of_one(project, values, new_job, start):
    run(values(extra=EPOCHS), new_job())
    running = start()
    while running.poll() is None and "Epoch 1, to" not in log():
        time.sleep(0.05)
    (TWO / "RELION_JOB_ABORT_NOW").touch()
    assert running.wait(60) != 0
    assert marks() == ["RELION_JOB_EXIT_ABORTED"]
    assert load_last(TWO)["epoch"] < 9
    assert start(is_continue=True).wait(120) == 0
    assert marks() == ["RELION_JOB_EXIT_SUCCESS"]
    assert log().count("Going on from epoch") == 1
    assert log().count("Process 2 of 2") == 2
    assert learned(TWO) == learned(ONE)


def test_two_processes_that_are_stopped_in_the_last_stage_leave_it_together_and_go_on_there(project, values, new_job):
    run(values(extra=EPOCHS), new_job())
    assert started(by_torchrun=False, is_continue=False, program=("-c", STOPS_IN_LAST_STAGE)).wait(120) != 0
    assert marks() == ["RELION_JOB_EXIT_ABORTED"]
    stages = [part["posteriors"] for part in load_last(TWO)["halves"].values()]
    assert [stage["encoded"] > 0 for stage in stages] == [True, True]
    assert min(stage["refined"] for stage in stages) < 24
    before = log()
    assert started(by_torchrun=False, is_continue=True).wait(120) == 0
    assert "Epoch" not in log().removeprefix(before)
    assert learned(TWO) == learned(ONE)


def test_what_fails_in_the_second_process_fails_the_job_with_one_sentence(project, start):
    with mrcfile.open("particles.mrcs", mode="r+") as file:
        file.data[21, 3, 3] = np.nan  # of half set 2
    assert start().wait(60) != 0
    assert marks() == ["RELION_JOB_EXIT_FAILURE"]
    assert log().count("Error: ") == 1
    assert "image 000022@particles.mrcs, holds a value that is not a number" in log().splitlines()[-1]


def test_a_second_process_that_is_killed_fails_the_job_at_once_and_in_words(project):
    running = started(by_torchrun=False, is_continue=False)
    while running.poll() is None and "Epoch 1, to" not in log():
        time.sleep(0.05)
    (second,) = [int(path.name) for path in Path("/proc").glob("[0-9]*") if parent(path) == running.pid]
    os.kill(second, signal.SIGKILL)
    assert running.wait(60) != 0
    assert marks() == ["RELION_JOB_EXIT_FAILURE"]
    assert "ended without a word" in log().splitlines()[-1]
    assert load_last(TWO)["epoch"] >= 1


def parent(process: Path) -> int:
    """Parent of a process, 0 of one that is gone."""
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_the_port_at_which_two_processes_meet_can_be_reached_from_this_machine_only():
    seen = set()

    def start(environment):
        port = f":{int(environment['MASTER_PORT']):04X} "
        lines = [line for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()[1:]]
        seen.update(line.split()[1] for line in lines if port in f"{line.split()[1]} ")

    with accompanied(start) as team:
        assert team.count == 1
    assert {address.partition(":")[0] for address in seen} == {"0100007F"}  # 127.0.0.1


def test_more_processes_than_half_sets_are_refused():
    assert halves_of(Team()) == (1, 2)
    assert [halves_of(Team(rank=rank, count=2)) for rank in (0, 1)] == [(1,), (2,)]
    with pytest.raises(UserError, match="started as 3 processes; it runs as one, or as 2"):
        halves_of(Team(rank=0, count=3))
