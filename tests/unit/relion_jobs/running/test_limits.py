"""How many jobs run at once."""

from __future__ import annotations

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.jobtype import JobType, Task
from relion_jobs.contract.options import Option
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_star import JobRequest
from relion_jobs.running.limits import Limits, Use, machine_has_gpus, use_of, why_not_now
from relion_jobs.running.registry import Registry, registry

OPTIONS = (
    Option(variable="cards", label="GPU", tab="I/O", kind="text", default="0", help="GPU."),
    Option(variable="do_queue", label="Queue", tab="I/O", kind="boolean", default="No", help="Queue."),
)
TASKS = (Task(name="a", title="a", run="x:y"),)
GPU_TYPE = JobType(name="gpu", title="GPU", options=OPTIONS, tasks=TASKS, device_option="cards")
CPU_TYPE = JobType(name="cpu", title="CPU", options=OPTIONS, tasks=TASKS)
REGISTRY = Registry({"gpu": lambda: GPU_TYPE, "cpu": lambda: CPU_TYPE})


@pytest.mark.parametrize(
    ("values", "has_gpus", "use"),
    [
        ({"cards": "1"}, True, Use(gpus=frozenset("1"))),
        ({"cards": "0:2"}, True, Use(gpus=frozenset("02"))),
        ({"cards": ""}, True, Use(gpus=frozenset("0"))),
        ({}, True, Use(gpus=frozenset("0"))),
        ({"cards": "1"}, False, Use()),
        ({"cards": "1", "do_queue": "Yes"}, True, Use(is_queued=True)),
    ],
)
def test_what_a_job_takes_stands_in_its_job_star(tmp_path, values, has_gpus, use):
    (tmp_path / "External/job001").mkdir(parents=True)
    job_star.write(JobRequest(GPU_TYPE.type_label, values=values), tmp_path / "External/job001/job.star")
    assert use_of(tmp_path, "External/job001/", REGISTRY, has_gpus=has_gpus) == use


def test_a_job_type_that_declares_no_device_option_takes_no_gpu_whatever_its_options_are_called(tmp_path):
    (tmp_path / "External/job001").mkdir(parents=True)
    job_star.write(JobRequest(CPU_TYPE.type_label, values={"cards": "1"}), tmp_path / "External/job001/job.star")
    assert use_of(tmp_path, "External/job001/", REGISTRY, has_gpus=True) == Use()


def test_a_device_option_must_be_one_of_the_options():
    with pytest.raises(UserError, match="has no option 'gpu_id'"):
        JobType(name="gpu", title="GPU", options=OPTIONS, tasks=TASKS, device_option="gpu_id")


def test_the_gpu_of_a_dynamight_job_is_the_one_of_relions_option():
    assert registry().load("dynamight").device_option == "gpu_id"


def test_a_job_that_cannot_be_read_takes_no_gpu(tmp_path):
    assert use_of(tmp_path, "External/job001/", REGISTRY, has_gpus=True) == Use()


BUSY = {"a": Use(gpus=frozenset("0")), "b": Use()}


@pytest.mark.parametrize(
    ("limits", "wanted", "reason"),
    [
        (Limits(2), Use(), "2 jobs run on this machine, 2 may (--jobs)."),
        (Limits(3), Use(), ""),
        (Limits(3), Use(gpus=frozenset("0")), "GPU 0 is used by a, 1 at once may (--jobs-per-gpu)."),
        (Limits(3), Use(gpus=frozenset("1")), ""),
        (Limits(3, 2), Use(gpus=frozenset("01")), ""),
        (Limits(1), Use(is_queued=True), ""),
    ],
)
def test_a_job_waits_for_a_place_on_the_machine_and_on_its_gpu(limits, wanted, reason):
    assert why_not_now(limits, wanted, BUSY) == reason


def test_limits_that_let_nothing_run_are_refused():
    with pytest.raises(UserError, match="--jobs-per-gpu is 0; it must be at least 1"):
        Limits(1, 0)


def test_gpus_are_those_that_the_driver_lists(tmp_path):
    assert not machine_has_gpus(tmp_path / "nix")
    assert not machine_has_gpus(tmp_path)
    (tmp_path / "0000:17:00.0").mkdir()
    assert machine_has_gpus(tmp_path)
