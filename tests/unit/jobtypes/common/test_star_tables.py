from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from jobtypes.common import star_tables
from jobtypes.common.star_tables import read_tables, split_row
from relion_jobs.contract.errors import BadStarFile, UserError

TWO_LOOPS = """# version 50001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
1 "group one"
2 ""

# version 50001

data_particles

loop_
_rlnImageName #1
_rlnAngleRot #2
1@a's.mrcs   1.5e-3
2@"b.mrcs\t-7
"""


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "x.star"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("tail", ["", "\n", "\n\n\n# end\n"])
def test_loops_are_read_with_quotes_and_either_end_of_line(tmp_path: Path, ends: str, tail: str) -> None:
    text = (TWO_LOOPS.rstrip("\n") + tail).replace("\n", ends)
    tables = read_tables(write(tmp_path, text))
    assert tables["optics"].read(texts=("rlnOpticsGroupName",))["rlnOpticsGroupName"].tolist() == ["group one", ""]
    values = tables["particles"].read(numbers=("rlnAngleRot",), texts=("rlnImageName",))
    assert values["rlnAngleRot"].tolist() == [1.5e-3, -7]
    assert values["rlnImageName"].tolist() == ["1@a's.mrcs", '2@"b.mrcs']


def test_a_list_of_pairs_is_a_table_of_one_row(tmp_path: Path) -> None:
    tables = read_tables(write(tmp_path, "data_general\n\n_rlnA #1 3\n_rlnB two\n".replace(" #1", "")))
    assert tables["general"].columns == ("rlnA", "rlnB")
    assert tables["general"].read(numbers=("rlnA",))["rlnA"].tolist() == [3]


@pytest.mark.parametrize("row", ["1@a.mrcs", "1@a.mrcs 2 3", '1@a.mrcs "2 3" 4'])
def test_a_ragged_row_is_named_with_its_line(tmp_path: Path, row: str) -> None:
    text = TWO_LOOPS.replace('2@"b.mrcs\t-7', row)
    line = text.splitlines().index(row) + 1
    with pytest.raises(BadStarFile, match=rf"row 2 of data_particles \(line {line}\) has \d values; expected 2"):
        read_tables(write(tmp_path, text))


@pytest.mark.parametrize("value", ['"b.mrcs', '"', '"a"b"'])
def test_a_quote_that_is_not_closed_is_named_with_its_line(tmp_path: Path, value: str) -> None:
    text = TWO_LOOPS.replace('2@"b.mrcs', value)
    with pytest.raises(BadStarFile, match=r"row 2 of data_particles \(line 19\) has a quote \(\"\) that is not closed"):
        read_tables(write(tmp_path, text))


def test_rows_are_found_alike_in_chunks_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "".join(f"{i}@stack_{'x' * (i % 7)}.mrcs {i / 3}\n" for i in range(200))
    path = write(tmp_path, "data_particles\nloop_\n_rlnImageName\n_rlnAngleRot\n" + rows + "\ndata_more\nloop_\n_a\n1\n")
    whole = read_tables(path)
    monkeypatch.setattr(star_tables, "_FIRST_CHUNK", 5)
    monkeypatch.setattr(star_tables, "_LARGEST_CHUNK", 60)
    pieces = read_tables(path)
    assert list(pieces) == ["particles", "more"]
    assert np.array_equal(pieces["particles"].starts, whole["particles"].starts)
    assert len(pieces["particles"]) == 200
    assert pieces["particles"].row(199) == rows.splitlines()[-1].encode()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hello\n", "line 1 belongs to no table: 'hello'"),
        ("loop_\n_a\n1\n", "line 1 opens a table before any data_ line"),
        ("data_x\nloop_\n_a\n1\n\ndata_x\nloop_\n_a\n1\n", "data_x occurs twice, again in line"),
        ("data_x\nloop_\n_a\n1\n\n2\n", "line 6 belongs to no table"),
        ("data_x\n_a\n", "line 2 gives no value for _a"),
    ],
)
def test_what_is_no_star_file_is_refused_with_the_line(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(BadStarFile, match=sentence):
        read_tables(write(tmp_path, text))


def test_an_empty_file_has_no_tables(tmp_path: Path) -> None:
    assert read_tables(write(tmp_path, "")) == {}


def test_a_loop_without_rows_reads_as_empty_columns(tmp_path: Path) -> None:
    table = read_tables(write(tmp_path, "data_x\n\nloop_\n_a\n_b\n"))["x"]
    assert len(table) == 0
    assert table.read(numbers=("a",), texts=("b",))["a"].shape == (0,)


def test_a_missing_file_and_a_directory_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_tables(tmp_path / "no.star")
    with pytest.raises(UserError, match="cannot be read"):
        read_tables(tmp_path)


def test_binary_rubbish_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadStarFile):
        read_tables(write(tmp_path, bytes(range(256)) * 40))


