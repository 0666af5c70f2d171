"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.unfinished import unfinished_path

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "your disk quota is used up; free some space and try again",
    errno.EACCES: "you have no permission to write there; ask the owner of the directory",
    errno.EPERM: "you have no permission to write there; ask the owner of the directory",
    errno.EROFS: "the file system is read-only; work on a copy or have it mounted for writing",
    errno.ENOENT: "the directory does not exist; create it first",
    errno.ENOTDIR: "a part of the path is a file, not a directory; move that file away",
    errno.EEXIST: "a file is in the way; move that file away",
    errno.EISDIR: "there is a directory of that name; move it away",
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


@contextlib.contextmanager
def disk_errors(path: Path, verb: str = "write") -> Iterator[None]:
    """Turn an error of the disk into its sentence, see `disk_error`."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path, verb) from error


@contextlib.contextmanager
def written_whole(path: Path, *, make_directories: bool = False) -> Iterator[Path]:
    """Give a temporary path beside a file; what the block wrote there is flushed to the disk and renamed when it ends well.

    Readers see the old file or the new one, never a part. A link is followed; the permissions of a file that is replaced are
    kept, a new one has those that the umask allows.

    Parameters
    ----------
    path
        File to write or replace.
    make_directories
        Make the directories above it that are missing.

    Raises
    ------
    UserError
        Disk full, no permission, read-only and so on; the old file is untouched and nothing is left beside it.
    """
    target = Path(os.path.realpath(path))
    temporary = unfinished_path(target)
    try:
        if make_directories:
            target.parent.mkdir(parents=True, exist_ok=True)
        # not by tempfile, which makes files that only their writer may read
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield temporary
        with contextlib.suppress(FileNotFoundError):
            temporary.chmod(target.stat().st_mode & 0o7777)
        _sync(temporary)
        os.replace(temporary, target)
        with contextlib.suppress(OSError):
            # some network file systems cannot; then the rename is durable enough
            _sync(target.parent)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file whole or not at all, as `written_whole` does.

    Parameters
    ----------
    path
        File to write or replace; its directory must exist.
    data
        Bytes, or text that is written as UTF-8 (with the odd bytes of names that are not UTF-8 kept).

    Raises
    ------
    UserError
        As `written_whole`.
    """
    content = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def link_whole(link: Path, target: str) -> None:
    """Make a symbolic link, or let one that is there lead elsewhere; at every moment it leads to the old target or the new one.

    Parameters
    ----------
    link
        Where the link is to be.
    target
        Where it leads, relative to the directory of the link, so that both can be moved together.

    Raises
    ------
    UserError
        Something else than a link has that name, or the disk refuses, as one without links does.
    """
    if os.path.lexists(link) and not link.is_symlink():
        raise UserError(f"{link} is to be a link to {target}, but something else has that name; move it away.")
    temporary = unfinished_path(link)
    with disk_errors(link, "create"):
        try:
            os.symlink(target, temporary)
            os.replace(temporary, link)
        finally:
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
