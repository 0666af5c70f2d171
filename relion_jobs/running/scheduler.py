"""Runs scheduled jobs in the order of their files: the loop around `relion_jobs.pipeline.schedule`.

The jobs run in processes of their own and outlive a scheduler that dies. What it was at stands in a journal, so that the next one
takes it up: jobs that run are waited for, a launch that was cut short is made again, rounds that were done are not repeated.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from relion_jobs.contract.errors import JobFailed, LockTimeout, UnknownJobType, UserError
from relion_jobs.contract.labels import FINISHED, Status
from relion_jobs.ondisk import schedule_journal
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.locks import schedule_lock
from relion_jobs.ondisk.owner import Owner
from relion_jobs.ondisk.project import edit_pipeline, read_pipeline
from relion_jobs.ondisk.schedule_journal import Journal
from relion_jobs.pipeline.graph import Pipeline, with_status
from relion_jobs.pipeline.schedule import Decision, decide
from relion_jobs.running.finish import take_stock
from relion_jobs.running.follow import has_ended, settle, termination_as_ctrl_c
from relion_jobs.running.foreign_jobs import PIPELINER, end_of_handed, hand_to_relion
from relion_jobs.running.launch import prepare_run
from relion_jobs.running.limits import Limits, Use, machine_has_gpus, running_here, use_of, why_not_now
from relion_jobs.running.registry import Registry
from relion_jobs.running.relaunch import GRACE_SECONDS, schedule_unstarted
from relion_jobs.running.sentences import sentence
from relion_jobs.running.submit import submit

POLL_SECONDS = 0.5


@dataclass
class Scheduler:
    """The scheduled jobs of one project, one call of `run` at a time.

    Attributes
    ----------
    project
        Project directory.
    registry
        Job types that may be started; jobs of other types are waited for.
    limits
        How many jobs may run at once.
    report
        Where sentences go; each is said once.
    rounds
        How often the jobs are run, as RELION's "repeat".
    wait_minutes
        From the start of one round to the start of the next at least.
    """

    project: Path
    registry: Registry
    limits: Limits
    report: Callable[[str], None]
    rounds: int = 1
    wait_minutes: float = 0.0
    _journal: Journal = field(init=False)
    _running: dict[str, subprocess.Popen[bytes] | None] = field(default_factory=dict)
    _handed: set[str] = field(default_factory=set)
    _told: dict[str, str] = field(default_factory=dict)
    _all_well: bool = True
    _is_stopped: bool = False

    def run(self) -> bool:
        """Run until no scheduled job is left that could ever start; True if every one of them succeeded.

        On Ctrl-C or SIGTERM the running jobs are asked to stop and waited for. After `schedule_journal.stop` nothing more starts.

        Raises
        ------
        LockTimeout
            Another scheduler is at work in the project.
        """
        with schedule_lock(self.project), termination_as_ctrl_c():
            self._begin()
            try:
                while self._round():
                    self._reschedule()
            except KeyboardInterrupt:
                self._all_well = False
                self._stop()
            # an error leaves the journal: the next schedule takes this one up
            schedule_journal.end(self.project)
        return self._all_well

    def _begin(self) -> None:
        """Take up the schedule that died, or begin one."""
        old = schedule_journal.read(self.project)
        owner = str(Owner.this_process())
        if old is None:
            jobs = tuple(process.name for process in read_pipeline(self.project).processes if process.status == Status.SCHEDULED)
            self._journal = Journal(owner, jobs, rounds=self.rounds, wait_minutes=self.wait_minutes, next_start=self._pause_end())
            schedule_journal.begin(self.project)
        else:
            self._journal = replace(old, owner=owner)
            self.wait_minutes = old.wait_minutes
            where = f"round {old.round} of {old.rounds} of " if old.rounds > 1 else ""
            self.report(f"Takes up {where}the schedule of {old.owner}, which has died.")
            self._take_up(Owner.find(old.owner))
        schedule_journal.write(self.project, self._journal)
        if self._journal.is_rescheduling:
            self._set_back()

    def _take_up(self, former: Owner | None) -> None:
        pipeline = read_pipeline(self.project)
        for name in self._journal.jobs:
            process = pipeline.find(name)
            if process is None or process.status != Status.RUNNING:
                continue
            if former and schedule_unstarted(JobDirectory(self.project, name), former):
                self.report(f"{name} had not begun yet.")
            else:
                self._running[name] = None
                self.report(f"{name} still runs.")
        if any(found.status == Status.SCHEDULED for name in self._journal.jobs if (found := pipeline.find(name))):
            # RELION may have been asked to run one of them and takes a moment to begin
            time.sleep(GRACE_SECONDS)
        for text in take_stock(self.project):
            self.report(text)
        for process in read_pipeline(self.project).processes:
            if process.name in self._journal.jobs and process.status in (Status.FAILED, Status.ABORTED):
                self._all_well = False

    def _round(self) -> bool:
        """Run all that can run; True if another round follows."""
        while self._step_unless_locked():
            time.sleep(POLL_SECONDS)
        return self._all_well and not self._is_stopped and self._journal.round < self._journal.rounds

    def _reschedule(self) -> None:
        """Wait for the time of the next round, and set its jobs back to Scheduled."""
        if (seconds := self._journal.next_start - time.time()) > 0:
            self.report(f"Round {self._journal.round + 1} of {self._journal.rounds} starts in {seconds / 60:.1f} minutes.")
        while time.time() < self._journal.next_start and not self._is_stopped:
            time.sleep(min(POLL_SECONDS, max(0.0, self._journal.next_start - time.time())))
            self._look_for_stop()
        if self._is_stopped:
            return
        next_round = self._journal.round + 1
        self._note(replace(self._journal, round=next_round, next_start=self._pause_end(), is_rescheduling=True))
        self._set_back()

    def _pause_end(self) -> float:
        return time.time() + 60 * self.wait_minutes

    def _set_back(self) -> None:
        """Set the jobs of the journal back to Scheduled, all or none, so that it is not done twice after a death."""
        with edit_pipeline(self.project, f"round {self._journal.round} of a schedule", report=self.report) as edit:
            found = [edit.pipeline.find(name) for name in self._journal.jobs]
            done = [process.name for process in found if process is not None and process.status == Status.SUCCEEDED]
            for name in done if len(done) == sum(process is not None for process in found) else ():
                JobDirectory(self.project, name).clear_marks()
                edit.pipeline = with_status(edit.pipeline, name, Status.SCHEDULED)
        self._note(replace(self._journal, is_rescheduling=False))
        self._told.clear()
        self._handed.clear()
        self.report(f"Round {self._journal.round} of {self._journal.rounds}.")

    def _note(self, journal: Journal) -> None:
        self._journal = journal
        schedule_journal.write(self.project, self._journal)

    def _look_for_stop(self) -> None:
        if not self._is_stopped and not schedule_journal.is_wanted(self.project):
            self._is_stopped = True
            self.report("Was asked to stop: starts nothing more.")

    def _step_unless_locked(self) -> bool:
        try:
            return self.step()
        except LockTimeout as error:
            # a program that hangs with the lock is no reason to leave the jobs alone
            self._tell("", sentence(error))
            return True

    def step(self) -> bool:
        """Look once: settle what has ended, start what may start; False when nothing is left to wait for."""
        self._settle()
        for text in take_stock(self.project):
            self.report(text)
        self._look_for_stop()
        if self._is_stopped:
            return bool(self._running)
        pipeline = read_pipeline(self.project)
        waiting = False
        for decision in decide(pipeline, lambda path: (self.project / path).exists()):
            name = decision.process.name
            if name in self._running:
                # RELION was asked to run it and has not begun yet
                continue
            if decision.action == "never":
                self._all_well = False
                self._tell(name, f"{name} will not start: {decision.reason}")
            elif decision.action == "wait":
                waiting = True
                self._tell(name, f"{name} waits: {decision.reason}")
            elif reason := self._full(name, pipeline):
                waiting = True
                self._tell(name, f"{name} waits: {reason}")
            else:
                waiting = self._start(decision) or waiting
        return waiting or bool(self._running)

    def _full(self, name: str, pipeline: Pipeline) -> str:
        """Return why there is no place for a job now; empty where there is."""
        has_gpus = machine_has_gpus()

        def use(job: str) -> Use:
            return use_of(self.project, job, self.registry, has_gpus=has_gpus)

        here = dict.fromkeys([*running_here(self.project, pipeline), *self._running])
        busy = {job: used for job in here if not (used := use(job)).is_queued}
        return why_not_now(self.limits, use(name), busy)

    def _start(self, decision: Decision) -> bool:
        """Start a job; True if it is to be waited for."""
        name = decision.process.name
        if read_pipeline(self.project).process(name).status != Status.SCHEDULED:
            # somebody else was faster, while jobs before this one were started
            return True
        if name not in self._journal.jobs:
            self._note(replace(self._journal, jobs=(*self._journal.jobs, name)))
        try:
            launch = prepare_run(self.project, name, self.registry)
            self._running[name] = submit(launch)
        except UnknownJobType:
            self._hand_over(decision)
        except LockTimeout as error:
            self._tell(name, f"{name} waits: {sentence(error)}")
        except UserError as error:
            self._tell(name, f"{name} cannot start: {sentence(error)}")
            self._all_well = False
            return False
        else:
            self._tell(name, f"{name} started ({launch.settings.title}).")
        return True

    def _hand_over(self, decision: Decision) -> None:
        """Let RELION run a job of its own type, or wait until it does."""
        name = decision.process.name
        about = f"{name} is of type {decision.process.label}, which is not ours"
        if name in self._handed:
            # it was asked once whether there is a relion_pipeliner
            return
        self._handed.add(name)
        process = hand_to_relion(self.project, name)
        if process is None:
            self._tell(name, f"{about}: waiting for RELION to run it.")
            return
        self._running[name] = process
        self._tell(name, f"{about}: handed to {PIPELINER}.")

    def _settle(self) -> None:
        for name, process in list(self._running.items()):
            directory = JobDirectory(self.project, name)
            row = read_pipeline(self.project).find(name)
            # a person may have marked a job that was taken up as finished, or deleted it
            is_over = process is None and (row is None or row.status in FINISHED)
            if not is_over and not has_ended(directory, process):
                continue
            del self._running[name]
            if row is None:
                self.report(f"{name} was deleted.")
                continue
            try:
                if is_over:
                    status = row.status
                elif name in self._handed and process is not None:
                    status = end_of_handed(self.project, name, process)
                else:
                    status = settle(directory, process)
            except (JobFailed, UserError) as error:
                status = Status.FAILED
                self.report(sentence(error))
            else:
                self.report(f"{name} {status.lower()}.")
            self._all_well = self._all_well and status == Status.SUCCEEDED

    def _stop(self) -> None:
        for name in self._running:
            JobDirectory(self.project, name).request_abort()
            self.report(f"{name} was asked to stop.")
        self._running = {name: process for name, process in self._running.items() if process is not None}
        while self._running:
            time.sleep(POLL_SECONDS)
            self._settle()

    def _tell(self, name: str, text: str) -> None:
        if self._told.get(name) != text:
            self._told[name] = text
            self.report(text)
