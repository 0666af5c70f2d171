"""How many jobs may run at once on this machine and on each of its GPUs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import YES, Status
from relion_jobs.contract.options import defaults
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.pipeline.graph import Pipeline
from relion_jobs.running.finish import owner_of
from relion_jobs.running.registry import Registry
from relion_jobs.running.settings import QUEUE_SWITCH

_GPU_DEVICES = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Limits:
    """Jobs at once; those in a queue do not count, since the queue looks after its machines.

    Attributes
    ----------
    per_host
        On this machine.
    per_gpu
        On each of its GPUs.
    """

    per_host: int = 1
    per_gpu: int = 1

    def __post_init__(self) -> None:
        """Refuse limits that let nothing run."""
        for name, value in (("--jobs", self.per_host), ("--jobs-per-gpu", self.per_gpu)):
            if value < 1:
                raise UserError(f"{name} is {value}; it must be at least 1.")


@dataclass(frozen=True)
class Use:
    """What a job takes of this machine.

    Attributes
    ----------
    is_queued
        A queue takes it: nothing.
    gpus
        Numbers of its GPUs.
    """

    is_queued: bool = False
    gpus: frozenset[str] = frozenset()


def use_of(project: Path, name: str, registry: Registry, *, has_gpus: bool) -> Use:
    """Return what a job takes, as its job.star says.

    Parameters
    ----------
    project, name
        The job; one whose job.star or type cannot be read takes no GPU.
    registry
        Job types.
    has_gpus
        Whether this machine has GPUs; without, jobs compute on the CPU whatever their options say.
    """
    try:
        request = job_star.read(JobDirectory(project, name).path)
        job_type = registry.find(request.label)
    except UserError:
        return Use()
    texts = defaults(job_type.options) | request.values
    if texts.get(QUEUE_SWITCH) == YES:
        return Use(is_queued=True)
    if not job_type.device_option or not has_gpus:
        return Use()
    # an empty option leaves the choice to the program, which takes the first
    return Use(gpus=frozenset(re.findall(r"\d+", texts[job_type.device_option])) or frozenset("0"))


def machine_has_gpus(devices: Path = _GPU_DEVICES) -> bool:
    """Return True where NVIDIA's driver lists a GPU."""
    return devices.is_dir() and any(devices.iterdir())


def running_here(project: Path, pipeline: Pipeline) -> list[str]:
    """Names of the running jobs whose process runs on this machine, whoever started it."""
    running = [process.name for process in pipeline.processes if process.status == Status.RUNNING]
    return [name for name in running if (owner := owner_of(JobDirectory(project, name))) is not None and owner.is_alive()]


def why_not_now(limits: Limits, wanted: Use, busy: Mapping[str, Use]) -> str:
    """Return why a job must wait for a free place, as a sentence; empty where it may start.

    Parameters
    ----------
    limits
        What is allowed.
    wanted
        What the job takes.
    busy
        Jobs that run on this machine, and what each takes.
    """
    if wanted.is_queued:
        return ""
    if len(busy) >= limits.per_host:
        return f"{len(busy)} job{'s run' if len(busy) > 1 else ' runs'} on this machine, {limits.per_host} may (--jobs)."
    for gpu in sorted(wanted.gpus):
        names = [name for name, use in busy.items() if gpu in use.gpus]
        if len(names) >= limits.per_gpu:
            return f"GPU {gpu} is used by {' and '.join(names)}, {limits.per_gpu} at once may (--jobs-per-gpu)."
    return ""
