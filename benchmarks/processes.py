"""Time of a training step of one half set that several processes share, and of what they exchange; larger teams are counted.

Makes particles, then trains half set 1 with 1, 2, 4 processes of one thread each. Calls and bytes of a step do not depend on the
number of processes, the batch or the particles; what a step takes in each process does. A ring of k processes sends 2 (k - 1)
messages of a k-th of the bytes each, one after the other (Patarasuk and Yuan 2009). Beside the time of a step on the clock, which
is good on a machine with nothing else at work and a core for each process, stands the processor's time of one process.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from made_project import forward_options, make_particles
from measuring import clock, print_table
from torch import Tensor

from jobtypes.common.team import Crew, joined_team
from jobtypes.dynamight.forward_deformations.plan import make_plan
from jobtypes.dynamight.forward_deformations.preparation import prepare_half
from jobtypes.dynamight.forward_deformations.training import HalfTraining

EPOCHS, REDUCTIONS = 4, 50


@dataclass(frozen=True)
class Network:
    """What connects processes: seconds that a message takes on its way, and bytes per second of each process."""

    name: str
    latency_seconds: float
    bytes_per_second: float

    def seconds(self, n_bytes: float, processes: int) -> float:
        """Time to add up so many bytes over so many processes in a ring."""
        if processes == 1:
            return 0.0
        return 2 * (processes - 1) * (self.latency_seconds + n_bytes / processes / self.bytes_per_second)


NETWORKS = {
    Network("8 GPUs of one machine (NVLink, 100 GB/s)", 10e-6, 100e9): 4,
    # on its way from machine to machine a ring crosses each network card once, and that of the other half set too
    Network("64 processes of 8 machines (10 Gbit/s Ethernet)", 50e-6, 1.2e9 / 2): 32,
    Network("64 processes of 8 machines (200 Gbit/s InfiniBand)", 5e-6, 25e9 / 2): 32,
}


@dataclass(frozen=True)
class CountingCrew(Crew):
    """A crew that counts the bytes of each exchange."""

    exchanges: list[int] = field(default_factory=list)

    def _sum(self, tensors: list[Tensor]) -> None:
        self.exchanges.append(sum(tensor.numel() * tensor.element_size() for tensor in tensors))
        super()._sum(tensors)


@dataclass(frozen=True)
class Measured:
    """Of one process: seconds of a step, the processor's seconds, those of the exchange alone; its calls and bytes."""

    step: float
    processor: float
    exchange: float
    calls: int
    n_bytes: int


def parse() -> argparse.Namespace:
    """Words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--particles", type=int, default=2000, help="both halves together; half 1 is trained")
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--gaussians", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], help="of one half set")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    words = parse()
    with TemporaryDirectory() as folder:
        make_particles(Path(folder), particles=words.particles, box=words.box)
        found = {count: measure(words, Path(folder), count) for count in words.processes}
    print(
        f"A step of one half set: {words.gaussians} Gaussians, box {words.box}, batch {words.batch}, by processes of one core:\n"
    )
    print_table(
        ["processes", "step, ms", "of each processor, ms", "exchange, ms", "calls", "kB"],
        [row(count, of) for count, of in found.items()],
    )
    _, most = max(found.items())
    print(f"\nThe exchange of a step, {most.n_bytes / 1e3:.0f} kB, counted:\n")
    rows = [[net.name, str(count), f"{1e3 * net.seconds(most.n_bytes, count):.2f}"] for net, count in NETWORKS.items()]
    print_table(["", "processes of a half set", "ms"], rows)


def row(count: int, found: Measured) -> list[str]:
    """A line of the table."""
    return [
        str(count),
        f"{1e3 * found.step:.1f}",
        f"{1e3 * found.processor:.1f}",
        f"{1e3 * found.exchange:.2f}",
        str(found.calls),
        f"{found.n_bytes / 1e3:.0f}",
    ]


def measure(words: argparse.Namespace, project: Path, count: int) -> Measured:
    """The step of a team of so many processes: of its first one, but the most of any of the processor's time."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        calls = [pool.submit(member, words, project, rank, count, port) for rank in range(count)]
        found = [call.result() for call in calls]
    return replace(found[0], processor=max(of.processor for of in found))


def member(words: argparse.Namespace, project: Path, rank: int, count: int, port: int) -> Measured:
    """Train as one of several processes."""
    place = {"RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    os.environ.update({name: str(value) for name, value in place.items()})
    torch.set_num_threads(words.threads)
    with joined_team() as team:
        crew = team.crew(1)
        counting = CountingCrew(crew.place, crew.count, crew.group, crew.team)
        plan = make_plan(forward_options(gaussians=words.gaussians, batch=words.batch, threads=1), project)
        training = prepare_half(1, plan, device=torch.device("cpu"), scratch=None, after_batch=lambda done: None, crew=counting)
        marks: list[Mark] = []

        def after_step() -> bool:
            marks.append(Mark(clock(), time.process_time(), len(counting.exchanges)))
            return False

        for _ in range(EPOCHS):
            training.run_epoch(plan.last_epoch, after_step)
        calls, n_bytes = exchanged(counting, marks)
        return Measured(*seconds_of_step(training, marks), seconds_of_exchange(counting, n_bytes), calls, n_bytes)


@dataclass(frozen=True)
class Mark:
    """Seconds on the clock and of the processor, and exchanges, at the end of a step."""

    clock: float
    processor: float
    exchanges: int


def seconds_of_step(training: HalfTraining, marks: list[Mark]) -> tuple[float, float]:
    """Of the clock and of the processor: the median over the steps of the fastest epoch, but of its first."""
    steps = math.ceil(len(training.training) / training.settings.batch_size)
    epochs = [list(pairwise(marks[first : first + steps])) for first in range(steps, len(marks), steps)]
    on_clock = min(statistics.median(end.clock - start.clock for start, end in epoch) for epoch in epochs)
    return on_clock, min(statistics.median(end.processor - start.processor for start, end in epoch) for epoch in epochs)


def exchanged(crew: CountingCrew, marks: list[Mark]) -> tuple[int, int]:
    """Calls and bytes of a step, without those of an epoch's end."""
    if crew.count == 1:
        return 0, 0
    start, end = marks[-2:]
    return end.exchanges - start.exchanges, sum(crew.exchanges[start.exchanges : end.exchanges])


def seconds_of_exchange(crew: Crew, n_bytes: int) -> float:
    """Time to add up so many bytes, where nothing else is waited for."""
    numbers, took = torch.zeros(max(1, n_bytes // 4)), []
    for _ in range(REDUCTIONS if crew.count > 1 else 0):
        crew.any_of(False)  # all begin together
        start = clock()
        crew.sum_(numbers)
        took.append(clock() - start)
    return min(took, default=0.0)


if __name__ == "__main__":
    main()
