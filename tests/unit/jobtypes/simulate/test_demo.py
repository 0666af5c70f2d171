from __future__ import annotations

from pathlib import Path

import pytest

from jobtypes.simulate import demo


def test_the_last_line_names_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(project: Path, words: list[str]) -> None:
        page = project / "DynaMight/job002/visualization/explore.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.touch()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "_run", run)
    monkeypatch.setattr(demo, "_score", lambda project: 0)
    assert demo.main([]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"Everything in one page: open {tmp_path}/demo/DynaMight/job002/visualization/explore.html in a browser."
