"""Ends the process by SIGKILL right before the n-th change that it makes to the files below a directory.

Every state that the disk can be in while a program changes it is one of those between two changes, so that n counts the moments
that matter, whatever the speed of the machine.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.chmod", "os.utime", "os.truncate"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def watch(root: str, on_change: Callable[[str, tuple[object, ...]], None]) -> None:
    """Call `on_change(event, arguments)` before each change below `root` and each start of a process, until this process ends."""
    root = os.path.realpath(root) + os.sep

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "subprocess.Popen":
            on_change(event, arguments)
        elif event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES):
            path = arguments[1] if event == "os.symlink" else arguments[0]
            if isinstance(path, (str, bytes, os.PathLike)) and os.path.realpath(os.fsdecode(path)).startswith(root):
                on_change(event, arguments)

    sys.addaudithook(hook)


def killed_mark(root: str) -> str:
    """File beside `root` that tells that the kill took place."""
    return root.rstrip(os.sep) + ".killed"


def kill_at(number: int, root: str) -> None:
    """Arm this process: it ends before its change `number`, counted from 1, and leaves `killed_mark`."""
    count = 0

    def on_change(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        count += 1
        if count == number:
            with open(killed_mark(root), "w"):
                pass
            os.kill(os.getpid(), signal.SIGKILL)

    watch(root, on_change)
