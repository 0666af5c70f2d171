"""What a schedule has done so far, for the one that takes it up after its death, and the file by which it is stopped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.atomic import disk_errors, write_whole

JOURNAL = ".relion_jobs_schedule.json"
# RELION's GUI lists files of this name under "Stop running scheduled jobs" and removes the one that is chosen
RUNNING_MARK = "RUNNING_PIPELINER_default_relion_jobs"


@dataclass(frozen=True)
class Journal:
    """A schedule that is under way.

    Attributes
    ----------
    owner
        Process that runs it, in the words of `relion_jobs.ondisk.owner.Owner`.
    jobs
        Jobs that it runs in each round.
    round, rounds
        The round that runs, from 1, and how many there are.
    wait_minutes
        From the start of one round to the start of the next at least.
    next_start
        When the next round may start, in seconds since 1970.
    is_rescheduling
        Whether the jobs of this round are being set back to Scheduled.
    """

    owner: str
    jobs: tuple[str, ...]
    round: int = 1
    rounds: int = 1
    wait_minutes: float = 0.0
    next_start: float = 0.0
    is_rescheduling: bool = False


def read(project: Path) -> Journal | None:
    """Read the journal of a schedule that died; None where there is none, or where it was stopped since.

    Raises
    ------
    UserError
        It cannot be read.
    """
    path = project / JOURNAL
    if not path.is_file() or not is_wanted(project):
        return None
    with disk_errors(path, "read"):
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    try:
        content = json.loads(text)
        found = Journal(**content | {"jobs": tuple(map(str, content["jobs"]))})
        times = (found.wait_minutes, found.next_start)
        if not (type(found.round) is int and type(found.rounds) is int and all(isinstance(one, int | float) for one in times)):
            raise TypeError
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{path} is damaged; remove it, then 'relion_jobs schedule' begins anew.") from None
    return found


def write(project: Path, journal: Journal) -> None:
    """Write the journal whole."""
    write_whole(project / JOURNAL, json.dumps(asdict(journal)) + "\n")


def begin(project: Path) -> None:
    """Make the file whose removal stops the schedule."""
    with disk_errors(project / RUNNING_MARK):
        (project / RUNNING_MARK).touch()


def is_wanted(project: Path) -> bool:
    """Return False once somebody has removed the file."""
    return (project / RUNNING_MARK).exists()


def stop(project: Path) -> bool:
    """Remove the file; False if there was none."""
    was_there = is_wanted(project)
    with disk_errors(project / RUNNING_MARK, "remove"):
        (project / RUNNING_MARK).unlink(missing_ok=True)
    return was_there


def end(project: Path) -> None:
    """Remove journal and file, since the schedule has ended."""
    stop(project)
    with disk_errors(project / JOURNAL, "remove"):
        (project / JOURNAL).unlink(missing_ok=True)
