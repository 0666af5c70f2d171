"""Times to come, in words."""

from __future__ import annotations


def duration_in_words(seconds: float) -> str:
    """A time to two figures, in a unit that fits: 45 s, 12 min, 3.5 h."""
    for unit, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * unit:
            return f"{two_figures(seconds / unit)} {name}"
    return f"{two_figures(seconds)} s"


def two_figures(value: float) -> str:
    """A number to two figures, or whole."""
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"
