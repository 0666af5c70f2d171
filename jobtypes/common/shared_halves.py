"""Work on two half sets that processes share: which half set, and which device, each has; half sets share them in turn."""

from __future__ import annotations

from collections.abc import Callable

import torch

from jobtypes.common.conventions import HALVES
from jobtypes.common.devices import choose_device, choose_devices, is_gpu
from jobtypes.common.team import Team, accompanied, joined_team
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.running_job import RunningJob


def share_halves(work: Callable[[Team], None], job: RunningJob, wanted: Callable[[], int]) -> None:
    """Do work with the processes that torchrun started, or where it started none with as many of this machine as are `wanted`.

    The other processes come here as well, by the same way.
    """
    with joined_team() as team:
        if team.count > 1 or (count := wanted()) == 1:
            work(team)
            return
        with accompanied(job.start_companion, count) as all_of_them:
            work(all_of_them)


def halves_of(team: Team) -> tuple[int, ...]:
    """The half sets that a process of a team works on: all, or the one of its crew (`Team.crew` of as many parts)."""
    return HALVES if team.count == 1 else (HALVES[team.rank % len(HALVES)],)


def device_of(gpu_id: str, team: Team, job: RunningJob) -> torch.device:
    """The device of this process; the first one reports those of all.

    Raises
    ------
    UserError
        The list of GPUs cannot be; or two processes of one half set would have the same GPU.
    """
    if team.count == 1:
        device, sentence = choose_device(gpu_id)
        job.report(sentence)
        return device
    device = choose_devices(gpu_id, team.local_count, spread=True)[0][team.local_rank]
    found = team.all_of((str(device), team.machine))
    for rank, (name, machine) in enumerate(found):
        first = rank % len(HALVES)
        job.report(f"Process {rank + 1} of {team.count} on {machine}: half set {HALVES[first]} on device {name}.")
        if is_gpu(device) and (name, machine) in found[first : rank : len(HALVES)]:
            raise UserError(
                f"Two of the processes of half set {HALVES[first]} were started for {name} on {machine}; start at most two "
                "processes for each GPU of a machine (--nproc-per-node), one of each half set."
            )
    return device
