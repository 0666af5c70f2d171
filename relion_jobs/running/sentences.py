"""Any exception as one sentence for the person at the keyboard."""

from __future__ import annotations

import errno
import os

from relion_jobs.contract.errors import RelionJobsError
from relion_jobs.running.foreign_packages import foreign_packages

NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)
# longer than paths are
LONGEST_WORD = 300
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# of torch on a CPU, of CUDA, and of its libraries
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")


def sentence(error: BaseException, memory_remedy: str = "") -> str:
    """One line that says what went wrong and, where it is known, the remedy; of little memory that of the task."""
    if isinstance(error, RelionJobsError):
        text = str(error)
    elif _is_little_memory(error):
        other = "or a machine with more memory" if memory_remedy else "take a machine with more memory"
        text = f"Out of memory ({_first_line(error)}); {memory_remedy}{', ' if memory_remedy else ''}{other}."
    elif isinstance(error, OSError):
        text = _about_a_file(error)
    elif isinstance(error, KeyboardInterrupt):
        text = "Interrupted."
    elif isinstance(error, ImportError):
        text = f"A package that this job needs cannot be loaded: {error}{_in_the_way()}."
    elif isinstance(error, SystemExit):
        text = f"The task ended the program with exit code {error.code} instead of returning."
    else:
        text = f"An error inside the program, {type(error).__name__}: {_first_line(error)}; the traceback is in run.err"
        text += f"{_in_the_way()}."
    return printable(" ".join(_short(word) for word in text.split()))


def _is_little_memory(error: BaseException) -> bool:
    """Whether the memory of the machine or of its GPU has run out, as Python and the libraries of a task say it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in OUT_OF_MEMORY)


def _in_the_way() -> str:
    """What may be behind an error that is none of the input: packages of another program."""
    found = foreign_packages()
    return f"; {found}" if found else ""


def _short(word: str) -> str:
    """Leave the middle out of a word that no person reads to its end, such as the value in a damaged file."""
    return word if len(word) <= LONGEST_WORD else f"{word[:80]}...{word[-40:]}"


def printable(text: str) -> str:
    """`text` with escapes in place of control characters and of bytes that are no UTF-8: names in files may hold any.

    A terminal would obey some of them, and fail to show others.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in text)


def _about_a_file(error: OSError) -> str:
    name = f" {error.filename}" if error.filename is not None else ""
    if error.errno in DISK_FULL:
        return f"The disk is full (writing{name or ' a file'}); free some space and continue the job."
    if error.errno in NO_PERMISSION:
        return f"No permission to write or read{name or ' a file'} ({os.strerror(error.errno)}); check its owner and mode."
    if error.errno == errno.ENOENT:
        return f"File{name} does not exist."
    return f"{error.strerror or _first_line(error)}:{name}" if name else f"{error.strerror or _first_line(error)}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
