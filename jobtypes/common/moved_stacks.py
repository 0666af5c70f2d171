"""Image stacks that lie elsewhere than their STAR file says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from relion_jobs.contract.errors import UserError

OPTION = "particle_path_prefix"


def moved(star: Path, paths: Sequence[str], prefix: str) -> tuple[str, ...]:
    """Where stacks lie now.

    Parameters
    ----------
    star
        The STAR file, for messages.
    paths
        Stacks as the file names them.
    prefix
        ``OLD=NEW``: a path that begins with the directories OLD begins with NEW instead, others stay; an empty OLD puts NEW
        before every path that is not absolute. Empty: nothing has moved.

    Raises
    ------
    UserError
        `prefix` is of another form, or no path begins with OLD.
    """
    if not prefix:
        return tuple(paths)
    old, equals, new = prefix.partition("=")
    if not equals or not new.strip():
        raise UserError(
            f"Option {OPTION} is '{prefix}'; expected OLD=NEW, the beginning of the paths in the STAR file and the directory "
            "where these stacks lie now."
        )
    before, now = PurePosixPath(os.path.normpath(old.strip() or ".")), PurePosixPath(new.strip())
    names = [PurePosixPath(os.path.normpath(path)) for path in paths]
    places = [
        str(now / name.relative_to(before)) if name.is_relative_to(before) else path
        for name, path in zip(names, paths, strict=True)
    ]
    if not any(name.is_relative_to(before) for name in names):
        raise UserError(
            f"{star}: no image stack has a path that begins with '{old.strip()}' (option {OPTION}, '{prefix}'), the first is "
            f"{paths[0]}; correct OLD, or leave the option out if nothing has moved."
        )
    return tuple(places)
