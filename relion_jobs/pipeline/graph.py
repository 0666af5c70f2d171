"""The pipeline of a project: processes, the files between them, and the number of the next job."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.pipeline.alias import full_alias
from relion_jobs.pipeline.foreign import ForeignColumn, ForeignTable

Edge = tuple[str, str]


@dataclass(frozen=True)
class Process:
    """One job.

    Attributes
    ----------
    name
        Job directory with its final slash, e.g. ``DynaMight/job002/``.
    alias
        Second name with directory and final slash, e.g. ``DynaMight/my_run/``; None where there is none.
    label
        Type label, kept as it was read.
    status
        One of RELION's five.
    """

    name: str
    alias: str | None
    label: str
    status: Status

    @property
    def type_directory(self) -> str:
        """Directory that holds the jobs of this type, e.g. ``DynaMight``."""
        return self.name.split("/", 1)[0]

    @property
    def number(self) -> int:
        """Number of the job; 0 where its name has none."""
        digits = self.name.rstrip("/").rpartition("/job")[2]
        return int(digits) if digits.isascii() and digits.isdigit() else 0


@dataclass(frozen=True)
class Pipeline:
    """All jobs of a project and the files between them.

    Attributes
    ----------
    counter
        Number that the next new job gets.
    processes
        In the order of adding.
    nodes
        Files, in the order of adding; a path stands once.
    input_edges
        ``(node path, process name)``, grouped by process.
    output_edges
        ``(process name, node path)``, grouped by process.
    foreign_columns, foreign_tables
        What others wrote in the file.
    """

    counter: int = 1
    processes: tuple[Process, ...] = ()
    nodes: tuple[Node, ...] = ()
    input_edges: tuple[Edge, ...] = ()
    output_edges: tuple[Edge, ...] = ()
    foreign_columns: tuple[ForeignColumn, ...] = ()
    foreign_tables: tuple[ForeignTable, ...] = ()

    def find(self, name_or_alias: str) -> Process | None:
        """Return the process of that name or alias, with or without final slash; None where there is none."""
        wanted = name_or_alias.rstrip("/") + "/"
        for process in self.processes:
            if process.name == wanted:
                return process
        return next((process for process in self.processes if process.alias == wanted), None)

    def process(self, name: str) -> Process:
        """Return the process of that name or alias; UserError where there is none."""
        found = self.find(name)
        if found is None:
            raise UserError(f"The pipeline knows no job {name.rstrip('/')}/; 'relion_jobs status' lists the jobs of the project.")
        return found

    def node(self, path: str) -> Node | None:
        """Return the node of that path; None where there is none."""
        return next((node for node in self.nodes if node.path == path), None)

    def next_job_directory(self, type_directory: str) -> str:
        """Name of the next new job, e.g. ``DynaMight/job003/``; ``job1000`` beyond 999."""
        return f"{type_directory.strip('/')}/job{self.counter:03d}/"

    def inputs_of(self, name: str) -> tuple[Node, ...]:
        """Files that a job reads, in the order of its edges."""
        return self._nodes(path for path, process in self.input_edges if process == name)

    def outputs_of(self, name: str) -> tuple[Node, ...]:
        """Files that a job has made or will make, in the order of its edges."""
        return self._nodes(path for process, path in self.output_edges if process == name)

    def producer_of(self, path: str) -> Process | None:
        """Return the job that makes a file: by its output edge, else the job in whose directory the file lies."""
        for name, node_path in self.output_edges:
            if node_path == path and (found := self.find(name)) is not None:
                return found
        return next((process for process in self.processes if path.startswith(process.name)), None)

    def real_path(self, path: str) -> str:
        """`path` with the alias of a job at its start replaced by the job's name, as node names are stored."""
        for process in self.processes:
            if process.alias and path.startswith(process.alias):
                return process.name + path[len(process.alias) :]
        return path

    def _nodes(self, paths: Iterable[str]) -> tuple[Node, ...]:
        # an edge may name a node that has no row (deleted_pipeline.star has such edges)
        known = {node.path: node for node in self.nodes}
        return tuple(known.get(path, Node(path, "")) for path in paths)


def add_process(pipeline: Pipeline, process: Process, inputs: Iterable[Node] = ()) -> Pipeline:
    """Add a job with its inputs, or replace the row of the same name; a new name raises the counter by one.

    As in RELION, a file that the pipeline knows already keeps its old label, which is often the more specific one, and an
    alias at the start of an input path is replaced by the job's name. The input edges of a job that was there stay.
    """
    if any(known.name == process.name for known in pipeline.processes):
        processes = tuple(process if known.name == process.name else known for known in pipeline.processes)
        pipeline = replace(pipeline, processes=processes)
    else:
        pipeline = replace(pipeline, counter=pipeline.counter + 1, processes=(*pipeline.processes, process))
    inputs = [replace(node, path=pipeline.real_path(node.path)) for node in inputs]
    edges = [(node.path, process.name) for node in inputs]
    pipeline = replace(pipeline, nodes=_with_nodes(pipeline.nodes, inputs))
    return replace(pipeline, input_edges=_with_edges(pipeline, pipeline.input_edges, edges, 1))


