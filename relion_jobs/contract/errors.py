"""The errors of a job, each a sentence for the person at the keyboard."""

from __future__ import annotations


class RelionJobsError(Exception):
    """Base of every error that is reported as one sentence instead of a traceback."""


class UserError(RelionJobsError):
    """Something that the user can mend: an input, an option, a command, a full disk.

    The message says what, where (file, column, row), the value found, what would be right and the remedy.
    """


class BadStarFile(UserError):
    """A STAR file that cannot be read, with its line."""


class UnknownJobType(UserError):
    """A job type that no plugin declares."""


class LockTimeout(UserError):
    """A lock that somebody else held for too long; the message says who and since when."""


class JobFailed(RelionJobsError):
    """A task that cannot finish for a reason that is not the user's input, such as a NaN loss."""


class JobAborted(RelionJobsError):
    """The user, or a signal, asked the task to stop; its state is on disk."""
