"""Which half sets, and which device, each process of a team has: half sets share the processes in turn."""

from __future__ import annotations

import torch

from jobtypes.common.conventions import HALVES
from jobtypes.common.devices import choose_devices, is_gpu
from jobtypes.common.team import Team
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.running_job import RunningJob


def halves_of(team: Team) -> tuple[int, ...]:
    """The half sets that a process of a team works on: all, or the one of its crew (`Team.crew` of as many parts)."""
    return HALVES if team.count == 1 else (HALVES[team.rank % len(HALVES)],)


def device_of(gpu_id: str, team: Team, job: RunningJob) -> torch.device:
    """The device of this process among several; the first one reports those of all.

    Raises
    ------
    UserError
        The list of GPUs cannot be; or two processes of one half set would have the same GPU.
    """
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
