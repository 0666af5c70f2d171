"""Work in a thread, one piece at a time, with a progress bar and a cancel button. The window stays alive meanwhile."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, Thread
from typing import Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QWidget

from relion_jobs.contract.errors import JobAborted, RelionJobsError
from relion_jobs.contract.running_job import Companion, RunningJob


class BackgroundJob:
    """What a piece of work is given to say how far it is; it looks like a running job, so that any task's work can be done.

    Parameters
    ----------
    job
        The job that the window belongs to.
    stepped
        Called with done and total, from the thread.
    """

    is_continue = True

    def __init__(self, job: RunningJob, stepped: Callable[[int, int], None]) -> None:
        self.project: Path = job.project
        self.directory: Path = job.directory
        self.job, self.stepped, self.cancelled = job, stepped, Event()

    def progress(self, stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        """Move the bar."""
        self.stepped(done, total)

    def check_abort(self) -> None:
        """Stop here if the user wants to, or RELION does."""
        if self.abort_requested():
            raise JobAborted("Cancelled.")

    def abort_requested(self) -> bool:
        """True after a press of Cancel."""
        return self.cancelled.is_set()

    def report(self, sentence: str) -> None:
        """Write one line to run.out."""
        self.job.report(sentence)

    def warn(self, sentence: str) -> None:
        """Write one line to run.err."""
        self.job.warn(sentence)

    def start_companion(self, environment: Mapping[str, str]) -> Companion | None:
        """Start a further process of the job."""
        return self.job.start_companion(environment)

    def add_output(self, path: Path, label: str) -> None:
        """Register an output node of the job."""
        self.job.add_output(path, label)


class _Ends(QObject):
    """Brings what happens in the thread to the window's own."""

    stepped = Signal(int, int)
    finished = Signal(object)
    failed = Signal(object)


class Background(QWidget):
    """Progress bar and cancel button, hidden while there is nothing to do.

    Parameters
    ----------
    job
        The job that the window belongs to.
    say
        Shows a sentence to the user.
    """

    def __init__(self, job: RunningJob, say: Callable[[str], None]) -> None:
        super().__init__()
        self.job, self.say = job, say
        self._thread: Thread | None = None
        self._progress: BackgroundJob | None = None
        self._then: Callable[[Any], None] = lambda result: None
        self._ends = _Ends()
        self._ends.stepped.connect(self._step)
        self._ends.finished.connect(self._finish)
        self._ends.failed.connect(self._fail)
        self.bar, self.cancel_button = QProgressBar(), QPushButton("Cancel")
        self.cancel_button.clicked.connect(self.cancel)
        self.cancel_button.setToolTip("Stop what is being computed; what is shown stays as it is.")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.bar, 1)
        layout.addWidget(self.cancel_button)
        self.setVisible(False)

    @property
    def busy(self) -> bool:
        """True while a piece of work has not been finished."""
        return self._thread is not None

    def run(self, title: str, work: Callable[[BackgroundJob], Any], then: Callable[[Any], None]) -> bool:
        """Start `work` in a thread; its result is given to `then` in the window's thread. False where other work is going on."""
        if self.busy:
            self.say("Something else is being computed; wait for it, or cancel it.")
            return False
        self._progress, self._then = BackgroundJob(self.job, self._ends.stepped.emit), then
        self.bar.setFormat(f"{title}  %p %")
        self.bar.setRange(0, 0)
        self.setVisible(True)
        self._thread = Thread(target=self._work, args=(work, self._progress), daemon=True)
        self._thread.start()
        return True

    def cancel(self) -> None:
        """Ask the work to stop at its next step."""
        if self._progress is not None:
            self._progress.cancelled.set()

    def wait(self) -> None:
        """Cancel the work and wait until its thread has ended: before the window goes."""
        self.cancel()
        if self._thread is not None:
            self._thread.join()

    def _work(self, work: Callable[[BackgroundJob], Any], progress: BackgroundJob) -> None:
        try:
            result = work(progress)
        except BaseException as error:  # noqa: BLE001 - whatever happens in the thread is shown in the window
            self._ends.failed.emit(error)
        else:
            self._ends.finished.emit(result)

    def _step(self, done: int, total: int) -> None:
        self.bar.setRange(0, total)
        self.bar.setValue(done)

    def _finish(self, result: object) -> None:
        then, cancelled = self._then, self._progress is not None and self._progress.cancelled.is_set()
        self._clear()
        if cancelled:
            self.say("Cancelled.")
        else:
            then(result)

    def _fail(self, error: BaseException) -> None:
        self._clear()
        self.say(str(error) if isinstance(error, RelionJobsError | OSError) else f"{type(error).__name__}: {error}")
        if not isinstance(error, RelionJobsError):
            self.job.warn("".join(traceback.format_exception(error)).rstrip())

    def _clear(self) -> None:
        if self._thread is not None:
            self._thread.join()
        self._thread, self._progress = None, None
        self.setVisible(False)
