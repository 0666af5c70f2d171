"""Rows and columns of any STAR table."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.star_column import count_rows, read_column

TEXT = """
# version 50001

data_general

_rlnFinalResolution      3.200000
_rlnName                 "map with blanks"


# version 50001

data_optics

loop_
_rlnOpticsGroup #1
1

data_particles

loop_
_rlnImageName #1
_rlnMaxValue #2
# a comment
1@a.mrcs 0.5
'2@it s.mrcs' -1.5
3@c.mrcs 2e3

"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file.star").write_text(TEXT)
    return tmp_path / "file.star"


@pytest.mark.parametrize(("old", "new"), [("_rlnMaxValue #2", "_rlnImageName #2"), ("_rlnName  ", "_rlnFinalResolution  ")])
def test_a_column_that_stands_twice_is_refused_with_its_line(tmp_path, old, new):
    path = tmp_path / "twice.star"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(UserError, match=r"line \d+: column _rln\w+ stands twice"):
        count_rows(path, "particles")


def test_a_column_and_the_value_of_a_list_are_read(path):
    assert read_column(path, "particles", "rlnMaxValue") == ["0.5", "-1.5", "2e3"]
    assert read_column(path, "particles", "rlnImageName")[1] == "2@it s.mrcs"
    assert read_column(path, "general", "rlnName") == ["map with blanks"]


def test_rows_are_counted(path):
    assert [count_rows(path, table) for table in ("particles", "optics", "general")] == [3, 1, 1]


def test_the_only_table_of_an_old_file_is_counted_whatever_its_name(tmp_path):
    (tmp_path / "old.star").write_text("\ndata_\n\nloop_\n_rlnImageName #1\n1@a\n2@a\n")
    assert count_rows(tmp_path / "old.star", "particles") == 2


def test_a_file_of_windows_and_one_without_rows_are_read(tmp_path):
    (tmp_path / "a.star").write_bytes(b"data_x\r\n\r\nloop_\r\n_a #1\r\n1\r\n2\r\n\r\n")
    (tmp_path / "b.star").write_text("data_x\n\nloop_\n_a #1\n\n")
    assert read_column(tmp_path / "a.star", "x", "a") == ["1", "2"]
    assert read_column(tmp_path / "b.star", "x", "a") == []


@pytest.mark.parametrize(
    ("table", "label", "expected"),
    [
        ("movies", "rlnMaxValue", "has no table data_movies; it has general, optics, particles."),
        ("particles", "rlnNix", "table data_particles has no column _rlnNix; it has rlnImageName, rlnMaxValue."),
    ],
)
def test_what_is_not_there_is_named(path, table, label, expected):
    with pytest.raises(UserError) as caught:
        read_column(path, table, label)
    assert expected in str(caught.value)


def test_a_short_row_and_an_open_quote_are_refused_with_their_line(path):
    path.write_text(TEXT.replace("3@c.mrcs 2e3", "3@c.mrcs"))
    with pytest.raises(UserError, match="line 26: 1 values for the 2 columns of data_particles"):
        read_column(path, "particles", "rlnMaxValue")
    path.write_text(TEXT.replace("3@c.mrcs 2e3", "'3@c.mrcs 2e3"))
    with pytest.raises(UserError, match="line 26: the quote that opens"):
        count_rows(path, "particles")


def test_rows_are_counted_without_holding_them(tmp_path):
    with (tmp_path / "big.star").open("w") as file:
        file.write("data_particles\n\nloop_\n_rlnImageName #1\n_rlnX #2\n")
        file.writelines(f"{index:06d}@stack.mrcs 1.5\n" for index in range(100_000))
    tracemalloc.start()
    assert count_rows(tmp_path / "big.star", "particles") == 100_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000
