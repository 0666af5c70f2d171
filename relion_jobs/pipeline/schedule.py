"""Which scheduled job may start now, which must wait, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from relion_jobs.pipeline.graph import Pipeline, Process

Action = Literal["start", "wait", "never"]


@dataclass(frozen=True)
class Decision:
    """What to do with one scheduled job.

    Parameters
    ----------
    process
        The job.
    action
        ``start`` now, ``wait`` and ask again, or ``never``: it cannot start unless somebody mends what `reason` says.
    reason
        A sentence for the person who waits.
    """

    process: Process
    action: Action
    reason: str


def decide(pipeline: Pipeline, exists: Callable[[str], bool]) -> list[Decision]:
    """Decide about every scheduled job, in dependency order."""
    raise NotImplementedError
