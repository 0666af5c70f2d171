"""A training as several processes, started by torchrun or by itself: what one learns, one log, one mark, one sentence."""

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

from jobtypes.common.conventions import HALVES
from jobtypes.common.shared_halves import halves_of
from jobtypes.common.team import Crew, Team, accompanied
from jobtypes.dynamight.forward_deformations.checkpointing import load_last
from jobtypes.dynamight.forward_deformations.plan import THREADS_OF_A_PROCESS
from jobtypes.dynamight.forward_deformations.task import run
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
    by_torchrun: bool, *, is_continue: bool, program: tuple[str, ...] = ("-m", "relion_jobs.running.worker"), count: int = 2
) -> subprocess.Popen[bytes]:
    from jobtypes.dynamight.job import JOB_TYPE

    threads = str(len(HALVES) if count == len(HALVES) else count * THREADS_OF_A_PROCESS)
    flags = "--training-batch-size 5 --soft-edge-width 12 --n-basis-fields 4 --n-latent-dimensions 2 " + EPOCHS
    texts = defaults(option for option in JOB_TYPE.options if not option.extra)
    texts |= {"fn_star": "particles.star", "fn_map": "map.mrc", "nr_gaussians": "60", "nr_threads": threads, "other_args": flags}
    TWO.mkdir(parents=True, exist_ok=True)
    job_star.write(JobRequest("dynamight", is_continue, False, texts), TWO / "job.star")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if by_torchrun else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (TWO / "launcher.err").open("a") as said:
        return subprocess.Popen(
            [sys.executable, *launcher, *program, str(TWO)], env=environment, stdout=subprocess.DEVNULL, stderr=said
        )


def ends_well(process: subprocess.Popen[bytes]) -> None:
    """Wait for its end, which says what it did not do well."""
    assert process.wait(120) == 0, "\n".join(path.read_text() for path in TWO.glob("*.err"))


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
    ends_well(start(is_continue=True))
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
    ends_well(started(by_torchrun=False, is_continue=True))
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


def close_to(found: Path, expected: Path) -> list[str]:
    """Names of what two jobs have learned of all particles that differs by more than rounding makes of it."""
    # Adam takes steps of one size however small a slope is, and makes up to two thousandths of rounding in nine epochs here
    off, rounding = [], 5e-3
    for half, state in load_last(expected)["halves"].items():
        of_found = load_last(found)["halves"][half]["model"]
        for name, value in state["model"].items():
            # a shift that all fields have in common changes nothing
            of_all = name.startswith(("gaussians", "encoder", "noise", "field")) and "bias" not in name
            if of_all and value.numel() and float((of_found[name] - value).abs().max() / value.abs().max()) > rounding:
                off.append(f"{name} of half {half}")
    return off


def test_four_processes_that_were_aborted_and_go_on_as_three_learn_what_one_learns(project, values, new_job):
    run(values(extra=EPOCHS), new_job())
    running = started(by_torchrun=True, is_continue=False, count=4)
    while running.poll() is None and "Epoch 1, to" not in log():
        time.sleep(0.05)
    (TWO / "RELION_JOB_ABORT_NOW").touch()
    assert running.wait(60) != 0
    assert marks() == ["RELION_JOB_EXIT_ABORTED"]
    assert load_last(TWO)["epoch"] < 9
    ends_well(started(by_torchrun=True, is_continue=True, count=3))
    assert marks() == ["RELION_JOB_EXIT_SUCCESS"]
    assert log().count("Process 4 of 4") == log().count("Process 3 of 3") == 1
    assert close_to(TWO, ONE) == []


def test_one_of_four_processes_that_is_killed_ends_all_with_a_sentence(project):
    running = started(by_torchrun=False, is_continue=False, count=4)
    while running.poll() is None and "Epoch 1, to" not in log():
        time.sleep(0.05)
    others = sorted(int(path.name) for path in Path("/proc").glob("[0-9]*") if parent(path) == running.pid)
    assert len(others) == 3
    os.kill(others[1], signal.SIGKILL)
    assert running.wait(60) != 0
    assert marks() == ["RELION_JOB_EXIT_FAILURE"]
    assert "ended without a word" in log().splitlines()[-1]
    assert load_last(TWO)["epoch"] >= 1
    assert not any(Path("/proc", str(other)).exists() for other in others)


def test_the_half_sets_share_the_processes_and_no_batch_is_smaller_than_a_half_sets_processes(
    project, values, new_job, monkeypatch
):
    assert halves_of(Team()) == (1, 2)
    assert [halves_of(Team(rank=rank, count=3)) for rank in range(3)] == [(1,), (2,), (1,)]
    monkeypatch.setattr(Team, "crew", lambda *_: Crew(0, 6))
    with pytest.raises(UserError, match="6 processes share each half set, but a batch has 5 particles"):
        run(values(), new_job())