@pytest.mark.parametrize("strange", ["\0", "\r", "\x0c"])
def test_a_control_character_is_named_with_its_line(tmp_path: Path, strange: str) -> None:
    with pytest.raises(BadStarFile, match="line 18 holds the control character"):
        read_tables(write(tmp_path, TWO_LOOPS.replace("   1.5e-3", strange + " 1.5e-3")))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("_rlnAngleRot #2", "_rlnImageName #2"),
        ("_rlnAngleRot #2\n1@a's.mrcs ", "_rlnAngleRot #2\n_rlnAngleRot #3\n1@a's.mrcs 7 "),
        ("_rlnOpticsGroupName #2", "_rlnOpticsGroup"),
        ("data_optics\n", "data_optics\n\n_a 1\n_b 2\n_a 1\n"),
    ],
)
def test_a_column_that_stands_twice_is_refused_as_relion_does(tmp_path: Path, old: str, new: str) -> None:
    assert old in TWO_LOOPS
    with pytest.raises(BadStarFile, match=r"column _\w+ stands twice in data_\w+, again in line \d+"):
        read_tables(write(tmp_path, TWO_LOOPS.replace(old, new)))


@pytest.mark.parametrize("start", ["# version 50001", "data_optics", "\n\ndata_optics", "data_general\n\n_a 1\n\ndata_optics"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_byte_order_mark_is_passed_over(tmp_path: Path, start: str, ends: str) -> None:
    text = (start + TWO_LOOPS[TWO_LOOPS.index("data_optics") + len("data_optics") :]) if "data" in start else TWO_LOOPS
    tables = read_tables(write(tmp_path, b"\xef\xbb\xbf" + text.replace("\n", ends).encode()))
    assert tables["optics"].read(numbers=("rlnOpticsGroup",))["rlnOpticsGroup"].tolist() == [1, 2]
    assert tables["particles"].row(0) == b"1@a's.mrcs   1.5e-3"


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused_in_words(tmp_path: Path, coding: str) -> None:
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(coding, b"")
    with pytest.raises(BadStarFile, match="is text in UTF-16; expected UTF-8: iconv"):
        read_tables(write(tmp_path, mark + TWO_LOOPS.encode(coding)))


@pytest.mark.parametrize(
    ("written", "value", "kept"),
    [
        ("'1@a.mrcs'", "1@a.mrcs", b'"1@a.mrcs"'),
        ("'1@my data/a.mrcs'", "1@my data/a.mrcs", b'"1@my data/a.mrcs"'),
        ("'1@it's.mrcs'", "1@it's.mrcs", b'"1@it\'s.mrcs"'),
        ("''", "", b'""'),
        ("\"1@it is 'so' .mrcs\"", "1@it is 'so' .mrcs", b"\"1@it is 'so' .mrcs\""),
        ("1@a'.mrcs", "1@a'.mrcs", b"1@a'.mrcs"),
    ],
)
@pytest.mark.parametrize("number", ["-2.5", "'-2.5'"])
def test_single_quotes_are_read_as_other_star_programs_read_them(
    tmp_path: Path, written: str, value: str, kept: bytes, number: str
) -> None:
    table = read_tables(write(tmp_path, TWO_LOOPS.replace("1@a's.mrcs   1.5e-3", f"{written}\t{number}")))["particles"]
    found = table.read(numbers=("rlnAngleRot",), texts=("rlnImageName",))
    assert (found["rlnImageName"][0], found["rlnAngleRot"][0]) == (value, -2.5)
    assert split_row(table.row(0))[0] == kept


def test_a_single_quote_that_nothing_closes_is_a_letter(tmp_path: Path) -> None:
    table = read_tables(write(tmp_path, TWO_LOOPS.replace("1@a's.mrcs", "'1@a")))["particles"]
    assert table.read(texts=("rlnImageName",))["rlnImageName"][0] == "'1@a"


def test_single_quotes_in_a_list_of_pairs(tmp_path: Path) -> None:
    tables = read_tables(write(tmp_path, "data_general\n\n_rlnName 'two words'\n_rlnA '3'\n"))
    assert tables["general"].read(numbers=("rlnA",), texts=("rlnName",))["rlnName"].tolist() == ["two words"]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("   1.5e-3", "\u00a01.5e-3", r"row 1 .* has 1 values; expected 2, .* U\+00A0 \(NO-BREAK SPACE\)"),
        ("   1.5e-3", "\u30001.5e-3", r"U\+3000 \(IDEOGRAPHIC SPACE\)"),
        ("_rlnAngleRot #2", "_rlnAngleRot\u00a0#2", r"the label .* in line 17 .* U\+00A0"),
        ("_rlnAngleRot #2", "_rln\u200bAngleRot #2", r"U\+200B \(ZERO WIDTH SPACE\)"),
        ("data_particles", "\ufeffdata_particles", r"line 13 belongs to no table: .* U\+FEFF"),
        (
            "1@a's.mrcs   1.5e-3",
            "'1@my stack.mrcs   1.5e-3",
            r"has 3 values.* a quote \('\): a value with blanks stands in double quotes",
        ),
    ],
)
def test_letters_that_look_like_blanks_and_open_quotes_are_named(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    with pytest.raises(BadStarFile, match=sentence):
        read_tables(write(tmp_path, TWO_LOOPS.replace(old, new)))


@pytest.mark.parametrize("name", ["x.star", "x.star.gz", "X.STAR.GZ"])
def test_a_packed_file_is_refused_with_what_unpacks_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(TWO_LOOPS.encode()))
    with pytest.raises(UserError, match=r"is packed.*gunzip it"):
        read_tables(tmp_path / name)


