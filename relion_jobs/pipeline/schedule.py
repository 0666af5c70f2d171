"""Which scheduled job may start now, which must wait, and why."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from relion_jobs.contract.labels import Status
from relion_jobs.pipeline.graph import Pipeline, Process, producers

Action = Literal["start", "wait", "never"]


@dataclass(frozen=True)
class Decision:
    """What to do with one scheduled job.

    Attributes
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
    """Decide about every scheduled job.

    A job starts when all its input files exist and the jobs that make them have Succeeded. It never starts if one of those
    failed, was aborted, can itself never start, or waits for this very job.

    Parameters
    ----------
    pipeline
        All jobs and files.
    exists
        Whether the file of a node path exists.

    Returns
    -------
    list
        One decision per scheduled job; a job stands behind the scheduled jobs that it depends on, and otherwise in the order of
        the pipeline.
    """
    scheduled = [process for process in pipeline.processes if process.status is Status.SCHEDULED]
    inputs: dict[str, list[str]] = {process.name: [] for process in scheduled}
    for path, name in pipeline.input_edges:
        if name in inputs:
            inputs[name].append(path)
    producers = _producers(pipeline, inputs)
    ordered, stuck = _in_dependency_order(scheduled, producers)
    decisions: dict[str, Decision] = {}
    for process in ordered:
        cycle = _cycle(process.name, producers) if process.name in stuck else []
        decisions[process.name] = _decide_one(process, inputs[process.name], cycle, producers[process.name], decisions, exists)
    return list(decisions.values())


def _producers(pipeline: Pipeline, inputs: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Process]]:
    """Return, for each job, the job behind each input path; a job that reads its own files does not wait for itself."""
    producer_of = producers(pipeline)
    found = {name: {path: producer_of(path) for path in paths} for name, paths in inputs.items()}
    return {
        name: {path: producer for path, producer in behind.items() if producer and producer.name != name}
        for name, behind in found.items()
    }


def _in_dependency_order(
    scheduled: list[Process], producers: Mapping[str, Mapping[str, Process]]
) -> tuple[list[Process], set[str]]:
    """Sort so that producers come first, else in the order of the pipeline; also name the jobs that may be on a cycle."""
    place = {process.name: index for index, process in enumerate(scheduled)}
    waits_for = {name: {producer.name for producer in producers[name].values()} & place.keys() for name in place}
    followers: dict[str, list[str]] = {name: [] for name in place}
    for name, needed in waits_for.items():
        for producer in needed:
            followers[producer].append(name)
    free = [index for name, index in place.items() if not waits_for[name]]
    stuck: set[str] = set()
    ordered: list[Process] = []
    left = dict(place)
    while left:
        if not free:
            # the rest is cycles and what hangs on them: take one on a cycle first, so that the others learn of it
            stuck |= left.keys()
            free = [place[next(name for name in left if _cycle(name, producers))]]
        process = scheduled[heapq.heappop(free)]
        ordered.append(process)
        del left[process.name]
        for name in followers[process.name]:
            waits_for[name].discard(process.name)
            if name in left and not waits_for[name]:
                heapq.heappush(free, place[name])
    return ordered, stuck


def _cycle(name: str, producers: Mapping[str, Mapping[str, Process]]) -> list[str]:
    """Return the scheduled jobs from `name` back to itself; empty if it does not depend on itself."""
    came_from = {producer.name: name for producer in producers[name].values()}
    queue = list(came_from)
    while queue:
        current = queue.pop(0)
        if current == name:
            path = [came_from[name]]
            while path[-1] != name:
                path.append(came_from[path[-1]])
            return list(reversed(path))
        for producer in producers.get(current, {}).values():
            if producer.name not in came_from:
                came_from[producer.name] = current
                queue.append(producer.name)
    return []


def _decide_one(
    process: Process,
    inputs: Sequence[str],
    cycle: Sequence[str],
    producers: Mapping[str, Process],
    decisions: Mapping[str, Decision],
    exists: Callable[[str], bool],
) -> Decision:
    if cycle:
        others = " -> ".join([*cycle, process.name])
        return Decision(process, "never", f"it waits for itself: {others}; take one of these inputs away.")
    waits = []
    for path in inputs:
        producer = producers.get(path)
        status = producer.status if producer else Status.SUCCEEDED
        if producer and status in (Status.FAILED, Status.ABORTED):
            return Decision(process, "never", f"its input {path} comes from {producer.name}, which {_ended(status)}.")
        if producer and producer.name in decisions and decisions[producer.name].action == "never":
            return Decision(process, "never", f"its input {path} comes from {producer.name}, which can never start.")
        if producer and status is not Status.SUCCEEDED:
            waits.append(f"it waits for {producer.name}, which is {status} and makes its input {path}.")
        elif not exists(path):
            waits.append(f"its input {path} does not exist yet.")
    return Decision(process, "wait", waits[0]) if waits else Decision(process, "start", "all its inputs are there.")


def _ended(status: Status) -> str:
    return "has failed" if status is Status.FAILED else "was aborted"
