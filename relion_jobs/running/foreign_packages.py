"""Packages of other programs that stand in the way of ours: those on PYTHONPATH, and of the account, go before what is installed.

Modules of other programs, which a shell sets up by PYTHONPATH, are of other versions or of another Python. What then fails is an
import, or anything behind it.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parents[2]  # the folder that this program is imported from
_SUFFIXES = (".py", ".so")
_SHOWN = 4  # packages that a sentence names


def foreign_packages(path: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """Say which packages stand in the place of those installed with this program, and how to be rid of them.

    Parameters
    ----------
    path
        Folders in the order in which packages are looked for; None: sys.path.
    environment
        Variables of the process.

    Returns
    -------
    str
        Without a full stop; empty where none do.
    """
    folders = [Path(text) for text in (sys.path if path is None else path) if text]
    own = {Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("platlib")), PACKAGE_ROOT}
    named = {Path(text) for text in environment.get("PYTHONPATH", "").split(os.pathsep) if text} - own
    of_account = {Path(site.getusersitepackages())} - own
    for place, folder in enumerate(folders):
        if folder in named | of_account:
            behind = set[str]().union(*(_packages_in(other) for other in folders[place + 1 :] if other != folder))
            if hidden := sorted(_packages_in(folder) & behind):
                return _sentence(hidden, folder, is_named=folder in named)
    return ""


def _sentence(hidden: list[str], folder: Path, *, is_named: bool) -> str:
    names = ", ".join(hidden[:_SHOWN]) + (f" and {len(hidden) - _SHOWN} more" if len(hidden) > _SHOWN else "")
    origin, remedy = ("PYTHONPATH", "unset PYTHONPATH") if is_named else ("your account", "export PYTHONNOUSERSITE=1")
    return (
        f"{names} of {folder} ({origin}) took the place of what was installed with this program: {remedy} and start it again, "
        "in the script of a queue too"
    )


def _packages_in(folder: Path) -> set[str]:
    """Names that can be imported from a folder; none where it cannot be read."""
    try:
        return {
            entry.name.partition(".")[0]
            for entry in os.scandir(folder)
            if entry.name.endswith(_SUFFIXES) or os.path.isfile(os.path.join(entry.path, "__init__.py"))
        }
    except OSError:
        return set()
