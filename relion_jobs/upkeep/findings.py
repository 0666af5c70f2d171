"""What a check of a project found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes
    ----------
    sentence
        What, and where.
    mend
        Mends it and returns what it did; None where only a person can.
    remedy
        What a person can do, where `mend` is None.
    is_wrong
        False for what is merely worth knowing.
    """

    sentence: str
    mend: Callable[[], str] | None = None
    remedy: str = ""
    is_wrong: bool = True
