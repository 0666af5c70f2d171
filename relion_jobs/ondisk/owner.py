"""Who holds a lock, as a text that people read and we parse."""

from __future__ import annotations

import os
import re
import socket
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_FORMAT = "%Y-%m-%dT%H:%M:%S%z"
_PATTERN = re.compile(r"process (\d+) on (\S+) since (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4})")


@dataclass(frozen=True)
class Owner:
    """One process.

    Attributes
    ----------
    pid
        Process number.
    host
        Name of its machine.
    since
        Seconds since 1970 when it took the lock.
    """

    pid: int
    host: str
    since: float

    @classmethod
    def this_process(cls) -> Owner:
        """Return the process that calls."""
        return cls(os.getpid(), socket.gethostname(), time.time())

    @classmethod
    def find(cls, text: str) -> Owner | None:
        """Return the owner that a text names; None where it names none, as in a lock that RELION made."""
        match = _PATTERN.search(text)
        if match is None:
            return None
        return cls(int(match[1]), match[2], _seconds(match[3]))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {time.strftime(_FORMAT, time.localtime(self.since))}"

    def is_dead(self) -> bool:
        """Return True only if the process ran on this machine and is gone; of other machines we know nothing."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return _is_zombie(self.pid)

    def is_alive(self) -> bool:
        """Return True only if the process runs on this machine; of other machines we know nothing."""
        return self.host == socket.gethostname() and not self.is_dead()


def ago(since: float) -> str:
    """Return the time since then in words, e.g. ``5 minutes ago``."""
    seconds = max(0, int(time.time() - since))
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            number = seconds // size
            return f"{number} {name}{'s' if number > 1 else ''} ago"
    return f"{seconds} s ago"


def start_of(pid: int) -> str:
    """Return when a process of this machine was started, in ticks of the kernel's clock; empty where that cannot be seen."""
    fields = _fields_of(pid)
    return fields[19] if len(fields) > 19 else ""


def _is_zombie(pid: int) -> bool:
    """Return True for a process that is dead but was never collected, as happens in containers without an init."""
    return _fields_of(pid)[:1] == ["Z"]


def _fields_of(pid: int) -> list[str]:
    """Return what the kernel says about a process, from its state on (see proc(5)); empty where it says nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _seconds(text: str) -> float:
    return datetime.strptime(text, _FORMAT).timestamp()
