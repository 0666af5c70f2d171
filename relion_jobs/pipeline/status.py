"""Which status may follow which."""

from __future__ import annotations

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status

FINISHED = (Status.SUCCEEDED, Status.FAILED, Status.ABORTED)

# Running -> Running: a job that died without a mark stays Running for ever and is started again by hand.
# Finished -> finished: RELION's "mark as finished" and "mark as failed".
_MOVES = {
    Status.SCHEDULED: {Status.SCHEDULED, Status.RUNNING, Status.FAILED, Status.ABORTED},
    Status.RUNNING: {Status.RUNNING, *FINISHED},
    Status.SUCCEEDED: set(Status),
    Status.FAILED: set(Status),
    Status.ABORTED: set(Status),
}


def is_allowed(old: Status, new: Status) -> bool:
    """Return True if a job may go from `old` to `new`."""
    return new in _MOVES[old]


def check_move(name: str, old: Status, new: Status) -> None:
    """Raise UserError if job `name` may not go from `old` to `new`."""
    if not is_allowed(old, new):
        allowed = ", ".join(status for status in Status if is_allowed(old, status) and status != old)
        raise UserError(f"{name} is {old} and cannot become {new}; from here it can become {allowed}.")
