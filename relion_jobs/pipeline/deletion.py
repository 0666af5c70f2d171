"""Cutting jobs out of a pipeline and putting them back, pure.

Source: RELION 5 (pipeliner.cpp, ``deleteJobGetNodesAndProcesses``, ``write``, ``importPipeline``). Departure: what is put back
gets its input edges too, which RELION loses because the files of other jobs have no row in deleted_pipeline.star; and a file in
the directory of a job is the job's, though it be no output node, as one of an iteration that another job goes on from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from relion_jobs.pipeline.foreign import ForeignColumn
from relion_jobs.pipeline.graph import Edge, Pipeline, Process, producers, without_processes


@dataclass(frozen=True)
class Cut:
    """A pipeline in two parts.

    Attributes
    ----------
    kept
        What stays.
    removed
        The jobs that go, their outputs, and every edge to either, also those of jobs that stay: deleted_pipeline.star.
    """

    kept: Pipeline
    removed: Pipeline


def dependents(pipeline: Pipeline, names: Iterable[str]) -> tuple[str, ...]:
    """Jobs that use files of the named ones, directly or by way of others, in the order of the pipeline."""
    known = {pipeline.process(name).name for name in names}
    found: set[str] = set()
    producer_of = producers(pipeline)
    users: dict[str, set[str]] = {}
    for path, process in pipeline.input_edges:
        if maker := producer_of(path):
            users.setdefault(maker.name, set()).add(process)
    waiting = list(known)
    while waiting:
        for user in users.get(waiting.pop(), ()):
            if user not in found and user not in known:
                found.add(user)
                waiting.append(user)
    return tuple(process.name for process in pipeline.processes if process.name in found)


def cut(pipeline: Pipeline, names: Iterable[str]) -> Cut:
    """Take jobs, the files they made and all edges to either out of the pipeline; the counter stays."""
    kept = without_processes(pipeline, *names)
    processes = set(kept.processes)
    nodes, inputs, outputs = set(kept.nodes), set(kept.input_edges), set(kept.output_edges)
    removed = Pipeline(
        counter=pipeline.counter,
        processes=tuple(process for process in pipeline.processes if process not in processes),
        nodes=tuple(node for node in pipeline.nodes if node not in nodes),
        input_edges=tuple(edge for edge in pipeline.input_edges if edge not in inputs),
        output_edges=tuple(edge for edge in pipeline.output_edges if edge not in outputs),
        foreign_columns=pipeline.foreign_columns,
    )
    return Cut(kept, removed)


def put_back(pipeline: Pipeline, removed: Pipeline, names: Iterable[str]) -> Pipeline:
    """Add jobs that were cut out, at the end as RELION does, with their files and those edges that have both ends.

    An alias that another job has taken meanwhile is dropped. The counter is raised where it is not above the jobs' numbers.
    """
    wanted = set(names)
    aliases = {process.alias for process in pipeline.processes}
    back = [
        replace(process, alias=None) if process.alias in aliases else process
        for process in removed.processes
        if process.name in wanted
    ]
    known = {process.name for process in (*pipeline.processes, *back)}
    made = {path for process, path in removed.output_edges if process in known}
    nodes = {node.path: node for node in pipeline.nodes}
    for node in removed.nodes:
        if node.path in made or not any(path == node.path for _, path in removed.output_edges):
            nodes.setdefault(node.path, node)
    inputs = [edge for edge in removed.input_edges if edge[0] in nodes and edge[1] in known]
    outputs = [edge for edge in removed.output_edges if edge[0] in known and edge[1] in nodes]
    processes = (*pipeline.processes, *back)
    return replace(
        pipeline,
        counter=max([pipeline.counter, *(process.number + 1 for process in back)]),
        processes=processes,
        nodes=tuple(nodes.values()),
        input_edges=_grouped(processes, (*pipeline.input_edges, *inputs), 1),
        output_edges=_grouped(processes, (*pipeline.output_edges, *outputs), 0),
        foreign_columns=_with_values(pipeline.foreign_columns, removed.foreign_columns),
    )


def _grouped(processes: tuple[Process, ...], edges: tuple[Edge, ...], process_at: int) -> tuple[Edge, ...]:
    order = {process.name: index for index, process in enumerate(processes)}
    return tuple(sorted(dict.fromkeys(edges), key=lambda edge: order.get(edge[process_at], len(order))))


def _with_values(columns: tuple[ForeignColumn, ...], more: tuple[ForeignColumn, ...]) -> tuple[ForeignColumn, ...]:
    """Give the rows that come back the values that they had in columns of others."""
    earlier = {(column.table, column.label): column.values for column in more}
    return tuple(
        replace(column, values=tuple((dict(earlier.get((column.table, column.label), ())) | dict(column.values)).items()))
        for column in columns
    )
