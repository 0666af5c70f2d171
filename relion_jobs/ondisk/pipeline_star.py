"""default_pipeline.star and job_pipeline.star <-> Pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import star
from relion_jobs.ondisk.old_labels import STATUS_OF_NUMBER, node_label, process_label
from relion_jobs.ondisk.star import Table
from relion_jobs.pipeline.foreign import ForeignColumn, ForeignTable
from relion_jobs.pipeline.graph import Edge, Pipeline, Process

NO_ALIAS = "None"

_GENERAL = "pipeline_general"
_PROCESSES = "pipeline_processes"
_NODES = "pipeline_nodes"
_INPUTS = "pipeline_input_edges"
_OUTPUTS = "pipeline_output_edges"

_COUNTER = "rlnPipeLineJobCounter"
_PROCESS_COLUMNS = (
    "rlnPipeLineProcessName",
    "rlnPipeLineProcessAlias",
    "rlnPipeLineProcessTypeLabel",
    "rlnPipeLineProcessStatusLabel",
)
_OLD_TYPE, _OLD_STATUS, _OLD_NODE_TYPE = "rlnPipeLineProcessType", "rlnPipeLineProcessStatus", "rlnPipeLineNodeType"
NODE_COLUMNS = ("rlnPipeLineNodeName", "rlnPipeLineNodeTypeLabel", "rlnPipeLineNodeTypeLabelDepth")
_INPUT_COLUMNS = ("rlnPipeLineEdgeFromNode", "rlnPipeLineEdgeProcess")
_OUTPUT_COLUMNS = ("rlnPipeLineEdgeProcess", "rlnPipeLineEdgeToNode")

_KNOWN_COLUMNS = {
    _GENERAL: (_COUNTER,),
    _PROCESSES: (*_PROCESS_COLUMNS, _OLD_TYPE, _OLD_STATUS),
    _NODES: (*NODE_COLUMNS, _OLD_NODE_TYPE),
    _INPUTS: _INPUT_COLUMNS,
    _OUTPUTS: _OUTPUT_COLUMNS,
}


def read(path: Path) -> Pipeline:
    """Read a pipeline file of RELION 3, 4 or 5; missing tables are empty.

    The integer types and statuses of RELION 3 and the node labels of RELION 4 come back in the words of RELION 5 (node types
    of RELION 3 become ``""``, as there). Tables and columns that we do not know are kept.

    Raises
    ------
    BadStarFile
        The file is damaged, or a status is none of RELION's five; the message names the line.
    """
    tables = star.read_tables(path)
    general = star.require(tables, _GENERAL, path)
    counter = _integer(general, 0, general.column(_COUNTER)[0], _COUNTER)
    empty = {name: Table(name, _KNOWN_COLUMNS[name], ()) for name in _KNOWN_COLUMNS}
    known = {name: tables.get(name, empty[name]) for name in _KNOWN_COLUMNS}
    keys: dict[str, Sequence[str | Edge]] = {
        _GENERAL: [""],
        _PROCESSES: list(known[_PROCESSES].column(_PROCESS_COLUMNS[0])),
        _NODES: list(known[_NODES].column(NODE_COLUMNS[0])),
        _INPUTS: _edges(known[_INPUTS], _INPUT_COLUMNS),
        _OUTPUTS: _edges(known[_OUTPUTS], _OUTPUT_COLUMNS),
    }
    return Pipeline(
        counter=counter,
        processes=tuple(_processes(known[_PROCESSES])),
        nodes=tuple(read_nodes(known[_NODES])),
        input_edges=tuple(_edges(known[_INPUTS], _INPUT_COLUMNS)),
        output_edges=tuple(_edges(known[_OUTPUTS], _OUTPUT_COLUMNS)),
        foreign_columns=tuple(
            ForeignColumn(name, label, tuple(zip(keys[name], known[name].column(label), strict=True)))
            for name in _KNOWN_COLUMNS
            for label in star.columns_besides(known[name], _KNOWN_COLUMNS[name])
        ),
        foreign_tables=tuple(
            ForeignTable(table.name, table.is_loop, table.columns, tuple(tuple(map(str, row)) for row in table.rows))
            for table in tables.values()
            if table.name not in _KNOWN_COLUMNS
        ),
    )


def write(pipeline: Pipeline, path: Path) -> None:
    """Write a pipeline file whole or not at all, byte for byte as RELION 5 would.

    Whoever writes a project's pipeline holds its lock: `project.edit_pipeline`.
    """
    star.write_tables(_tables(pipeline), path)


def read_nodes(table: Table) -> list[Node]:
    """Read a table of nodes: the pipeline's, or the one of RELION_OUTPUT_NODES.star; a depth that is missing is 1."""
    paths = table.column(NODE_COLUMNS[0])
    labels = table.optional_column(NODE_COLUMNS[1], "")
    depths = table.optional_column(NODE_COLUMNS[2], "1")
    return [
        Node(path, node_label(label, table.version), _integer(table, row, depth, NODE_COLUMNS[2]))
        for row, (path, label, depth) in enumerate(zip(paths, labels, depths, strict=True))
    ]


