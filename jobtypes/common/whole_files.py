"""Files that appear whole or not at all: for plugins, which reach `relion_jobs.ondisk` through here."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from relion_jobs.ondisk import atomic, unfinished


def written_whole(path: Path | str) -> AbstractContextManager[Path]:
    """Give a temporary path beside `path`, moved there when the block ends well; see `relion_jobs.ondisk.atomic`.

    A reader sees the old file or the new one, never half of one; after an error the old one is untouched. Missing directories
    are made.

    Raises
    ------
    UserError
        The disk or the quota is full, no permission to write there, a directory is in the way, and so on.
    """
    return atomic.written_whole(Path(path), make_directories=True)


def link_whole(link: Path, target: str) -> None:
    """Let a symbolic link lead to `target`, relative to the directory of the link; see `relion_jobs.ondisk.atomic`.

    Raises
    ------
    UserError
        Something else than a link has that name, or the disk refuses.
    """
    atomic.link_whole(link, target)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed writers left in a folder; what others write there just now stays."""
    unfinished.remove_unfinished(folder)
