"""Stopwatch, machine speed and tables, for the scripts beside this file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from jobtypes.common.devices import wait_for

clock = time.perf_counter


class Stopwatch:
    """Seconds by part of a program. A part that runs inside another one counts to itself alone.

    Parameters
    ----------
    device
        Waited for at the ends of every part, so that work on a GPU counts where it was asked for.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device
        self._inside: list[float] = []  # seconds of the parts inside each part that runs now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside to a part."""
        self._inside.append(0.0)
        start = now(self._device)
        try:
            yield
        finally:
            took = now(self._device) - start
            self.seconds[name] = self.seconds.get(name, 0.0) + took - self._inside.pop()
            if self._inside:
                self._inside[-1] += took

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Count every call of a function that is an attribute of a module or an object."""
        call = getattr(owner, attribute)

        def timed(*arguments: Any, **keywords: Any) -> Any:
            with self.part(name):
                return call(*arguments, **keywords)

        setattr(owner, attribute, timed)


def now(device: torch.device) -> float:
    """Seconds on the clock, once the device has done what it was asked for."""
    wait_for(device)
    return clock()


def count_processor_time() -> None:
    """Count the seconds of all processors from now on, on a machine that is busy with other work. Does not see a GPU."""
    global clock
    clock = time.process_time


def best_of(times: int, call: Callable[[], Any], device: torch.device | None = None) -> float:
    """Least seconds of several calls: what the machine can do when nobody disturbs it."""
    device = device or torch.device("cpu")
    found = []
    for _ in range(times):
        start = now(device)
        call()
        found.append(now(device) - start)
    return min(found)


def machine_speed(device: torch.device) -> tuple[float, float]:
    """Operations per second of a float32 matrix product, and bytes per second of a copy (read and written)."""
    matrix = torch.randn(1024, 1024, device=device)
    block, other = torch.zeros(2, 1 << 24, device=device)
    matrix @ matrix
    product = best_of(5, lambda: matrix @ matrix, device)
    copy = best_of(5, lambda: other.copy_(block), device)
    return 2 * 1024**3 / product, 2 * block.numel() * 4 / copy


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print left-aligned names and right-aligned numbers."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells))
