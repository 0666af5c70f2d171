"""The words between the runner and a queue: what is known of a job that was handed to one, and how the queue says it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from relion_jobs.contract.labels import EXIT_FAILURE

State = Literal["waits", "runs", "ended", "unknown"]

# a queue serves everybody: our loops look more often than it should be asked
ASK_SECONDS = 3.0
ANSWER_SECONDS = 20.0

# 'Submitted batch job 12' (Slurm), 'Your job 12 ("x") has been submitted' (SGE), 'Job <12> is submitted' (LSF), '12.server' (PBS)
_NUMBER = re.compile(r"(?:^|\b[Jj]ob <?)(\d+)(?![\w:/-])", re.MULTILINE)


@dataclass(frozen=True)
class Standing:
    """How a job stands in its queue.

    Attributes
    ----------
    state
        ``waits``, ``runs``, ``ended``, or ``unknown`` where the queue cannot be asked.
    sentence
        The same for people.
    number
        The job's number in the queue; empty where it is not known.
    reason
        Why it waits, in the queue's word.
    mark
        Exit mark of a job that has ended without leaving one.
    """

    state: State
    sentence: str
    number: str = ""
    reason: str = ""
    mark: str = EXIT_FAILURE


@dataclass(frozen=True)
class QueuedJob:
    """A job whose last launch was handed to a queue.

    Attributes
    ----------
    script
        Its submission script, absolute.
    program
        Name of the program that submitted it, e.g. ``sbatch``; empty where it is not known.
    said
        What the submit command said; None where RELION submitted, which keeps nothing of it.
    launched
        When the launch was written, in seconds since 1970; the submission came after it.
    is_mine
        Whether this user is known to have submitted it.
    is_to_stop
        Whether it has its abort mark.
    """

    script: Path
    program: str = ""
    said: str | None = None
    launched: float = 0.0
    is_mine: bool = False
    is_to_stop: bool = False

    def number(self, pattern: str = "") -> str:
        """Find the job's number in what the submit command said; empty where it says none.

        Parameters
        ----------
        pattern
            Regular expression whose group is the number; empty: as Slurm, PBS, LSF and SGE say it.
        """
        match = (re.compile(pattern, re.MULTILINE) if pattern else _NUMBER).search(self.said or "")
        return match[1] if match else ""


class Queue(Protocol):
    """A queue, as far as queues differ: the number that it gives a job, how it is asked, how it cancels.

    All take a job as RELION's template makes it, by a command that is given the script, so the submission itself is the same.
    """

    def number(self, job: QueuedJob) -> str:
        """Return the number that the queue gave the job when it was submitted; empty where nobody knows it."""

    def standing(self, job: QueuedJob, *, fresh: bool) -> Standing:
        """Ask how the job stands; `fresh`: now, even if the last answer is only seconds old."""

    def cancel_command(self, number: str) -> list[str]:
        """Return the command that cancels the job of that number.

        Raises
        ------
        UserError
            There is none; the message says what to do.
        """


def told(job: QueuedJob, number: str) -> Standing:
    """Return the standing of a job whose queue cannot be asked."""
    if job.said is None:
        return Standing("unknown", "was handed to a queue, which does not tell how it stands", number)
    return Standing("unknown", f"was handed to a queue, which cannot be asked from here and said {shown(job.said)}", number)


def shown(said: str) -> str:
    """Return the last line of what a queue said, in quotation marks."""
    return f"'{said.splitlines()[-1]}'" if said else "nothing"
