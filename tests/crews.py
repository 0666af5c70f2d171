"""Crews and teams whose members are threads of the test: what they exchange goes through memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Barrier, Lock
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor

from jobtypes.common.team import Crew, Team

Result = TypeVar("Result")
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class ThreadCrew(Crew):
    """One member of a crew of threads; counts what it exchanges."""

    table: list[Any] = field(default_factory=list)
    barrier: Barrier = field(default_factory=lambda: Barrier(1))
    calls: list[int] = field(default_factory=list)

    def all_of(self, value: Any) -> list[Any]:
        self.barrier.wait(PATIENCE_SECONDS)
        self.table[self.place] = value
        self.barrier.wait(PATIENCE_SECONDS)
        return list(self.table)

    def _sum(self, tensors: list[Tensor]) -> None:
        self.calls.append(sum(tensor.numel() * tensor.element_size() for tensor in tensors))
        of_all = self.all_of([tensor.detach().clone() for tensor in tensors])
        for tensor, parts in zip(tensors, zip(*of_all, strict=True), strict=True):
            tensor.detach().copy_(torch.stack(parts).sum(0))


class ThreadTeam(Team):
    """One process of a team of threads, which is split into crews once."""

    def __init__(self, everybody: ThreadCrew, crews: list[list[ThreadCrew]], wishes: list[bool]) -> None:
        super().__init__(everybody.place, everybody.count, everybody.place, everybody.count)
        self._everybody, self._crews, self._wishes = everybody, crews, wishes

    def wants_to_leave(self, here: bool) -> bool:
        self._wishes += [True] if here else []
        return bool(self._wishes)

    def crew(self, parts: int) -> Crew:
        crews = self._crews[: min(parts, self.count)]
        return crews[self.rank % len(crews)][self.rank // len(crews)]

    def meet(self, wants_to_leave: Callable[[], bool]) -> None:
        self._everybody.all_of(None)

    def all_of(self, value: Any) -> list[Any]:
        return self._everybody.all_of(value)

    def gathered(self, part: Mapping[int, Any]) -> dict[int, Any] | None:
        whole = self.merged(part)
        return whole if self.is_first else None

    def from_first(self, make: Callable[[], Any]) -> Any:
        return self.all_of(make() if self.is_first else None)[0]


def crew_of(count: int) -> list[ThreadCrew]:
    table, barrier = [None] * count, Barrier(count)
    return [ThreadCrew(place, count, table=table, barrier=barrier) for place in range(count)]


def work_as_team(count: int, work: Callable[[ThreadTeam], Result]) -> list[Result]:
    """What each process of a team of so many makes; the team has two crews."""
    crews = [crew_of(-(-(count - part) // 2)) for part in range(min(2, count))]
    everybody, wishes = crew_of(count), list[bool]()

    def member(place: int) -> Result:
        try:
            return work(ThreadTeam(everybody[place], crews, wishes))
        except BaseException:
            for crew in (everybody, *crews):
                crew[0].barrier.abort()
            raise

    with seeded_in_turn(), ThreadPoolExecutor(count) as pool:
        return list(pool.map(member, range(count)))


def work_together(count: int, work: Callable[[ThreadCrew], Result]) -> list[Result]:
    """What each of so many members makes, who work side by side."""
    crew = crew_of(count)

    def member(place: int) -> Result:
        try:
            return work(crew[place])
        except BaseException:
            crew[0].barrier.abort()  # nobody waits for this one
            raise

    with seeded_in_turn(), ThreadPoolExecutor(count) as pool:
        return list(pool.map(member, range(count)))


@contextmanager
def seeded_in_turn() -> Iterator[None]:
    """Let threads draw from the global random numbers in turn: processes have some of their own, threads have not."""
    lock, original = Lock(), torch.random.fork_rng

    @contextmanager
    def in_turn(*words: Any, **settings: Any) -> Iterator[None]:
        with lock, original(*words, **settings):
            yield

    with patch("torch.random.fork_rng", in_turn):
        yield
