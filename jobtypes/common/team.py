"""The processes of one task, started by torchrun or by the task itself: they share the work, and stop or fail together.

One process alone is a team of one, for which every call returns at once, so that a task is written in one way. What a half set
must not know of the other is the task's business: nothing is exchanged here but what it gives. A team may be split into crews,
each of which adds up its numbers by itself.

Source: the environment variables RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT of torchrun
(torch.distributed, "Environment variable initialization").
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from relion_jobs.contract.errors import JobAborted, JobFailed, UserError
from relion_jobs.contract.running_job import Companion

# One process may wait a whole epoch for another; that one has died is told by its closed connection, not by the clock.
LONGEST_WAIT = timedelta(days=7)
LONGEST_MEETING = timedelta(minutes=5)
LOOK_SECONDS = 0.2  # between two looks at the board, at work; waiting:
SHORT_SECONDS = 0.005
# After all were asked to leave; who has not come by then is waited for in the exchange, which fails where a process is dead.
SECONDS_TO_LEAVE = 10.0
LOCAL_ADDRESS, LOCAL_INTERFACE = "127.0.0.1", "lo"
_FAILURE = "failure"
_TEAMS = itertools.count()  # of this process, as of every other that a launcher has started for the same job
_KINDS: dict[str, type[Exception]] = {kind.__name__: kind for kind in (UserError, JobFailed, JobAborted, MemoryError)}


@dataclass
class Team:
    """The processes of a task, as one of them sees them.

    Attributes
    ----------
    rank, count
        Which of how many processes this is; 0 writes the files.
    local_rank, local_count
        The same among those on this machine.
    board
        Key-value store that all can read at any time; None for a team of one.
    companions
        The other processes, where this one has started them.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    board: dist.Store | None = None
    companions: Sequence[Companion] = ()
    _round: int = 0
    _looked: float = field(default=float("-inf"))

    @property
    def machine(self) -> str:
        """Name of the machine that this process runs on."""
        return socket.gethostname()

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def crew(self, parts: int) -> Crew:
        """The crew of this process, where the team is split into so many: process r is of crew r modulo their number.

        All processes must call it, in the same order among such calls.
        """
        if self.board is None:
            return ALONE
        ranks_of = [list(range(part, self.count, parts)) for part in range(min(parts, self.count))]
        groups = [_new_group(ranks) for ranks in ranks_of]
        part = self.rank % parts
        return Crew(self.rank // parts, len(ranks_of[part]), groups[part], self)

    def wants_to_leave(self, here: bool) -> bool:
        """Whether any process wants all to interrupt their work for an exchange; `here`: whether this one does.

        Raises
        ------
        RelionJobsError
            Another process failed, with its sentence.
        """
        if self.board is None:
            return here
        key = f"leave{self._round}"
        if here:
            self.board.set(key, "1")
            return True
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return False
        self._looked = time.monotonic()
        self._raise_failure()
        return bool(self.board.check([key]))

    def hear(self) -> None:
        """Raise what another process failed with, if one did; to be called now and then where work goes on without exchange."""
        self.wants_to_leave(False)

    def meet(self, wants_to_leave: Callable[[], bool]) -> None:
        """Wait until all have come here; meanwhile a wish to leave that comes up in this process reaches the others."""
        if self.board is None:
            return
        key = f"arrived{self._round}"
        self.board.add(key, 1)
        give_up = float("inf")
        while self.board.add(key, 0) < self.count and time.monotonic() < give_up:
            self._raise_failure()
            if give_up == float("inf") and self.wants_to_leave(wants_to_leave()):
                give_up = time.monotonic() + SECONDS_TO_LEAVE
            time.sleep(SHORT_SECONDS)
        self._round += 1

    def all_of(self, value: Any) -> list[Any]:
        """The plain value of every process, in order of rank, in every process."""
        if self.board is None:
            return [value]
        values: list[Any] = [None] * self.count
        with self.hearing_failures():
            dist.all_gather_object(values, value)
        return values

    def merged(self, part: Mapping[int, Any]) -> dict[int, Any]:
        """Join the entries of all processes, in every process, by ascending key; of equal keys that of the lowest rank counts."""
        entries = [item for other in reversed(self.all_of(dict(part))) for item in other.items()]
        return dict(sorted(dict(entries).items()))

    def gathered(self, part: Mapping[int, Any]) -> dict[int, Any] | None:
        """As `merged`, but in the first process only, None in others: for states with their tensors."""
        if self.board is None:
            return dict(part)
        parts: list[Any] | None = [None] * self.count if self.is_first else None
        with self.hearing_failures():
            dist.gather_object(on_cpu(dict(part)), parts)
        return None if parts is None else dict(sorted((key, value) for other in parts for key, value in other.items()))

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What the first process makes, in every process; the others do not call `make`."""
        if self.board is None:
            return make()
        values = [make() if self.is_first else None]
        with self.hearing_failures():
            dist.broadcast_object_list(values)
        return values[0]

    def tell(self, error: BaseException) -> None:
        """Leave the first failure of all on the board."""
        if self.board is not None:
            kind = next((name for name, kind in _KINDS.items() if isinstance(error, kind)), "")
            kind = MemoryError.__name__ if isinstance(error, torch.OutOfMemoryError) else kind
            text = str(error) if kind else f"Process {self.rank + 1} of {self.count} failed with {type(error).__name__}: {error}"
            try:
                self.board.compare_set(_FAILURE, "", json.dumps([kind, text]))
            except RuntimeError:
                return  # the board went down with the process that kept it; the others notice that

    @contextmanager
    def hearing_failures(self) -> Iterator[None]:
        """Raise what another process failed with where an exchange in the block breaks down."""
        try:
            yield
        except RuntimeError as error:  # torch's of a closed connection
            self._raise_failure()
            raise JobFailed(
                f"Another of the {self.count} processes of this job ended without a word; its last lines are in run.err or in "
                "the queue's own log."
            ) from error

    def _raise_failure(self) -> None:
        assert self.board is not None
        gone = [rank for rank, companion in enumerate(self.companions, start=2) if companion.has_ended()]
        try:
            told = self.board.check([_FAILURE])
            kind, text = json.loads(self.board.get(_FAILURE)) if told else ("", "")
        except RuntimeError:
            return
        if told:
            raise _KINDS.get(kind, JobFailed)(text)
        if gone:
            raise JobFailed(f"{_which(gone[0], self.count)} ended without a word, as one that is killed does; is memory short?")


@dataclass(frozen=True)
class Crew:
    """Processes of a team that do one thing together: each a share of the same kind, with the same steps in the same order.

    What it adds up are tensors, in one call for all that are on one device; a crew of one returns at once.

    Attributes
    ----------
    place, count
        Which of how many processes this is.
    group, team
        Through which they exchange, and who hears of failures; None for a crew of one.
    """

    place: int = 0
    count: int = 1
    group: dist.ProcessGroup | None = None
    team: Team | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for the crew."""
        return self.place == 0

    def hear(self) -> None:
        """As `Team.hear`."""
        if self.team is not None:
            self.team.hear()

    def sum_(self, *tensors: Tensor) -> None:
        """Add up each tensor over the processes, in place."""
        alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
        for tensor in tensors:
            alike[tensor.device, tensor.dtype].append(tensor)
        for some in alike.values():
            self._sum(some)

    def _sum(self, tensors: list[Tensor]) -> None:
        """Add up tensors of one kind on one device, in one call."""
        if self.team is None or self.count == 1:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        with self.team.hearing_failures():
            dist.all_reduce(flat, group=self.group)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.detach().copy_(total.view_as(tensor))

    def take_first_(self, *tensors: Tensor) -> None:
        """Make each tensor that of the first process, in place."""
        if self.count > 1 and not self.is_first:
            for tensor in tensors:
                tensor.zero_()
        self.sum_(*tensors)

    def all_of(self, value: Any) -> list[Any]:
        """The plain value of every process, in their order, in every process; tensors in it must be on the CPU."""
        if self.team is None or self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        with self.team.hearing_failures():
            dist.all_gather_object(values, value, group=self.group)
        return values

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What the first process makes, in every process; the others do not call `make`; tensors in it must be on the CPU."""
        return self.all_of(make() if self.is_first else None)[0]

    def any_of(self, wish: bool) -> bool:
        """Whether any process wishes so; an exchange of a few bytes."""
        if self.count == 1:
            return bool(wish)
        wishes = torch.tensor([float(wish)])
        self.sum_(wishes)
        return bool(wishes > 0)


ALONE = Crew()


@contextmanager
def joined_team() -> Iterator[Team]:
    """Meet the other processes that torchrun started, if it did; where the block raises, they hear of it.

    Raises
    ------
    UserError
        They cannot be met.
    """
    if (count := int(os.environ.get("WORLD_SIZE") or 1)) <= 1:
        yield Team()
        return
    rank = int(os.environ["RANK"])
    try:
        store, _, _ = next(iter(dist.rendezvous("env://", timeout=LONGEST_MEETING)))
        number = next(_TEAMS)
        store = dist.PrefixStore(f"team{number}", store)  # those of earlier tasks have left their words in it
        store.set(f"here{rank}", "1")
        while number and not store.check(["here0"]):
            time.sleep(LOOK_SECONDS)  # the first process may have done a task by itself since the last one that was shared
        local = int(os.environ.get("LOCAL_RANK", rank)), int(os.environ.get("LOCAL_WORLD_SIZE", count))
        team = _connected(rank, count, store, local=local)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"Process {rank + 1} of {count} cannot reach the others at {os.environ.get('MASTER_ADDR')}:"
            f"{os.environ.get('MASTER_PORT')} ({str(error).splitlines()[0]}); start the job with torchrun, or as one process."
        ) from error
    with _sharing(team):
        yield team


@contextmanager
def accompanied(start_companion: Callable[[Mapping[str, str]], Companion | None], count: int = 2) -> Iterator[Team]:
    """Start further processes of this task, with which it makes a team; where the block raises, they hear of it.

    On a CPU several processes that share its threads are faster than one, in which all would wait for the interpreter.

    Parameters
    ----------
    start_companion
        `RunningJob.start_companion`; where it gives none, this process is a team of one.
    count
        Of the processes, this one included.

    Raises
    ------
    JobFailed
        Another process ends before it is met, or cannot be met on this machine.
    """
    with _meeting():
        local = _local_store(count)
        store = dist.PrefixStore("team0", local)  # as it is the first task of the others
    companions: list[Companion] = []
    try:
        for rank in range(1, count):
            companion = start_companion(_place(rank, count, local.port))
            if companion is None:
                yield Team()
                return
            companions.append(companion)
        _wait_for(companions, store)
        with _meeting(), _variable("GLOO_SOCKET_IFNAME", LOCAL_INTERFACE):
            team = _connected(0, count, store, local=(0, count))
            team.companions = companions
        with _sharing(team):
            yield team
    finally:
        for companion in companions:
            companion.end(SECONDS_TO_LEAVE)


def _place(rank: int, count: int, port: int) -> dict[str, str]:
    """Environment of a process of this machine, as torchrun would make it."""
    ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    return {**ranks, "MASTER_ADDR": LOCAL_ADDRESS, "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": LOCAL_INTERFACE}


def _wait_for(companions: Sequence[Companion], store: dist.Store) -> None:
    """Return when all have come."""
    count = len(companions) + 1
    while not store.check([f"here{rank}" for rank in range(1, count)]):
        for rank, companion in enumerate(companions, start=2):
            if companion.has_ended():
                raise JobFailed(f"{_which(rank, count)} ended before it began to work; run.err or the terminal says why.")
        time.sleep(LOOK_SECONDS / 4)


def _which(number: int, count: int) -> str:
    """Name of a process that this one has started."""
    return "The second process of this job" if count == 2 else f"Process {number} of the {count} of this job"


def _local_store(count: int) -> dist.TCPStore:
    """Store of this process at a free port that only this machine can reach."""
    listening = socket.create_server((LOCAL_ADDRESS, 0))
    port, number = listening.getsockname()[1], listening.detach()  # the store closes it
    return dist.TCPStore(LOCAL_ADDRESS, port, count, is_master=True, wait_for_workers=False, master_listen_fd=number)


@contextmanager
def _meeting() -> Iterator[None]:
    """Put what keeps processes of this machine from meeting into a sentence."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise JobFailed(
            f"The processes of this job cannot meet at {LOCAL_ADDRESS} ({str(error).splitlines()[0]}); set the number of "
            "threads (nr_threads) to 1, and one process does all."
        ) from error


@contextmanager
def _sharing(team: Team) -> Iterator[Team]:
    try:
        yield team
    except BaseException as error:
        team.tell(error)
        raise
    finally:
        dist.destroy_process_group()


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def _connected(rank: int, count: int, store: dist.Store, *, local: tuple[int, int]) -> Team:
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=dist.PrefixStore("group", store),
        rank=rank,
        world_size=count,
        timeout=LONGEST_MEETING,
    )
    _wait_long(dist.group.WORLD)
    return Team(rank, count, *local, dist.PrefixStore("board", store))


def _new_group(ranks: list[int]) -> dist.ProcessGroup:
    group: dist.ProcessGroup = dist.new_group(ranks, timeout=LONGEST_MEETING)
    if dist.get_rank() in ranks:
        _wait_long(group)
    return group


def _wait_long(group: dist.ProcessGroup | None) -> None:
    # torch has no public way to wait for a peer's call longer than for its coming
    dist.distributed_c10d._set_pg_timeout(LONGEST_WAIT, group)


def on_cpu(value: Any) -> Any:
    """Copy of nested dicts and lists with all tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {key: on_cpu(item) for key, item in value.items()}
    return type(value)(on_cpu(item) for item in value) if isinstance(value, list | tuple) else value
