"""The end of a command whose output nobody reads any more, as behind ``| head``: quiet, as that of other programs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

# what a shell says of a program that the signal has ended
EXIT_CODE = 128 + signal.SIGPIPE


def ending_quietly(call: Callable[[], int]) -> int:
    """Run a command and return its exit code; `EXIT_CODE`, without a word, where standard output was closed on the way.

    What the command had started goes on: jobs write into their own files.
    """
    code = None
    try:
        try:
            code = call()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # the interpreter flushes once more at its end, and would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # one that had said all and ended has its own exit code
        return EXIT_CODE if code is None else code
    return code
