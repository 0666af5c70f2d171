"""Every operator that needs variables only, and what is wrong with those that cannot work."""

from __future__ import annotations

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.schemes.operators import SIGNATURES, compute, is_pure, of_column, problems, value_of
from relion_jobs.schemes.scheme_graph import Edge, Operator, Scheme, SchemeJob, Variable

VARIABLES = Scheme(
    "Schemes/a/",
    "x",
    {"two": Variable(2.0, 2.0), "half": Variable(-2.5, 0.0)},
    {"yes": Variable(True, True), "no": Variable(False, False)},
    {
        "path": Variable("Schemes/a/b.star", ""),
        "slash": Variable("/", ""),
        "list": Variable("a,b,c", ""),
        "none": Variable("undefined", ""),
    },
)


def run(kind: str, input1: str, input2: str = "undefined", output: str = "two") -> object:
    scheme = Scheme(**{**vars(VARIABLES), "operators": {"x": Operator(kind, output, input1, input2)}})
    assert is_pure(kind)
    values = [value_of(scheme, getattr(SIGNATURES[kind], slot), text) for slot, text in (("input1", input1), ("input2", input2))]
    return compute(scheme, "x", [value for value in values if value is not None])


@pytest.mark.parametrize(
    ("kind", "input1", "input2", "result"),
    [
        ("bool=set", "yes", "undefined", True),
        ("bool=not", "yes", "undefined", False),
        ("bool=and", "yes", "no", False),
        ("bool=or", "yes", "no", True),
        ("bool=gt", "two", "half", True),
        ("bool=lt", "two", "half", False),
        ("bool=ge", "two", "2", True),
        ("bool=le", "two", "1.5", False),
        ("bool=eq", "two", "2.000000001", True),
        ("bool=eq", "two", "2.00001", False),
        ("float=set", "two", "undefined", 2.0),
        ("float=plus", "two", "half", -0.5),
        ("float=minus", "two", "half", 4.5),
        ("float=mult", "two", "3", 6.0),
        ("float=divide", "two", "half", -0.8),
        ("float=round", "half", "undefined", -3.0),
        ("float=count_words", "list", "undefined", 3.0),
        ("float=count_words", "none", "undefined", 0.0),
        ("string=set", "path", "undefined", "Schemes/a/b.star"),
        ("string=join", "slash", "list", "/a,b,c"),
        ("string=before_first", "path", "slash", "Schemes"),
        ("string=after_first", "path", "slash", "a/b.star"),
        ("string=before_last", "path", "slash", "Schemes/a"),
        ("string=after_last", "path", "slash", "b.star"),
        ("string=before_last", "list", "slash", "a,b,c"),
        ("string=after_first", "list", "slash", "a,b,c"),
        ("string=nth_word", "list", "two", "b"),
        ("string=nth_word", "list", "-1", "c"),
        ("string=nth_word", "list", "4", "undefined"),
        ("string=nth_word", "list", "0", "undefined"),
    ],
)
def test_an_operator_computes(kind, input1, input2, result):
    assert run(kind, input1, input2) == result


def test_a_division_by_zero_is_refused_with_the_name_of_the_operator():
    with pytest.raises(UserError, match=r"operator x \(float=divide\) of 2 and 0 gives no number"):
        run("float=divide", "two", "0")


@pytest.mark.parametrize(
    ("kind", "place", "result"),
    [
        ("max", None, 9.0),
        ("min", None, -1.0),
        ("avg", None, 3.0),
        ("max_idx", None, 1.0),
        ("min_idx", None, 2.0),
        ("sort_idx", 1, 2.0),
        ("sort_idx", 2, 0.0),
        ("sort_idx", -1, 1.0),
    ],
)
def test_a_column_is_reduced(kind, place, result):
    assert of_column(f"float=star_table_{kind}", [1.0, 9.0, -1.0], place) == result


@pytest.mark.parametrize("place", [0, 4, -4])
def test_a_place_beyond_the_column_is_refused(place):
    with pytest.raises(UserError, match="sort_idx takes a place from 1 to 3"):
        of_column("float=star_table_sort_idx", [1.0, 9.0, -1.0], place)


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (Operator("float=pluss", "two", "two", "1"), "is of type 'float=pluss'; known are"),
        (Operator("float=plus", "yes", "two", "1"), "output of operator x (float=plus) is 'yes'; it must be a float variable"),
        (Operator("float=plus", "two", "path", "1"), "input1 of operator x (float=plus) is 'path'"),
        (Operator("float=plus", "two", "two", "much"), "it must be a number or a float variable"),
        (Operator("float=plus", "two", "two", "nan"), "it must be a number or a float variable"),
        (Operator("copy_file", input1="path"), "input2 of operator x (copy_file) is 'undefined'; it must be a string variable"),
        (Operator("email", input1="nix"), "input1 of operator x (email) is 'nix'; it must be a variable"),
    ],
)
def test_an_operator_that_cannot_work_is_named(operator, expected):
    (found,) = problems(Scheme(**{**vars(VARIABLES), "operators": {"x": operator}}))
    assert expected in found


def test_edges_to_nowhere_and_unknown_modes_are_named():
    scheme = Scheme(
        "Schemes/a/",
        jobs={"j": SchemeJob("j", "overwrite", False)},
        edges=(Edge("j", "k"), Edge("j", "undefined", True, "j", "b")),
    )
    found = " ".join(problems(scheme))
    assert "names the node k" in found
    assert "asks the boolean variable b" in found
    assert "mode 'overwrite'" in found
