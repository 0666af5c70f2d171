"""Whether a window can be opened here, and if not, why."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from jobtypes.dynamight.visualization.window.system_libraries import missing_libraries, named_as_missing, sentence_about

_NEEDED = {"napari": "napari", "qtpy": "qtpy"}
_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")
_SECONDS = 60
# In a process of its own, since Qt ends the process where it cannot reach the display. It says first where Qt's plugins are.
_PROBE = """
from qtpy.QtCore import QLibraryInfo
print((getattr(QLibraryInfo, "path", None) or QLibraryInfo.location)(QLibraryInfo.PluginsPath), flush=True)
from qtpy.QtGui import QGuiApplication, QOffscreenSurface, QOpenGLContext
application = QGuiApplication([])
context, surface = QOpenGLContext(), QOffscreenSurface()
surface.create()
raise SystemExit(0 if context.create() and context.makeCurrent(surface) else 3)
"""


def why_no_window() -> str | None:
    """One sentence about what is missing for a window on this machine, with the remedy; None where nothing is."""
    return _missing_packages() or _missing_display() or _missing_in_qt()


def _missing_packages() -> str | None:
    missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
    if not any(find_spec(binding) for binding in _BINDINGS):
        missing.append("Qt")
    if not missing:
        return None
    return f"The window needs {' and '.join(missing)}: pip install 'napari[pyqt6]'."


def _missing_display() -> str | None:
    if sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return None
    return "There is no display (DISPLAY is not set; over ssh, log in with ssh -X, or copy the job to a desktop machine)."


def _missing_in_qt() -> str | None:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"The display {os.environ.get('DISPLAY', '')} does not answer."
    if done.returncode == 0:
        return None
    if done.returncode == 3:
        return f"The display {os.environ.get('DISPLAY', '')} has no OpenGL; install Mesa's drivers (libgl1-mesa-dri)."
    # Qt names one library whatever is missing, so it is asked last
    plugin = Path(done.stdout.strip()) / "platforms" / "libqxcb.so"
    if missing := named_as_missing(done.stderr) or (missing_libraries(plugin) if plugin.is_file() else []):
        return sentence_about(missing)
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return f"Qt cannot open the display {os.environ.get('DISPLAY', '')}: {said[0].rstrip('.') if said else 'it gives no reason'}."
