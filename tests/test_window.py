"""Runs the tests of the window, tests/window, on a display of their own: a virtual one with software OpenGL."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# plugins that only these tests use: napari's viewer that checks for leaks, and real mouse events
PLUGINS = ("napari.utils._testsupport", "pytestqt.plugin")


def test_the_window_does_what_it_should(tmp_path: Path) -> None:
    if shutil.which("xvfb-run") is None and os.environ.get("RELION_JOBS_REQUIRE_RELION") != "1":
        pytest.skip("needs xvfb-run: apt-get install xvfb xauth")
    words = ["xvfb-run", "-a", "-s", "-screen 0 1400x900x24", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    words += ["-W", "ignore::DeprecationWarning"]  # of what napari is made of
    words += [word for plugin in PLUGINS for word in ("-p", plugin)]
    settings = {"RELION_JOBS_WINDOW_TESTS": "1", "QT_API": "pyqt6", "NAPARI_CONFIG": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*words, f"--basetemp={tmp_path / 'window'}", "tests/window"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
