from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobtypes.dynamight.visualization.window import availability


def test_missing_qt_is_said_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "find_spec", lambda name: None)
    sentence = availability.why_no_window()
    assert sentence == "The window needs napari and qtpy and Qt: pip install 'napari[pyqt6]'."


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a display")
def test_a_machine_without_display_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert str(availability.why_no_window()).startswith("There is no display")


@pytest.mark.parametrize(
    ("code", "said", "sentence"),
    [
        (0, "", None),
        (3, "", "The display :7 has no OpenGL; install Mesa's drivers (libgl1-mesa-dri)."),
        (-6, "could not connect to display :7\nmore", "Qt cannot open the display :7: could not connect to display :7."),
    ],
)
def test_what_the_probe_finds_is_said(monkeypatch: pytest.MonkeyPatch, code: int, said: str, sentence: str | None) -> None:
    monkeypatch.setattr(availability, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setenv("DISPLAY", ":7")
    done = subprocess.CompletedProcess([], code, "", said)
    monkeypatch.setattr(availability.subprocess, "run", lambda *words, **settings: done)
    assert availability.why_no_window() == sentence


LACKING = "\tlibQt6Gui.so.6 => /qt/libQt6Gui.so.6 (0x7f)\n\tlibxcb-keysyms.so.1 => not found\n\tlibxcb-icccm.so.4 => not found\n"


def test_the_libraries_that_are_missing_are_named_not_the_one_that_qt_guesses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plugin = tmp_path / "platforms" / "libqxcb.so"
    plugin.parent.mkdir()
    plugin.touch()
    guess = "qt.qpa.plugin: From 6.5.0, xcb-cursor0 or libxcb-cursor0 is needed to load the Qt xcb platform plugin."

    def run(words: list[str], **settings: object) -> subprocess.CompletedProcess[str]:
        if words[-1] == str(plugin):
            return subprocess.CompletedProcess(words, 0, LACKING, "")
        return subprocess.CompletedProcess(words, -6, f"{tmp_path}\n", guess)

    monkeypatch.setattr(availability, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setattr(subprocess, "run", run)
    assert availability.why_no_window() == (
        "The window needs libxcb-icccm.so.4, libxcb-keysyms.so.1 of the system; "
        "on Debian or Ubuntu: sudo apt-get install libxcb-icccm4 libxcb-keysyms1."
    )


def test_a_library_that_qt_itself_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Traceback ...\nImportError: libEGL.so.1: cannot open shared object file: No such file or directory\n"
    monkeypatch.setattr(availability, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setattr(subprocess, "run", lambda words, **settings: subprocess.CompletedProcess(words, 1, "", said))
    assert str(availability.why_no_window()).endswith("sudo apt-get install libegl1.")
