"""Which libraries of the system a shared object needs and does not find, and the Debian packages that have them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

_SECONDS = 60
# ldd: "libxcb-icccm.so.4 => not found"; the loader: "libxcb-icccm.so.4: cannot open shared object file"
_MISSING = re.compile(r"(lib[^\s/:]+\.so[.\d]*)(?: => not found|: cannot open shared object file)")
_LOAD = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"


def missing_libraries(shared_object: Path) -> list[str]:
    """Names such as ``libxcb-icccm.so.4`` that a shared object needs, itself or by way of others, and that are not found.

    Asks ``ldd``; where there is none, the loader, which names the first one only.
    """
    ldd = shutil.which("ldd")
    command = [ldd, str(shared_object)] if ldd else [sys.executable, "-c", _LOAD, str(shared_object)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return named_as_missing(done.stdout + done.stderr)


def named_as_missing(text: str) -> list[str]:
    """Libraries that ``ldd`` or the loader names as missing in a text, sorted."""
    return sorted(set(_MISSING.findall(text)))


def debian_package(library: str) -> str:
    """Package that has a library, by the rule of Debian's policy: ``libxcb-icccm.so.4`` is in ``libxcb-icccm4``.

    Source: Debian Policy Manual, section 8.1 (run-time shared libraries).
    """
    name, _, version = library.lower().partition(".so")
    version = version.lstrip(".")
    return f"{name}-{version}" if version and name[-1].isdigit() else name + version


def sentence_about(libraries: list[str]) -> str:
    """Say what is missing, with the command that brings it."""
    packages = " ".join(map(debian_package, libraries))
    return f"The window needs {', '.join(libraries)} of the system; on Debian or Ubuntu: sudo apt-get install {packages}."
