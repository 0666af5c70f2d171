"""Crews whose members are threads of the test: what they exchange goes through memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Barrier, Lock
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor

from jobtypes.common.team import Crew

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


def work_together(count: int, work: Callable[[ThreadCrew], Result]) -> list[Result]:
    """What each of so many members makes, who work side by side."""
    table, barrier = [None] * count, Barrier(count)

    def member(place: int) -> Result:
        try:
            return work(ThreadCrew(place, count, table=table, barrier=barrier))
        except BaseException:
            barrier.abort()  # nobody waits for this one
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
