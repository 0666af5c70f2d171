"""Commands that a person writes as text, and the words that a program is started with."""

from __future__ import annotations

import shlex

from relion_jobs.contract.errors import UserError


def words_of(text: str, what: str) -> list[str]:
    """Split a command into words, as a shell would, without a shell.

    Parameters
    ----------
    text
        The command.
    what
        What it is, for the message.

    Raises
    ------
    UserError
        There is no command, or a quotation mark is left open.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"The {what} cannot be read: {error} in: {text}") from None
    if not words:
        raise UserError(f"The {what} is empty; name a program.")
    return words