def node_rows(nodes: Iterable[Node]) -> tuple[tuple[str, str, int], ...]:
    """Return the rows of a table of nodes."""
    return tuple((node.path, node.label, node.depth) for node in nodes)


def _processes(table: Table) -> Iterable[Process]:
    names = table.column(_PROCESS_COLUMNS[0])
    aliases = table.optional_column(_PROCESS_COLUMNS[1], NO_ALIAS)
    old_type, old_status = (label in table.columns for label in (_OLD_TYPE, _OLD_STATUS))
    labels = table.column(_PROCESS_COLUMNS[2] if not old_type or _PROCESS_COLUMNS[2] in table.columns else _OLD_TYPE)
    statuses = table.column(_PROCESS_COLUMNS[3] if not old_status or _PROCESS_COLUMNS[3] in table.columns else _OLD_STATUS)
    for row, (name, alias, label, status) in enumerate(zip(names, aliases, labels, statuses, strict=True)):
        is_old = old_type and _PROCESS_COLUMNS[2] not in table.columns
        yield Process(
            name=name,
            alias=None if alias == NO_ALIAS else alias,
            label=process_label(_integer(table, row, label, _OLD_TYPE)) if is_old else label,
            status=_status(table, row, status),
        )


def _status(table: Table, row: int, text: str) -> Status:
    if _PROCESS_COLUMNS[3] not in table.columns:
        number = _integer(table, row, text, _OLD_STATUS)
        if number in STATUS_OF_NUMBER:
            return STATUS_OF_NUMBER[number]
    elif text in tuple(Status):
        return Status(text)
    raise table.bad_row(row, f"the status is '{text}', which makes RELION crash; it must be one of {', '.join(Status)}.")


def _integer(table: Table, row: int, text: str, label: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise table.bad_row(row, f"_{label} is '{text}'; it must be a whole number.") from None


def _edges(table: Table, columns: tuple[str, str]) -> list[Edge]:
    return list(zip(table.column(columns[0]), table.column(columns[1]), strict=True))


def _tables(pipeline: Pipeline) -> Iterable[Table]:
    processes = tuple((p.name, p.alias or NO_ALIAS, p.label, str(p.status)) for p in pipeline.processes)
    ours: list[tuple[Table, tuple[str | Edge, ...]]] = [
        (Table(_GENERAL, (_COUNTER,), ((pipeline.counter,),), is_loop=False), ("",)),
        (Table(_PROCESSES, _PROCESS_COLUMNS, processes), tuple(p.name for p in pipeline.processes)),
        (Table(_NODES, NODE_COLUMNS, node_rows(pipeline.nodes)), tuple(node.path for node in pipeline.nodes)),
        (Table(_INPUTS, _INPUT_COLUMNS, pipeline.input_edges), pipeline.input_edges),
        (Table(_OUTPUTS, _OUTPUT_COLUMNS, pipeline.output_edges), pipeline.output_edges),
    ]
    for table, keys in ours:
        yield _with_foreign_columns(table, keys, pipeline.foreign_columns)
    for foreign in pipeline.foreign_tables:
        yield Table(foreign.name, foreign.columns, foreign.rows, foreign.is_loop)


def _with_foreign_columns(table: Table, keys: tuple[str | Edge, ...], columns: Iterable[ForeignColumn]) -> Table:
    for column in columns:
        if column.table == table.name:
            # in a damaged file two rows may have one name: each keeps its own text
            values: dict[str | Edge, list[str]] = {}
            for key, text in reversed(column.values):
                values.setdefault(key, []).append(text)
            texts = [values[key].pop() if values.get(key) else NO_ALIAS for key in keys]
            rows = tuple((*row, text) for row, text in zip(table.rows, texts, strict=True))
            table = Table(table.name, (*table.columns, column.label), rows, table.is_loop)
    return table
