"""The wish to stop a job: RELION's abort mark, SIGTERM and SIGINT, as one flag that tasks poll."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from relion_jobs.contract.errors import JobAborted

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# a look at the mark costs a round trip on a network file system, so not every call of a fast loop looks
LOOK_SECONDS = 0.2


class Interruption:
    """Whether, and why, the job should stop.

    Parameters
    ----------
    abort_mark
        RELION_JOB_ABORT_NOW of the job directory; None: signals only.
    """

    def __init__(self, abort_mark: Path | None) -> None:
        self._abort_mark = abort_mark
        self._reason = ""
        self._looked = float("-inf")
        self._owner = os.getpid()

    @property
    def reason(self) -> str:
        """Why the job should stop; empty while it should not."""
        if not self._reason and self._abort_mark and time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            if self._abort_mark.exists():
                self._reason = f"the abort mark {self._abort_mark.name} was set"
        return self._reason

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Turn the first SIGTERM or SIGINT into `reason`, a second one into JobAborted on the spot."""
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            # a process that the task forked inherited this handler; it should just end
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        name = signal.Signals(number).name
        if self._reason.startswith("SIG"):
            raise JobAborted(f"Stopped at once: {name} came twice.")
        self._reason = f"{name} was received"
