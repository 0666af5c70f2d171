"""Runs a scheme: from its current node along the edges, until it ends, fails or is stopped.

Every step writes scheme.star whole: the current node, the variables and the state of the run change together. A run that dies is
therefore taken up where it was: its job is waited for, started or taken as ended, whichever is true, and never run twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from relion_jobs.contract.errors import JobAborted, LockTimeout, RelionJobsError, UnknownJobType, UserError
from relion_jobs.contract.labels import ABORT_NOW, FINISHED, MARK_OF_STATUS, Status
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.locks import scheme_lock
from relion_jobs.ondisk.owner import Owner
from relion_jobs.ondisk.project import read_pipeline
from relion_jobs.ondisk.site import read_site
from relion_jobs.running.finish import notice_ends
from relion_jobs.running.follow import has_ended, settle
from relion_jobs.running.foreign_jobs import end_of_handed, hand_to_relion
from relion_jobs.running.interruption import Interruption
from relion_jobs.running.launch import prepare_run
from relion_jobs.running.registry import Registry
from relion_jobs.running.relaunch import schedule_unstarted
from relion_jobs.running.sentences import sentence
from relion_jobs.running.submit import submit
from relion_jobs.schemes import scheme_star
from relion_jobs.schemes.mail import send_mail
from relion_jobs.schemes.node_jobs import SchemeJobs, with_noted_job
from relion_jobs.schemes.operator_runner import OperatorRunner
from relion_jobs.schemes.operators import problems
from relion_jobs.schemes.scheme_graph import UNDEFINED, RunState, Scheme

POLL_SECONDS = 0.2


@dataclass
class SchemeRunner:
    """One scheme of a project.

    Attributes
    ----------
    project
        Project directory.
    name
        Scheme, e.g. ``flex``.
    registry
        Job types that may be started.
    report
        Where sentences go.
    """

    project: Path
    name: str
    registry: Registry
    report: Callable[[str], None]
    _scheme: Scheme = field(init=False)
    _former: Owner | None = field(init=False, default=None)
    _interruption: Interruption = field(init=False)

    def run(self) -> Status:
        """Run the scheme and return how it ended; the marks in its directory say the same, as those of a job.

        Ctrl-C, SIGTERM and the abort mark stop it and the job that it runs.

        Raises
        ------
        UserError
            There is no such scheme, something in it is wrong, it is running, or it has reached its exit: nothing was run then.
        """
        scheme = scheme_star.read(self.project, self.name)
        with scheme_lock(self.project, scheme.short_name, f"run {scheme.name}", report=self.report):
            self._scheme = _ready(scheme_star.read(self.project, self.name))
            self._refuse()
            directory = JobDirectory(self.project, self._scheme.name)
            directory.clear_marks()
            self._interruption = Interruption(directory.path / ABORT_NOW)
            with self._interruption.listening():
                status = self._go()
            directory.write_mark(MARK_OF_STATUS[status])
        self.report(f"{self._scheme.name} {status.lower()}.")
        return status

    def _refuse(self) -> None:
        """Refuse a scheme that could not go on."""
        node = self._scheme.current_node
        for text in problems(self._scheme):
            raise UserError(text)
        if node not in self._scheme.operators and node not in self._scheme.jobs:
            raise UserError(f"{self._scheme.name} stands at '{node}', which is none of its nodes; reset it.")
        if node in self._scheme.operators and self._scheme.operators[node].kind == "exit":
            again = f"'relion_jobs scheme reset {self._scheme.short_name}' takes it back to its beginning"
            raise UserError(f"{self._scheme.name} has ended: it stands at {node}; {again}.")

    def _go(self) -> Status:
        old = self._scheme.run
        self._former = Owner.find(old.launcher) if old else None
        self._save(replace(self._scheme, run=replace(old or RunState(""), launcher=str(Owner.this_process()))))
        self.report(f"{self._scheme.name} {'goes on' if old else 'starts'} at {self._scheme.current_node}.")
        try:
            status = self._steps()
            message = "Finished successfully!"
        except LockTimeout:
            # its job may run: whoever runs the scheme next takes it up here
            raise
        except JobAborted as error:
            status, message = Status.ABORTED, f"Stopped: {sentence(error)}"
        except RelionJobsError as error:
            status, message = Status.FAILED, f"Error: {sentence(error)}"
        if status != Status.SUCCEEDED:
            self.report(message)
        # an end is no death: the next run starts its current node anew
        self._save(replace(self._scheme, run=None))
        self._operators().tell_by_mail(self._scheme, f"Scheme: {self._scheme.name}", message + "\n")
        return status

    def _steps(self) -> Status:
        """Go from node to node."""
        while (node := self._scheme.current_node) != UNDEFINED:
            self._check_abort()
            if node in self._scheme.jobs:
                self._job(node)
            else:
                after = self._operators().perform(self._scheme, self._run, node)
                if after is None:
                    break
                self._scheme = replace(after[0], run=after[1])
            # variables, node and state of the run in one write: an operator is carried out once
            self._save(self._scheme.at(self._scheme.next_node()))
        return Status.SUCCEEDED

    @property
    def _run(self) -> RunState:
        assert self._scheme.run is not None
        return self._scheme.run

    def _operators(self) -> OperatorRunner:
        return OperatorRunner(self.project, self.report, self._pause, self._mail)

    def _mail(self, address: str, subject: str, text: str) -> str:
        try:
            return send_mail(read_site(self.project), address, subject, text)
        except UserError as error:
            # the site may have been changed since the scheme began; no scheme fails for an e-mail
            return f"No e-mail '{subject}' to {address}: {error}"

    def _save(self, scheme: Scheme) -> None:
        self._scheme = scheme
        scheme_star.write(scheme, self.project)

    def _check_abort(self) -> None:
        if reason := self._interruption.reason:
            raise JobAborted(f"{reason}.")

    def _pause(self, seconds: float) -> None:
        """Wait, unless the scheme is stopped meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._check_abort()
            time.sleep(min(left, POLL_SECONDS))
        self._check_abort()

    def _job(self, node: str) -> None:
        """Run the job of a node to its end.

        Raises
        ------
        RelionJobsError
            It did not succeed, or could not start.
        """
        jobs = SchemeJobs(self.project, self.registry, self.report, self._pause)
        if self._run.job == UNDEFINED:
            if not self._run.counter:
                self._save(replace(self._scheme, run=replace(self._run, counter=jobs.next_number())))
            name = jobs.schedule(self._scheme, node, self._run.counter)
            self._save(with_noted_job(self._scheme, node, name))
        else:
            self._save(with_noted_job(self._scheme, node, self._run.job))
        name = self._run.job
        status = self._finish(node, JobDirectory(self.project, name))
        if status == Status.ABORTED:
            raise JobAborted(f"{name} of node {node} was aborted.")
        if status != Status.SUCCEEDED:
            raise UserError(f"{name} of node {node} has failed, so {self._scheme.name} ends here; see {name}run.err.")
        self.report(f"{node}: {name} succeeded.")

    def _finish(self, node: str, directory: JobDirectory) -> Status:
        """Start a job that is Scheduled, wait for one that runs, and return how it ended."""
        notice_ends(self.project)
        status = read_pipeline(self.project).process(directory.name).status
        if status == Status.RUNNING and self._former and schedule_unstarted(directory, self._former):
            status = Status.SCHEDULED
        if status in FINISHED:
            self.report(f"{node}: {directory.name} has ended meanwhile.")
            return status
        process = None
        is_handed = False
        if status == Status.SCHEDULED:
            try:
                launch = prepare_run(self.project, directory.name, self.registry, as_defaults=False)
                process = submit(launch)
                self.report(f"{node}: {directory.name} started ({launch.settings.task.title}).")
            except UnknownJobType:
                process = hand_to_relion(self.project, directory.name)
                is_handed = process is not None
                self.report(f"{node}: {directory.name} {'handed to' if is_handed else 'waits for'} RELION, its type is not ours.")
        else:
            self.report(f"{node}: {directory.name} runs already, waiting for it.")
        is_asked = False
        while not has_ended(directory, process):
            status = read_pipeline(self.project).process(directory.name).status
            # a person may have marked a job of an earlier run as finished
            if process is None and status in FINISHED:
                return status
            if self._interruption.reason and not is_asked:
                is_asked = True
                directory.request_abort()
                self.report(f"{self._interruption.reason}: {directory.name} was asked to stop.")
            time.sleep(POLL_SECONDS)
        if is_handed and process is not None:
            return end_of_handed(self.project, directory.name, process)
        return settle(directory, process)


def _ready(scheme: Scheme) -> Scheme:
    """Return the scheme at its beginning where it has come to its end, as RELION does, else as it is."""
    return scheme.at(scheme.start_node) if scheme.current_node == UNDEFINED else scheme


def abort_scheme(project: Path, name: str) -> list[str]:
    """Ask a running scheme, and the job that it runs, to stop; returns sentences. As RELION does, nobody is killed."""
    scheme = scheme_star.read(project, name)
    directories = [JobDirectory(project, scheme.name)]
    node = scheme.jobs.get(scheme.current_node)
    process = read_pipeline(project).find(node.job) if node and node.has_started else None
    if process is not None and process.status == Status.RUNNING:
        directories.append(JobDirectory(project, process.name))
    return _ask(directories)


def _ask(directories: Sequence[JobDirectory]) -> list[str]:
    for directory in directories:
        directory.request_abort()
    return [f"{directory.name} was asked to stop." for directory in directories]
