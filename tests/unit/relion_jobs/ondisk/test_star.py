import pytest

from relion_jobs.contract.errors import BadStarFile, UserError
from relion_jobs.ondisk import star
from relion_jobs.ondisk.star import Table, format_tables, parse

LOOP = "data_x\n\nloop_ \n_a #1 \n_b #2 \n_c #3 \n"


def one(text):
    (table,) = parse(text, "file.star").values()
    return table


def rows(text):
    return one(text).rows


def test_a_list_is_written_with_relions_blanks():
    table = Table("job", ("rlnJobTypeLabel", "rlnJobIsContinue"), (("dynamight", True),), is_loop=False)
    assert format_tables([table]) == (
        "\n# version 50001\n\ndata_job\n\n_rlnJobTypeLabel             dynamight\n_rlnJobIsContinue                       1\n \n"
    )


def test_a_list_of_short_labels_is_as_wide_as_one_of_ten_letters():
    table = Table("x", ("a",), (("1",),), is_loop=False)
    assert "\n_a" + " " * 21 + "1\n" in format_tables([table])


def test_a_loop_is_written_with_values_pushed_right():
    table = Table("x", ("a", "b", "c"), (("short", "a much longer one", 7),))
    assert format_tables([table]).endswith('loop_ \n_a #1 \n_b #2 \n_c #3 \n     short "a much longer one"            7 \n \n')


def test_letters_beyond_ascii_count_as_the_bytes_that_relion_counts():
    line = format_tables([Table("x", ("a",), (("éü",),))]).splitlines()[-2]
    assert line == " " * 6 + "éü "


@pytest.mark.parametrize(
    ("value", "text"), [(8000.0, " 8000.000000"), (-0.06005, "    -0.06005"), (0.0, "    0.000000"), (3, " " * 11 + "3")]
)
def test_numbers_have_relions_width(value, text):
    assert format_tables([Table("x", ("a",), ((value,),))]).splitlines()[-2] == text + " "


def test_a_small_number_is_not_written_as_zero():
    line = format_tables([Table("x", ("a",), ((1.23e-7,),))]).splitlines()[-2]
    assert float(line) == 1.23e-7


def test_an_empty_table_is_not_written():
    assert format_tables([Table("x", ("a",), ())]) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", '""'),
        ("--n 3", '"--n 3"'),
        ("'quoted", '"\'quoted"'),
        ('say "hi" now', '"say "hi\a" now"'),
        ('a "b"', '"a "b\a""'),
        ('a"b', 'a"b'),
        ("a#b", "a#b"),
        ("#a", '"#a"'),
    ],
)
def test_a_value_is_quoted_where_relion_quotes_it(value, text):
    line = format_tables([Table("x", ("a", "b"), (("k", value),))]).splitlines()[-2]
    assert line.removeprefix("         k ").strip(" ") == text


@pytest.mark.parametrize("value", ["_label", "data_x", "loop_", "#note"])
def test_a_first_value_that_looks_like_something_else_is_quoted(value):
    assert rows(format_tables([Table("x", ("a", "b"), ((value, "1"), (value, "2")))])) == ((value, "1"), (value, "2"))


@pytest.mark.parametrize("value", ["two\nlines", "bell\a", "return\r"])
def test_a_value_that_no_star_file_can_hold_is_refused(value):
    with pytest.raises(UserError, match="cannot hold the value"):
        format_tables([Table("x", ("a",), ((value,),))])


def test_quotes_of_both_kinds_are_read():
    assert rows("data_x\nloop_\n_a\n_b\n'it is' \"it's me\"\n") == (("it is", "it's me"),)


def test_a_quote_inside_a_quoted_value_needs_no_escape_before_a_letter():
    # so RELION 3.1 writes it
    assert rows('data_x\nloop_\n_a\n_b\nk "a "b""\n') == (("k", 'a "b"'),)


def test_blanks_inside_quotes_are_kept():
    assert rows('data_x\nloop_\n_a\n"a  b "\n') == (("a  b ",),)


def test_a_tight_file_written_by_hand_is_read():
    assert rows("data_x\nloop_\n_a #1\n_b #2\n1\t 2\n3 4") == (("1", "2"), ("3", "4"))


def test_a_file_without_version_line_is_of_version_30000():
    assert one("data_x\n_a 1\n").version == 30000


def test_the_nearest_version_line_above_counts():
    tables = parse("# version 30001\n\ndata_x\n\n_a 1\n\n\ndata_y\n_a 1\n\n# version 50001\ndata_z\n_a 1\n", "f")
    assert [tables[name].version for name in "xyz"] == [30001, 30001, 50001]


def test_comments_are_skipped():
    assert rows("# by hand\ndata_x # the table\n# a\nloop_\n_a #1\n_b #2\n1 2 # first\n# between\n3 4\n") == (
        ("1", "2"),
        ("3", "4"),
    )


def test_a_short_row_is_filled_up_in_a_table_of_two_columns():
    assert rows("data_x\nloop_\n_a\n_b\nother_args\n") == (("other_args", ""),)


def test_an_empty_file_has_no_tables():
    assert parse("", "f") == {}


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (LOOP + "1 2 3\n1 2\n", 8, "3 columns, but this row has 2"),
        (LOOP + "1 2 3 4\n", 7, "3 columns, but this row has 4"),
        (LOOP + "1 2 3\r\n", 7, "dos2unix"),
        (LOOP + "1 2 3\n\n4 5 6\n", 9, "belongs to no table"),
        (LOOP + '1 2 "open\n', 7, "is not closed"),
        ("data_x\nloop_\n_a\n_a\n1 2\n", 4, "_a stands twice"),
        ("data_x\n_a 1\n_a 2\n", 3, "_a stands twice"),
        ("data_x\n_a\n", 2, "one label and one value"),
        ("data_x\n_a two words\n", 2, "one label and one value"),
        ("data_x\n_a 1\n\ndata_x\n_a 1\n", 4, "a second time"),
        ("# version five\ndata_x\n", 1, "no version number"),
        ("hello\n", 1, "belongs to no table"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(text, line, problem):
    with pytest.raises(BadStarFile, match=rf"^file\.star, line {line}: .*{problem}"):
        parse(text, "file.star")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"Cannot read .*none\.star: there is no such file"):
        star.read_tables(tmp_path / "none.star")


def test_a_missing_column_is_named_with_those_that_are_there():
    with pytest.raises(BadStarFile, match="data_x has no column _d; it has a, b, c"):
        one(LOOP + "1 2 3\n").column("d")


def test_names_that_are_not_utf8_survive(tmp_path):
    (tmp_path / "a.star").write_bytes(b"data_x\nloop_\n_a\n_b\nk caf\xe9.mrc\n")
    tables = star.read_tables(tmp_path / "a.star")
    star.write_tables(tables.values(), tmp_path / "b.star")
    assert b"caf\xe9.mrc" in (tmp_path / "b.star").read_bytes()
