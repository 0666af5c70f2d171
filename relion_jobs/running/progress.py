"""How far a stage is, in words: done, rate and time left. Pure: the time comes in as an argument."""

from __future__ import annotations

import re
from collections.abc import Mapping

# what a line of progress looks like in run.out, so that a terminal that follows it can show one line that changes
PROGRESS_LINE = re.compile(r"^(?P<stage>.+): \d+/\d+ \S.* \(\d+ %\)")


class ProgressMeter:
    """Rate and time left of the stage that is under way; another stage, or a count that goes back, starts afresh."""

    def __init__(self) -> None:
        self._stage = ""
        self._started = 0.0
        self._done_at_start = 0
        self._done = 0

    def line(self, stage: str, done: int, total: int, unit: str, *, now: float, figures: Mapping[str, float]) -> str:
        """One line, e.g. ``epoch 3: 640/1800 images (36 %), 310 images/s, 4 s left, loss 0.41``.

        Parameters
        ----------
        stage
            What is being done.
        done, total
            How far it is.
        unit
            What is counted, e.g. ``images``.
        now
            Seconds on any steady clock.
        figures
            Shown behind, by name.
        """
        if stage != self._stage or done < self._done:
            self._stage, self._started, self._done_at_start = stage, now, done
        self._done = done
        percent = round(100 * done / total) if total else 100
        parts = [f"{stage}: {done}/{total} {unit} ({percent} %)"]
        seconds, counted = now - self._started, done - self._done_at_start
        if counted and seconds > 0:
            rate = counted / seconds
            parts.append(f"{rate:.3g} {unit}/s")
            parts.append(f"{duration((total - done) / rate)} left" if done < total else f"took {duration(seconds)}")
        parts += [f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items()]
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Say a duration as people say it: ``4 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