def test_a_missing_file_that_lies_there_packed_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.star.gz").touch()
    with pytest.raises(UserError, match=r"does not exist; x\.star\.gz lies there, which is packed: gunzip it"):
        read_tables(tmp_path / "x.star")


@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        ("rlnPixelSize", "rlnImagePixelSize"),
        ("rlnimagepixelsize", "rlnImagePixelSize"),
        ("ImagePixelSize", "rlnImagePixelSize"),
        ("rlnBoxSize", "rlnImageSize"),
        ("rlnImageSize#4", "rlnImageSize"),
    ],
)
def test_a_column_under_a_wrong_label_is_named_with_the_right_one(tmp_path: Path, label: str, wanted: str) -> None:
    table = read_tables(write(tmp_path, TWO_LOOPS.replace("_rlnOpticsGroupName", f"_{label}")))["optics"]
    with pytest.raises(BadStarFile, match=f"no column _{wanted}; it has _{label}, whose right label is _{wanted}: rename it"):
        table.read(numbers=(wanted,))


@pytest.mark.parametrize("text", ["1_000", "1.2.3", "0x10", "--1", "1e"])
def test_what_only_python_takes_for_a_number_is_refused(tmp_path: Path, text: str) -> None:
    table = read_tables(write(tmp_path, TWO_LOOPS.replace("1.5e-3", text)))["particles"]
    with pytest.raises(BadStarFile, match=rf"_rlnAngleRot of data_particles is '{text}' in row 1 \(line 18\)"):
        table.read(numbers=("rlnAngleRot",))


def test_quoted_values_stay_whole_when_a_row_is_split() -> None:
    assert split_row(b'1@a.mrcs "two words" it\'s ""') == [b"1@a.mrcs", b'"two words"', b"it's", b'""']
