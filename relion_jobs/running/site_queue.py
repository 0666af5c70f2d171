"""A queue by the commands that site.yaml gives, such as PBS, LSF or SGE."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import EXIT_ABORTED, EXIT_FAILURE
from relion_jobs.ondisk.site import ID, Site
from relion_jobs.running.queue_protocol import ANSWER_SECONDS, ASK_SECONDS, QueuedJob, Standing, State, told

_Answer = tuple[int, str]
# the last answers of this process, so that loops do not burden the queue: command -> time, answer
_answers: dict[tuple[str, ...], tuple[float, _Answer | None]] = {}


@dataclass(frozen=True)
class SiteQueue:
    """The queue whose commands a site gives; of those that it does not give the queue makes no use.

    Attributes
    ----------
    site
        Its ``queue_...`` entries count.
    """

    site: Site

    def number(self, job: QueuedJob) -> str:
        """See `Queue`."""
        return job.number(self.site.queue_id or "")

    def standing(self, job: QueuedJob, *, fresh: bool) -> Standing:
        """See `Queue`."""
        number, command = self.number(job), self.site.queue_status_command
        if not number or not command:
            return told(job, number)
        answer = _ask(with_id(command, number), fresh=fresh)
        state = self._state(answer, number) if answer is not None else "unknown"
        if state == "ended" or (state == "unknown" and answer is not None and self._is_gone(answer, job)):
            mark = EXIT_ABORTED if job.is_to_stop else EXIT_FAILURE
            return Standing("ended", f"job {number} of the queue has ended", number, mark=mark)
        if state == "unknown":
            return told(job, number)
        return Standing(state, f"{state} as job {number} of the queue", number)

    def cancel_command(self, number: str) -> list[str]:
        """See `Queue`."""
        command = self.site.queue_cancel_command
        if not command:
            raise UserError(
                f"Job {number} of the queue cannot be cancelled from here: give queue_cancel_command in site.yaml, such as "
                f"'qdel {ID}', or cancel it by hand."
            )
        words = with_id(command, number)
        return words if words != list(command) else [*words, number]

    def _state(self, answer: _Answer, number: str) -> State:
        """Return what the status command said of the job; ``unknown`` where no pattern is found."""
        patterns: tuple[tuple[State, str | None], ...] = (
            ("waits", self.site.queue_waits),
            ("runs", self.site.queue_runs),
            ("ended", self.site.queue_ended),
        )
        for state, pattern in patterns:
            if pattern and re.search(pattern.replace(ID, re.escape(number)), answer[1], re.MULTILINE):
                return state
        return "unknown"

    def _is_gone(self, answer: _Answer, job: QueuedJob) -> bool:
        """Return True where the exit code says that the queue does not know the job; it may tell a user of his own jobs only."""
        return job.is_mine and answer[0] in self.site.queue_ended_codes


def with_id(command: tuple[str, ...], number: str) -> list[str]:
    """Put the number of a job in the place of ``{id}`` in a command."""
    return [word.replace(ID, number) for word in command]


def _ask(words: list[str], *, fresh: bool) -> _Answer | None:
    """Return exit code and all that the status command says; None where it cannot be run or does not answer."""
    key = tuple(words)
    asked, answer = _answers.get(key, (None, None))
    if fresh or asked is None or time.monotonic() - asked >= ASK_SECONDS:
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=ANSWER_SECONDS,
                check=False,
            )
            answer = (done.returncode, done.stdout)
        except (OSError, subprocess.TimeoutExpired):
            answer = None
        _answers[key] = (time.monotonic(), answer)
    return answer
