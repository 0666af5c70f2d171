from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from jobtypes.common.small_tables import read_small_tables, write_small_tables
from relion_jobs.contract.errors import BadStarFile, UserError

LOOP = pd.DataFrame({"file": ["maps/a.mrc", "maps/b.mrc"], "state": ["main motion 1, 2 of 3", ""], "rms_A": [0.123456789, 12.0]})
TABLES = {"general": {"word": "better", "gain": 1.23456789, "count": 7, "text": "two words"}, "states": LOOP}


def test_tables_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_small_tables(tmp_path / "x.star", TABLES)
    read = read_small_tables(tmp_path / "x.star", {"general": ("word",), "states": ("file", "rms_A")})
    assert read["general"] == {"word": "better", "gain": 1.23457, "count": 7, "text": "two words"}
    assert read["states"].columns.tolist() == LOOP.columns.tolist()
    assert read["states"]["state"].tolist() == LOOP["state"].tolist()
    assert read["states"]["rms_A"].tolist() == [0.123457, 12.0]


def test_the_same_tables_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_small_tables(tmp_path / "a.star", TABLES)
    monkeypatch.setattr("starfile.writer.package_info", lambda: "# Created at another time")
    write_small_tables(tmp_path / "b.star", TABLES)
    assert (tmp_path / "a.star").read_bytes() == (tmp_path / "b.star").read_bytes()


def test_a_loop_without_rows_comes_back_wherever_it_stands(tmp_path: Path) -> None:
    write_small_tables(tmp_path / "x.star", {"none": LOOP[:0], "states": LOOP, "last": LOOP[:0]})
    read = read_small_tables(tmp_path / "x.star", {"none": ("file",), "last": ("file",)})
    assert [len(table) for table in read.values()] == [0, 2, 0]


def test_texts_stay_texts_where_they_look_like_numbers(tmp_path: Path) -> None:
    write_small_tables(tmp_path / "x.star", {"states": pd.DataFrame({"state": ["007", "1e3"]})})
    assert read_small_tables(tmp_path / "x.star", {}, texts=("state",))["states"]["state"].tolist() == ["007", "1e3"]


@pytest.mark.parametrize("text", ['say "no"', "it's", "cluster #2", "a\tb", "a\nb"])
def test_a_text_that_would_not_come_back_is_refused_and_nothing_is_written(tmp_path: Path, text: str) -> None:
    for table in ({"state": text}, pd.DataFrame({"state": ["a", text]})):
        with pytest.raises(ValueError, match="data_states would hold the text"):
            write_small_tables(tmp_path / "x.star", {"states": table})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no table data_states"),
        (
            "data_states\n\nloop_\n_file #1\n_state #2\nmaps/a.mrc one\nmaps/b.mrc\n",
            r"row 2 of data_states \(line 7\) has 1 values",
        ),
        ('data_states\n\nloop_\n_file #1\n_state #2\nmaps/a.mrc "one\n', "has a quote"),
        ("data_states\n\n_file 'one\n", r"cannot be read as a table \(No closing quotation\)"),
        ("data_states\n\nloop_\n_state #1\none\n", "data_states has no column _file"),
        ("data_states\n\nloop_\n_file #1\n\x00\x01\n", "control character"),
    ],
)
def test_a_damaged_table_is_refused_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "x.star").write_text(text)
    with pytest.raises(BadStarFile, match=rf"x\.star.*{sentence}.*; put back what was written, or delete the file\.$") as caught:
        read_small_tables(tmp_path / "x.star", {"states": ("file",)})
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.star does not exist"):
        read_small_tables(tmp_path / "x.star", {})


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_star_printtable") is None, reason="needs relion_star_printtable")
def test_relion_prints_a_loop_behind_pairs(tmp_path: Path) -> None:
    curve = pd.DataFrame({"rlnSpectralIndex": [0, 1], "rlnFourierShellCorrelation": [1.0, 0.25]})
    write_small_tables(tmp_path / "fsc.star", {"general": {"rlnFinalResolution": 4.5}, "fsc": curve, "states": LOOP})
    words = ["relion_star_printtable", "fsc.star", "data_fsc", "_rlnSpectralIndex", "_rlnFourierShellCorrelation"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [float(word) for word in done.stdout.split()] == [0.0, 1.0, 1.0, 0.25]
