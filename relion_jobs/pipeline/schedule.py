"""Which scheduled job may start now, which must wait, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from relion_jobs.contract.labels import Status
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
    producers = {process.name: _producers(pipeline, process) for process in scheduled}
    decisions: dict[str, Decision] = {}
    for process in _in_dependency_order(scheduled, producers):
        decisions[process.name] = _decide_one(pipeline, process, producers, decisions, exists)
    return list(decisions.values())


def _producers(pipeline: Pipeline, process: Process) -> dict[str, Process]:
    """Return the job behind each input path; a job that reads its own files does not wait for itself."""
    found = {node.path: pipeline.producer_of(node.path) for node in pipeline.inputs_of(process.name)}
    return {path: producer for path, producer in found.items() if producer and producer.name != process.name}


def _in_dependency_order(scheduled: list[Process], producers: Mapping[str, Mapping[str, Process]]) -> list[Process]:
    """Sort so that producers come first; the jobs of a cycle stand in the order of the pipeline."""
    waiting = {process.name: process for process in scheduled}
    ordered = []
    while waiting:
        free = [p for p in waiting.values() if not any(producer.name in waiting for producer in producers[p.name].values())]
        # with none free the rest is a cycle and what hangs on it: take those on the cycle, so that the others learn of it
        free = free[:1] or [p for p in waiting.values() if _cycle(p.name, producers)][:1]
        ordered.append(free[0])
        del waiting[free[0].name]
    return ordered


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
    pipeline: Pipeline,
    process: Process,
    producers: Mapping[str, Mapping[str, Process]],
    decisions: Mapping[str, Decision],
    exists: Callable[[str], bool],
) -> Decision:
    if cycle := _cycle(process.name, producers):
        others = " -> ".join([*cycle, process.name])
        return Decision(process, "never", f"it waits for itself: {others}; take one of these inputs away.")
    waits = []
    for node in pipeline.inputs_of(process.name):
        producer = producers[process.name].get(node.path)
        status = producer.status if producer else Status.SUCCEEDED
        if producer and status in (Status.FAILED, Status.ABORTED):
            return Decision(process, "never", f"its input {node.path} comes from {producer.name}, which {_ended(status)}.")
        if producer and producer.name in decisions and decisions[producer.name].action == "never":
            return Decision(process, "never", f"its input {node.path} comes from {producer.name}, which can never start.")
        if producer and status is not Status.SUCCEEDED:
            waits.append(f"it waits for {producer.name}, which is {status} and makes its input {node.path}.")
        elif not exists(node.path):
            waits.append(f"its input {node.path} does not exist yet.")
    return Decision(process, "wait", waits[0]) if waits else Decision(process, "start", "all its inputs are there.")


def _ended(status: Status) -> str:
    return "has failed" if status is Status.FAILED else "was aborted"
