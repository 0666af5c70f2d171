"""The jobs of a scheme: from a node and its job.star in the scheme's directory to a Scheduled job of the project."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from relion_jobs.contract.errors import UnknownJobType, UserError
from relion_jobs.contract.jobtype import JobType
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_star import JobRequest
from relion_jobs.ondisk.names import inside_project
from relion_jobs.ondisk.project import read_pipeline
from relion_jobs.ondisk.site import read_site
from relion_jobs.running.launch import new_job, schedule_continue
from relion_jobs.running.registry import Registry
from relion_jobs.running.settings import new_texts, read_settings
from relion_jobs.schemes import scheme_star
from relion_jobs.schemes.foreign_node_jobs import add_foreign, added_since, schedule_foreign_continue
from relion_jobs.schemes.scheme_graph import CONTINUE, Scheme
from relion_jobs.schemes.texts import fill_in, real_paths

INPUT_WAIT_SECONDS = 50.0  # as RELION: an input on a slow file system may be seen late
_INPUT_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class SchemeJobs:
    """Makes the jobs of schemes.

    Attributes
    ----------
    project
        Project directory.
    registry
        Job types that may be started.
    report
        Where sentences go.
    pause
        Waits that many seconds; raises where the scheme is to stop.
    """

    project: Path
    registry: Registry
    report: Callable[[str], None]
    pause: Callable[[float], None]

    def next_number(self) -> int:
        """Return the number that the next new job gets."""
        return read_pipeline(self.project).counter

    def schedule(self, scheme: Scheme, node: str, counter: int) -> str:
        """Return the Scheduled job that `node` runs next: a new one, or in mode ``continue`` the one that it has.

        Parameters
        ----------
        scheme
            The scheme.
        node
            One of its jobs.
        counter
            Number of the next job when this began: one that a run which died has added since is taken, not a second one.

        Raises
        ------
        UserError
            The job.star of the node is missing or wrong, an input does not come, or RELION does not add a job of its own type.
        """
        node_job = scheme.jobs[node]
        request, job_type = self._request(scheme, node)
        if node_job.has_started and node_job.mode == CONTINUE:
            name = read_pipeline(self.project).process(node_job.job).name
            if job_type is None:
                schedule_foreign_continue(self.project, name, request)
            else:
                schedule_continue(self.project, name, job_type, new_texts(job_type, read_site(self.project)) | request.values)
            return name
        if left := added_since(self.project, counter, request):
            self.report(f"{node}: takes {left}, which an earlier run has added.")
            return left
        if job_type is None:
            return add_foreign(self.project, f"{scheme.name}{node}", request, counter)
        texts = new_texts(job_type, read_site(self.project)) | request.values
        self._await_inputs(node, job_type, texts)
        return new_job(self.project, job_type, texts, as_defaults=False)

    def _request(self, scheme: Scheme, node: str) -> tuple[JobRequest, JobType | None]:
        """Read the job.star of a node, put the values of variables and the directories of jobs in it; None: not our type."""
        request = job_star.read(inside_project(self.project, f"{scheme.name}{node}"))
        try:
            job_type = self.registry.find(request.label)
        except UnknownJobType:
            job_type = None
        kinds = {option.variable: option.kind for option in job_type.options} if job_type else {}
        texts = {}
        for variable, text in request.values.items():
            filled = fill_in(scheme, text, variable, kind=kinds.get(variable, ""))
            texts[variable] = real_paths(scheme, filled, lambda name: scheme_star.read(self.project, name), strict=True)
            if texts[variable] != text:
                self.report(f"{node}: {variable} = {texts[variable]}")
        return replace(request, values=texts), job_type

    def _await_inputs(self, node: str, job_type: JobType, texts: dict[str, str]) -> None:
        values = read_settings(job_type, texts, is_continue=False).values
        deadline = time.monotonic() + INPUT_WAIT_SECONDS
        for path in [one.path for one in job_type.input_nodes(values)]:
            if not (self.project / path).exists():
                self.report(f"{node}: {path} does not exist, waiting for it.")
            while not (self.project / path).exists():
                if time.monotonic() > deadline:
                    raise UserError(f"Gave up on waiting for {path}, the input of node {node}: it does not exist.")
                self.pause(_INPUT_POLL_SECONDS)


def with_noted_job(scheme: Scheme, node: str, name: str) -> Scheme:
    """Return the scheme with `name` as the job that its current node runs."""
    noted = scheme.with_job(node, name)
    return replace(noted, run=replace(noted.run, job=name) if noted.run else None)
