"""Runs scheduled jobs in the order of their files: the loop around `relion_jobs.pipeline.schedule`."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from relion_jobs.contract.errors import JobFailed, LockTimeout, UnknownJobType, UserError
from relion_jobs.contract.labels import Status
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.project import read_pipeline
from relion_jobs.pipeline.schedule import Decision, decide
from relion_jobs.running.finish import bury_the_dead, notice_ends
from relion_jobs.running.follow import has_ended, settle
from relion_jobs.running.launch import prepare_run
from relion_jobs.running.registry import Registry
from relion_jobs.running.sentences import sentence
from relion_jobs.running.submit import submit

POLL_SECONDS = 0.5


@dataclass
class Scheduler:
    """The jobs of one project that are scheduled, one call of `run` at a time.

    Parameters
    ----------
    project
        Project directory.
    registry
        Job types that may be started; jobs of other types are waited for.
    at_once
        How many jobs may run at once.
    report
        Where sentences go; each is said once.
    """

    project: Path
    registry: Registry
    at_once: int
    report: Callable[[str], None]
    _running: dict[str, subprocess.Popen[bytes] | None] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)
    _all_well: bool = True

    def run(self, sleep: Callable[[float], None] = time.sleep) -> bool:
        """Run until no scheduled job is left that could ever start; True if every one of them succeeded.

        On Ctrl-C the running jobs are asked to stop and waited for.
        """
        try:
            while self.step():
                sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            self._all_well = False
            self._stop(sleep)
        return self._all_well

    def step(self) -> bool:
        """Look once: settle what has ended, start what may start; False when nothing is left to wait for."""
        self._settle()
        notice_ends(self.project)
        for text in bury_the_dead(self.project):
            self.report(text)
        decisions = decide(read_pipeline(self.project), lambda path: (self.project / path).exists())
        waiting = False
        for decision in decisions:
            if decision.action == "never":
                self._all_well = False
                self._tell(decision.process.name, f"{decision.process.name} will not start: {decision.reason}")
            elif decision.action == "wait":
                waiting = True
                self._tell(decision.process.name, f"{decision.process.name} waits: {decision.reason}")
            elif len(self._running) < self.at_once:
                waiting = self._start(decision) or waiting
            else:
                waiting = True
        return waiting or bool(self._running)

    def _start(self, decision: Decision) -> bool:
        """Start a job; True if it is to be waited for."""
        name = decision.process.name
        try:
            launch = prepare_run(self.project, name, self.registry)
            self._running[name] = submit(launch)
        except UnknownJobType:
            self._tell(name, f"{name} is of type {decision.process.label}, which is not ours: waiting for RELION to run it.")
        except LockTimeout as error:
            self._tell(name, f"{name} waits: {sentence(error)}")
        except UserError as error:
            self._tell(name, f"{name} cannot start: {sentence(error)}")
            self._all_well = False
            return False
        else:
            self._tell(name, f"{name} started ({launch.settings.task.title}).")
        return True

    def _settle(self) -> None:
        for name, process in list(self._running.items()):
            directory = JobDirectory(self.project, name)
            if not has_ended(directory, process):
                continue
            del self._running[name]
            try:
                status = settle(directory, process)
            except (JobFailed, UserError) as error:
                status = Status.FAILED
                self.report(sentence(error))
            else:
                self.report(f"{name} {status.lower()}.")
            self._all_well = self._all_well and status == Status.SUCCEEDED

    def _stop(self, sleep: Callable[[float], None]) -> None:
        for name in self._running:
            JobDirectory(self.project, name).request_abort()
            self.report(f"{name} was asked to stop.")
        self._running = {name: process for name, process in self._running.items() if process is not None}
        while self._running:
            sleep(POLL_SECONDS)
            self._settle()

    def _tell(self, name: str, text: str) -> None:
        if self._told.get(name) != text:
            self._told[name] = text
            self.report(text)
