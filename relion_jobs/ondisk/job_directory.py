"""One job directory: marks, notes, output nodes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from relion_jobs.contract import labels
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import pipeline_star, star
from relion_jobs.ondisk.atomic import disk_errors, write_whole
from relion_jobs.ondisk.names import check_name, inside_project
from relion_jobs.ondisk.star import Table

_OUTPUT_NODES = "output_nodes"


@dataclass(frozen=True)
class JobDirectory:
    """A job directory of a project.

    Attributes
    ----------
    project
        Project directory.
    name
        Relative to it, with or without final slash, e.g. ``DynaMight/job002/``; never an alias.
    """

    project: Path
    name: str

    @property
    def path(self) -> Path:
        """Directory; UserError if the name leaves the project or is one that RELION trips over."""
        return inside_project(self.project, check_name(self.name, "job directory"))

    @property
    def run_out(self) -> Path:
        """What the job says; appended, never truncated."""
        return self.path / labels.RUN_OUT

    @property
    def run_err(self) -> Path:
        """Warnings and tracebacks; appended, never truncated."""
        return self.path / labels.RUN_ERR

    def create(self, *, new: bool = False) -> Path:
        """Make the directory and return it.

        Parameters
        ----------
        new
            Refuse a directory that holds anything: it belongs to a job that the pipeline has forgotten.
        """
        path = self.path
        with disk_errors(path, "create"):
            path.mkdir(parents=True, exist_ok=True)
            if new and any(path.iterdir()):
                raise UserError(f"{path} holds files of a job that the pipeline does not list; move it away and try again.")
        return path

    def marks(self) -> tuple[str, ...]:
        """Return the names of the RELION_JOB_* files that are there."""
        return tuple(name for name in labels.JOB_MARKS if (self.path / name).exists())

    def status_from_marks(self) -> Status | None:
        """Return what the exit mark says, in RELION's order of preference; None without a mark.

        Without one of RELION's, that of the CCP-EM pipeliner counts, if it belongs to the last launch.
        """
        found = (labels.STATUS_OF_MARK[name] for name in self.marks() if name in labels.STATUS_OF_MARK)
        return next(found, None) or self._status_from_ccpem()

    def _status_from_ccpem(self) -> Status | None:
        return next((status for name, status in labels.STATUS_OF_CCPEM_MARK.items() if self._is_of_last_launch(name)), None)

    def is_run_by_ccpem(self) -> bool:
        """Return True if it was the CCP-EM pipeliner that launched the job last; it keeps a record of each of its launches."""
        return self._is_of_last_launch(labels.CCPEM_JOB_INFO)

    def _is_of_last_launch(self, name: str) -> bool:
        """Whether a file is there and no older than job.star, which every launch writes anew."""
        try:
            return (self.path / name).stat().st_mtime_ns >= (self.path / labels.JOB_STAR).stat().st_mtime_ns
        except OSError:
            return False

    def clear_marks(self) -> None:
        """Remove all RELION_JOB_* files, as before every launch, and those of the CCP-EM pipeliner."""
        self._remove_marks((*labels.JOB_MARKS, *labels.STATUS_OF_CCPEM_MARK, labels.CCPEM_ABORT_NOW))

    def write_mark(self, name: str) -> None:
        """Write one RELION_JOB_* file; an exit mark takes the place of the others, so that exactly one is there."""
        if name not in labels.JOB_MARKS:
            raise ValueError(f"{name} is no mark of RELION")
        if name in labels.EXIT_MARKS:
            self._remove_marks(tuple(other for other in labels.EXIT_MARKS if other != name))
        with disk_errors(self.path / name, "write"):
            (self.path / name).touch()

    def request_abort(self) -> None:
        """Ask the running job to stop, as "Abort running" in the GUI does; the CCP-EM pipeliner is asked in its own way."""
        if not self.is_run_by_ccpem():
            self.write_mark(labels.ABORT_NOW)
            return
        with disk_errors(self.path / labels.CCPEM_ABORT_NOW, "write"):
            (self.path / labels.CCPEM_ABORT_NOW).touch()

    def abort_requested(self) -> bool:
        """Return True if somebody asked the job to stop."""
        return any((self.path / name).exists() for name in (labels.ABORT_NOW, labels.CCPEM_ABORT_NOW))

    def append_note(self, command: str, when: datetime) -> None:
        """Append a launch to note.txt, in RELION's words.

        Parameters
        ----------
        command
            The command without redirections.
        when
            Local time of the launch.
        """
        # asctime, not strftime: RELION's date is English whatever the locale
        date = time.asctime(when.timetuple())
        note = f"\n ++++ Executing new job on {date}\n ++++ with the following command(s): \n{command}\n ++++ \n"
        with disk_errors(self.path / labels.NOTE, "write"), (self.path / labels.NOTE).open("ab") as file:
            file.write(note.encode("utf-8", "surrogateescape"))

    def copy_pipeline(self) -> None:
        """Copy the project's pipeline into the job, the backup that RELION tells people to go back to.

        Call it inside `project.edit_pipeline`, or after it for what was written there.
        """
        source = self.project / labels.PIPELINE_STAR
        with disk_errors(source, "read"):
            content = source.read_bytes()
        write_whole(self.path / labels.PIPELINE_STAR, content)

    def read_output_nodes(self) -> list[Node]:
        """Return the nodes of RELION_OUTPUT_NODES.star; empty where there is no such file."""
        path = self.path / labels.OUTPUT_NODES_STAR
        if not path.exists():
            return []
        table = star.read_tables(path).get(_OUTPUT_NODES)
        return pipeline_star.read_nodes(table) if table else []

    def add_output_node(self, node: Node) -> None:
        """Add a node to RELION_OUTPUT_NODES.star, which RELION reads when the job has succeeded.

        The file is written whole or not at all; a path stands once, with the label that was given last.
        """
        check_name(node.path, "output file")
        inside_project(self.project, node.path)
        nodes = {known.path: known for known in self.read_output_nodes()}
        if nodes.get(node.path) == node:
            return
        nodes[node.path] = node
        table = Table(_OUTPUT_NODES, pipeline_star.NODE_COLUMNS, pipeline_star.node_rows(nodes.values()))
        star.write_tables([table], self.path / labels.OUTPUT_NODES_STAR)

    def link_alias(self, alias: str) -> None:
        """Make the symlink of an alias, ``DynaMight/my_run`` -> ``../DynaMight/job002/``; a link of that name is replaced."""
        link = self._alias_link(alias)
        if link.exists() and not link.is_symlink():
            raise UserError(f"{link} is there already and is no alias; choose another alias.")
        with disk_errors(link, "create"):
            link.unlink(missing_ok=True)
            os.symlink(f"../{self.name.rstrip('/')}/", link)

    def unlink_alias(self, alias: str) -> None:
        """Remove the symlink of an alias, if it is one."""
        link = self._alias_link(alias)
        if link.is_symlink():
            with disk_errors(link, "remove"):
                link.unlink()

    def _alias_link(self, alias: str) -> Path:
        # the link itself may point anywhere: only its own place must be in the project
        name = Path(check_name(alias, "alias"))
        return inside_project(self.project, str(name.parent)) / name.name

    def _remove_marks(self, names: tuple[str, ...]) -> None:
        for name in names:
            with disk_errors(self.path / name, "remove"):
                (self.path / name).unlink(missing_ok=True)
