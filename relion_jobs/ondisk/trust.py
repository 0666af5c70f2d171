"""Files that say what is run on behalf of the user must not be anybody's to write, nor a stranger's."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.atomic import disk_error

_ANYBODY = stat.S_IWOTH


def refuse_writable_by_all(path: Path, what: str) -> None:
    """Refuse a file or folder whose contents decide what is run if every account of the machine may change it.

    Asked of site.yaml, plugin folders and templates of submission scripts. Other files do no harm by what they say: locks are
    only broken when their process is dead, marks are only names, and no value of a STAR file is run.

    Parameters
    ----------
    path
        File or folder; the folder that holds it is looked at too, since whoever may write there can put another file in its
        place (unless it has the sticky bit, as /tmp has).
    what
        What it is, for the message: ``site configuration``.

    Raises
    ------
    UserError
        It is writable by all, or cannot be looked at.
    """
    real = Path(os.path.realpath(path))
    for place in (real, real.parent):
        try:
            mode = place.stat().st_mode
        except OSError as error:
            raise disk_error(error, place, "read") from error
        if mode & _ANYBODY and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
            raise UserError(
                f"The {what} {path} is not used, since every account of this machine may change {place}; "
                f"take that right away first: chmod o-w {place}"
            )


def refuse_strangers(path: Path, what: str, remedy: str) -> None:
    """Refuse a file or folder whose contents decide what is run if it belongs to another account than the caller's or root's.

    Asked of what a project brings along, site.yaml and its plugin folders: whoever looks into somebody else's project must not
    run that person's code by it. What the user named in an environment variable is the user's own choice, and so is a template
    of submission scripts, which job.star names.

    Parameters
    ----------
    path
        File or folder.
    what
        What it is, for the message: ``site configuration``.
    remedy
        How to use it all the same.

    Raises
    ------
    UserError
        It belongs to somebody else, or cannot be looked at.
    """
    try:
        owner = path.stat().st_uid
    except OSError as error:
        raise disk_error(error, path, "read") from error
    if owner not in (os.geteuid(), 0):
        raise UserError(
            f"The {what} {path} is not used, since it belongs to {_name_of(owner)} and would run that person's programs as you; "
            f"if you trust it, {remedy}."
        )


def _name_of(account: int) -> str:
    try:
        return pwd.getpwuid(account).pw_name
    except KeyError:
        return f"account {account}"
