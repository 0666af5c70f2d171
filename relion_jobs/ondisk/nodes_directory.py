""".Nodes/: what RELION's browse buttons show. It is a cache: losing it breaks nothing but browsing.

Source: RELION 5: for a node of label ``A.b.c`` an empty file ``.Nodes/A/PATH``, and with depth d > 1 also one under the first d
parts of the label. In PATH the job's name is replaced by its alias.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from relion_jobs.contract.labels import NODES_DIRECTORY, Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk.atomic import disk_error
from relion_jobs.pipeline.graph import Pipeline, Process


def add_entries(project: Path, pipeline: Pipeline, name: str) -> list[str]:
    """Make the entries of a job's input and output nodes.

    An entry is made if the file exists, or if the job that will make it is scheduled. An input gets one under its plain name
    too, as in RELION.

    Returns
    -------
    list
        Paths of outputs that have no entry because the file does not exist.
    """
    missing = []
    for node in pipeline.outputs_of(name):
        if _may_show(project, pipeline, node):
            _touch(project, node, _shown_path(pipeline, node))
        else:
            missing.append(node.path)
    for node in pipeline.inputs_of(name):
        if _may_show(project, pipeline, node):
            _touch(project, node, _shown_path(pipeline, node))
            _touch(project, node, node.path)
    return missing


def remove_entries(project: Path, pipeline: Pipeline, name: str) -> None:
    """Remove the entries of a job's outputs, under its name and its alias, and the directories that this leaves empty.

    Call it with the pipeline as it was: before the job is deleted, or its alias is changed.
    """
    for node in pipeline.outputs_of(name):
        for shown in {_shown_path(pipeline, node), node.path}:
            for entry in _entries(project, node, shown):
                with contextlib.suppress(FileNotFoundError):
                    entry.unlink()
                _remove_empty(entry.parent, project / NODES_DIRECTORY)


def _may_show(project: Path, pipeline: Pipeline, node: Node) -> bool:
    producer = _producer(pipeline, node)
    return (project / node.path).exists() or (producer is not None and producer.status is Status.SCHEDULED)


def _producer(pipeline: Pipeline, node: Node) -> Process | None:
    return next((pipeline.find(name) for name, path in pipeline.output_edges if path == node.path), None)


def _shown_path(pipeline: Pipeline, node: Node) -> str:
    producer = _producer(pipeline, node)
    if producer and producer.alias and node.path.startswith(producer.name):
        return producer.alias + node.path[len(producer.name) :]
    return node.path


def _entries(project: Path, node: Node, shown: str) -> Iterator[Path]:
    """Yield the places of a node; none for a node without a label (RELION 3) or whose entry would lie outside .Nodes."""
    parts = node.label.split(".")
    if not parts[0] or "/" in node.label or Path(shown).is_absolute() or ".." in Path(shown).parts:
        return
    top = os.path.join(os.path.realpath(project), NODES_DIRECTORY)
    for folder in dict.fromkeys((parts[0], ".".join(parts[: max(1, node.depth)]))):
        entry = project / NODES_DIRECTORY / folder / shown
        # a link in .Nodes, or .Nodes itself, may lead elsewhere
        if os.path.realpath(entry).startswith(top + os.sep):
            yield entry


def _touch(project: Path, node: Node, shown: str) -> None:
    for entry in _entries(project, node, shown):
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            entry.touch()
        except OSError as error:
            raise disk_error(error, entry) from error


def _remove_empty(directory: Path, top: Path) -> None:
    with contextlib.suppress(OSError):
        while directory != top:
            directory.rmdir()
            directory = directory.parent