def add_outputs(pipeline: Pipeline, name: str, nodes: Iterable[Node]) -> Pipeline:
    """Add output files of a job; those that are its outputs already are left alone."""
    process = pipeline.process(name)
    nodes = [replace(node, path=pipeline.real_path(node.path)) for node in nodes]
    edges = [(process.name, node.path) for node in nodes]
    pipeline = replace(pipeline, nodes=_with_nodes(pipeline.nodes, nodes))
    return replace(pipeline, output_edges=_with_edges(pipeline, pipeline.output_edges, edges, 0))


def with_status(pipeline: Pipeline, name: str, status: Status) -> Pipeline:
    """Set the status of a job; any may follow any, since RELION and people set it too."""
    return _with_process(pipeline, replace(pipeline.process(name), status=Status(status)))


def with_alias(pipeline: Pipeline, name: str, alias: str | None) -> Pipeline:
    """Set the alias of a job, given as ``my_run`` or ``DynaMight/my_run/``; None or an empty text removes it.

    Raises
    ------
    UserError
        The alias breaks RELION's rules or is taken by another job.
    """
    process = pipeline.process(name)
    new = full_alias(alias, process.type_directory) if alias else None
    for other in pipeline.processes:
        if new and other.name != process.name and new in (other.alias, other.name):
            raise UserError(f"The alias {new} belongs to {other.name} already; choose another one.")
    return _with_process(pipeline, replace(process, alias=new))


def producers(pipeline: Pipeline) -> Callable[[str], Process | None]:
    """Return `Pipeline.producer_of`, made ready to be asked for thousands of files."""
    by_name = {process.name: process for process in reversed(pipeline.processes)}
    makers = {path: by_name[name] for name, path in reversed(pipeline.output_edges) if name in by_name}

    def producer_of(path: str) -> Process | None:
        places = (path[: end + 1] for end, letter in enumerate(path) if letter == "/")
        return makers.get(path) or next((by_name[place] for place in places if place in by_name), None)

    return producer_of


def without_processes(pipeline: Pipeline, *names: str) -> Pipeline:
    """Take jobs, the files they made and all edges to either out of the pipeline; the counter stays."""
    gone = {pipeline.process(name).name for name in names}
    producer_of = producers(pipeline)
    known = {
        path: producer_of(path) for path in {node.path for node in pipeline.nodes} | {path for path, _ in pipeline.input_edges}
    }
    lost = {path for path, maker in known.items() if maker and maker.name in gone}
    lost |= {path for process, path in pipeline.output_edges if process in gone}
    return replace(
        pipeline,
        processes=tuple(process for process in pipeline.processes if process.name not in gone),
        nodes=tuple(node for node in pipeline.nodes if node.path not in lost),
        input_edges=tuple(edge for edge in pipeline.input_edges if edge[0] not in lost and edge[1] not in gone),
        output_edges=tuple(edge for edge in pipeline.output_edges if edge[0] not in gone),
    )


def without_nodes(pipeline: Pipeline, *paths: str) -> Pipeline:
    """Take files and their edges out of the pipeline, as marking a job by hand does with outputs that do not exist."""
    gone = set(paths)
    return replace(
        pipeline,
        nodes=tuple(node for node in pipeline.nodes if node.path not in gone),
        input_edges=tuple(edge for edge in pipeline.input_edges if edge[0] not in gone),
        output_edges=tuple(edge for edge in pipeline.output_edges if edge[1] not in gone),
    )


def job_pipeline(process: Process, inputs: Iterable[Node] = (), outputs: Iterable[Node] = ()) -> Pipeline:
    """Make the pipeline of one launch, as job_pipeline.star holds it: only this job, no alias, counter 2."""
    alone = add_process(Pipeline(counter=1), replace(process, alias=None), inputs)
    return add_outputs(alone, process.name, outputs)


def _with_process(pipeline: Pipeline, process: Process) -> Pipeline:
    rows = tuple(process if known.name == process.name else known for known in pipeline.processes)
    return replace(pipeline, processes=rows)


def _with_nodes(nodes: tuple[Node, ...], more: Iterable[Node]) -> tuple[Node, ...]:
    merged = {node.path: node for node in nodes}
    for node in more:
        merged.setdefault(node.path, node)
    return tuple(merged.values())


def _with_edges(pipeline: Pipeline, edges: tuple[Edge, ...], more: Iterable[Edge], process_at: int) -> tuple[Edge, ...]:
    """Merge edges without repeats, grouped by the order of the processes as RELION writes them."""
    order = {process.name: index for index, process in enumerate(pipeline.processes)}
    merged = dict.fromkeys((*edges, *more))
    return tuple(sorted(merged, key=lambda edge: order.get(edge[process_at], len(order))))
