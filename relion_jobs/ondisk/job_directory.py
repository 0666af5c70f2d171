"""One job directory: marks, notes, output nodes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node


@dataclass(frozen=True)
class JobDirectory:
    """A job directory of a project; `name` is relative to it, with or without final slash."""

    project: Path
    name: str

    @property
    def path(self) -> Path:
        """Absolute directory."""
        raise NotImplementedError

    @property
    def run_out(self) -> Path:
        """What the job says."""
        raise NotImplementedError

    @property
    def run_err(self) -> Path:
        """Warnings and tracebacks."""
        raise NotImplementedError

    def create(self, *, new: bool = False) -> Path:
        """Make the directory; with `new`, refuse one that holds files."""
        raise NotImplementedError

    def marks(self) -> tuple[str, ...]:
        """The RELION_JOB_* files that are there."""
        raise NotImplementedError

    def status_from_marks(self) -> Status | None:
        """What the exit mark says, in RELION's order of preference; None without a mark."""
        raise NotImplementedError

    def clear_marks(self) -> None:
        """Remove all RELION_JOB_* files, as before every launch."""
        raise NotImplementedError

    def write_mark(self, name: str) -> None:
        """Write one mark; an exit mark replaces the others."""
        raise NotImplementedError

    def request_abort(self) -> None:
        """Ask the running job to stop."""
        raise NotImplementedError

    def abort_requested(self) -> bool:
        """True if somebody asked the job to stop."""
        raise NotImplementedError

    def append_note(self, command: str, when: datetime) -> None:
        """Append a launch to note.txt."""
        raise NotImplementedError

    def copy_pipeline(self) -> None:
        """Copy the project's pipeline into the job, as a backup."""
        raise NotImplementedError

    def read_output_nodes(self) -> list[Node]:
        """Nodes of RELION_OUTPUT_NODES.star; empty where there is no such file."""
        raise NotImplementedError

    def add_output_node(self, node: Node) -> None:
        """Add a node to RELION_OUTPUT_NODES.star."""
        raise NotImplementedError

    def link_alias(self, alias: str) -> None:
        """Make the symlink of an alias such as ``DynaMight/my_run/``."""
        raise NotImplementedError

    def unlink_alias(self, alias: str) -> None:
        """Remove the symlink of an alias."""
        raise NotImplementedError
