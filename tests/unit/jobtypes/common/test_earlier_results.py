from __future__ import annotations

from pathlib import Path

from jobtypes.common.earlier_results import set_aside


def test_files_and_folders_keep_their_places_under_a_new_folder(tmp_path: Path) -> None:
    for text in ("first", "second"):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / "file").write_text(text)
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "file").write_text(text)
        folder = set_aside(tmp_path, [tmp_path / "a" / "file", tmp_path / "b", tmp_path / "never_made"])
        assert not (tmp_path / "b").exists()
        assert [(folder / name / "file").read_text() for name in "ab"] == [text, text]
        assert len(list(folder.iterdir())) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "previous_001", "previous_002"]
