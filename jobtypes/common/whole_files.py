"""Files that appear whole or not at all: written beside, synced, moved into place."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from relion_jobs.contract.errors import JobFailed, UserError


@contextmanager
def written_whole(path: Path | str) -> Iterator[Path]:
    """Give a temporary path in the same directory; move what was written there to `path` when the block ends well.

    A reader sees the old file or the new one, never half of one; after an error the old one is untouched. Missing directories
    are made.

    Raises
    ------
    UserError
        No permission to write there, or a directory is in the way.
    JobFailed
        The disk or the quota is full, or another error of the file system.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _sync(temporary)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only the owner may read
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise _sentence(target, error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """Return the file mode mask of this process, without changing it (os.umask would, for a moment, in every thread)."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    return 0o022


def _sentence(target: Path, error: OSError) -> UserError | JobFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JobFailed(
            f"{target} could not be written because the disk is full; make room and continue the job: nothing older was lost."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(
            f"{target} could not be written: no permission in {target.parent}; give yourself write permission there."
        )
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        return UserError(f"{target} could not be written: {error.strerror} ({error.filename}); move what is in the way.")
    return JobFailed(f"{target} could not be written: {error.strerror or error}; nothing older was lost.")
