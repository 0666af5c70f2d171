"""A pipeline in which every file has one name; what a name means is for the caller to say, who knows the disk."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import replace

from relion_jobs.contract.nodes import Node
from relion_jobs.pipeline.foreign import ForeignColumn
from relion_jobs.pipeline.graph import Edge, Pipeline, producers


def with_one_name(pipeline: Pipeline, name_of: Callable[[str], str]) -> Pipeline:
    """Give every file of a pipeline the name that it has in the directory of its job, and one of no job that of `name_of`.

    What one job makes as ``X`` and another reads as ``./X`` becomes one node; where both have a label, that of ``X`` stays.

    Parameters
    ----------
    pipeline
        As it was read.
    name_of
        One name for all names of a file, relative to the project.
    """
    producer_of = producers(pipeline)
    names = {path: posixpath.normpath(path) for _, path in pipeline.output_edges if path}
    for path in {node.path for node in pipeline.nodes} | {path for path, _ in pipeline.input_edges}:
        plain = posixpath.normpath(path) if path else ""
        names[path] = plain if not path or path in names or producer_of(plain) else name_of(path)
    if all(path == name for path, name in names.items()):
        return pipeline
    return replace(
        pipeline,
        nodes=_merged(pipeline.nodes, names),
        input_edges=tuple(dict.fromkeys((names[path], process) for path, process in pipeline.input_edges)),
        output_edges=tuple(dict.fromkeys((process, names[path]) for process, path in pipeline.output_edges)),
        foreign_columns=tuple(_renamed(column, names) for column in pipeline.foreign_columns),
    )


def _merged(nodes: tuple[Node, ...], names: dict[str, str]) -> tuple[Node, ...]:
    """Nodes under their names, each once: the one that had its name already, in the place of the first."""
    found = {names[node.path]: replace(node, path=names[node.path]) for node in reversed(nodes)}
    found |= {node.path: node for node in nodes if names[node.path] == node.path}
    return tuple(found[name] for name in dict.fromkeys(names[node.path] for node in nodes))


def _renamed(column: ForeignColumn, names: dict[str, str]) -> ForeignColumn:
    def key_now(key: str | Edge) -> str | Edge:
        return names.get(key, key) if isinstance(key, str) else (names.get(key[0], key[0]), names.get(key[1], key[1]))

    return replace(column, values=tuple((key_now(key), text) for key, text in column.values))
