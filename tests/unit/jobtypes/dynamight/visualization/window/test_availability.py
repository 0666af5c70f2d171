from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from jobtypes.dynamight.visualization.window import availability


def test_missing_qt_is_said_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "find_spec", lambda name: None)
    sentence = availability.why_no_window()
    assert sentence == "The window needs napari and qtpy and scikit-image and Qt: pip install 'napari[pyqt6]' scikit-image."


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
