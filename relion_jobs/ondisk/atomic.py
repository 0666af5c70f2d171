"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from relion_jobs.contract.errors import UserError

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "your disk quota is used up; free some space and try again",
    errno.EACCES: "you have no permission to write there; ask the owner of the directory",
    errno.EPERM: "you have no permission to write there; ask the owner of the directory",
    errno.EROFS: "the file system is read-only; work on a copy or have it mounted for writing",
    errno.ENOENT: "the directory does not exist; create it first",
    errno.ENOTDIR: "a part of the path is a file, not a directory",
    errno.EISDIR: "there is a directory of that name",
    errno.ENAMETOOLONG: "the name is too long",
}
_READ_REASONS = {
    errno.ENOENT: "there is no such file",
    errno.EACCES: "you have no permission to read it; ask its owner",
    errno.EPERM: "you have no permission to read it; ask its owner",
    errno.EISDIR: "it is a directory",
}


def disk_error(error: OSError, path: Path, verb: str = "write") -> UserError:
    """Return the sentence for an error of the disk.

    Parameters
    ----------
    error
        What the operating system said.
    path
        The file that was meant.
    verb
        What was tried: ``write``, ``read``, ``create``, ``remove``.
    """
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    if verb == "read":
        reason = _READ_REASONS.get(error.errno or 0, reason)
    return UserError(f"Cannot {verb} {path}: {reason}.")


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file beside its place, flush it to the disk and rename it: readers see the old file or the new one, never a part.

    A link is followed; the permissions of a file that is replaced are kept.

    Parameters
    ----------
    path
        File to write or replace; its directory must exist.
    data
        Bytes, or text that is written as UTF-8 (with the odd bytes of names that are not UTF-8 kept).

    Raises
    ------
    UserError
        Disk full, no permission, read-only and so on; the old file is untouched and nothing is left beside it.
    """
    content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    target = Path(os.path.realpath(path))
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), _mode(target))
            os.fsync(file.fileno())
        os.replace(temporary, target)
        temporary = None
        _sync_directory(target.parent)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def _mode(target: Path) -> int:
    """Permissions of the file that is replaced; mkstemp would make every file private to its writer."""
    try:
        return target.stat().st_mode & 0o7777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _sync_directory(directory: Path) -> None:
    """Make the rename itself durable; some network file systems cannot, and then the rename is durable enough."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
