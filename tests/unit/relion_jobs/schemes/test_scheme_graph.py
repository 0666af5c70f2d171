"""The graph of a scheme, its variables, and what it puts into the options of a job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.schemes.scheme_graph import (
    Edge,
    Operator,
    RunState,
    Scheme,
    SchemeJob,
    Variable,
    reset,
    rest,
    set_variable,
)
from relion_jobs.schemes.texts import fill_in, real_paths, value_text

SCHEME = Scheme(
    "Schemes/flex/",
    "fork",
    {"n": Variable(8000.0, 1.0), "both": Variable(2.0, 2.0)},
    {"yes": Variable(True, False), "both": Variable(False, False)},
    {"text": Variable("a b", "")},
    jobs={"done": SchemeJob("External/job009/", "new", True), "fresh": SchemeJob("fresh", "new", False)},
    edges=(Edge("done", "fork"), Edge("fork", "no", True, "yes", "yes"), Edge("no", "done")),
    run=RunState("me", "External/job009/", 9),
)
OTHER = Scheme("Schemes/prep/", jobs={"ctffind": SchemeJob("CtfFind/job003/", "continue", True)})


def read_other(name: str) -> Scheme:
    assert name == "prep"
    return OTHER


def test_a_fork_takes_the_way_of_its_variable():
    assert SCHEME.next_node() == "yes"
    assert SCHEME.with_value("bool", "yes", False).next_node() == "no"
    assert SCHEME.at("no").next_node() == "done"
    assert SCHEME.at("yes").next_node() == "undefined"


def test_of_several_edges_from_one_node_the_last_counts_as_in_relion():
    assert Scheme("Schemes/a/", "x", edges=(Edge("x", "y"), Edge("x", "z"))).next_node() == "z"


def test_another_node_begins_a_new_visit():
    assert SCHEME.at("no").run == RunState("me")


def test_a_reset_gives_back_values_jobs_and_the_first_node():
    after = reset(SCHEME)
    assert (after.current_node, after.run, after.floats["n"], after.bools["yes"]) == (
        "done",
        None,
        Variable(1.0, 1.0),
        Variable(False, False),
    )
    assert after.jobs["done"] == SchemeJob("done", "new", False)


def test_of_variables_of_one_name_the_boolean_one_is_set_first():
    after = set_variable(SCHEME, "both", "1")
    assert (after.bools["both"].value, after.floats["both"].value) == (True, 2.0)


@pytest.mark.parametrize(
    ("text", "kind", "filled"),
    [
        ("$$n", "integer", "8000"),
        ("$$yes", "boolean", "Yes"),
        ("--mask $$text --n $$n", "text", "--mask a b --n 8000"),
        ("costs $5", "text", "costs $5"),
        ("$$yes", "", "Yes"),
    ],
)
def test_variables_go_into_the_options_of_a_job(text, kind, filled):
    assert fill_in(SCHEME, text, "option", kind=kind) == filled


@pytest.mark.parametrize(
    ("text", "kind"), [("$$nix", "text"), ("$$", "text"), ("$$yes", "text"), ("$$n", "boolean"), ("$$text", "number")]
)
def test_a_variable_that_is_not_there_or_does_not_fit_is_refused(text, kind):
    with pytest.raises(UserError, match=r"Schemes/flex/: option fn_in takes \$\$"):
        fill_in(SCHEME, text, "fn_in", kind=kind)


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (-0.25, "-0.25"), (1234567.0, "1234567"), (1e-7, "1e-07"), (True, "Yes"), (False, "No")]
)
def test_values_are_written_as_short_as_relion_writes_them(value, text):
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("Schemes/flex/done/map.mrc", "External/job009/map.mrc"),
        ("Schemes/flex/done/sub/a.mrc,Schemes/flex/done/b.mrc", "External/job009/sub/a.mrc,External/job009/b.mrc"),
        ("Schemes/prep/ctffind/micrographs_ctf.star", "CtfFind/job003/micrographs_ctf.star"),
        ("Schemes/flex/own_file.star", "Schemes/flex/own_file.star"),
        ("Schemes/flex/nix/own_file.star", "Schemes/flex/nix/own_file.star"),
        ("External/job001/map.mrc", "External/job001/map.mrc"),
    ],
)
def test_the_directory_of_a_node_becomes_that_of_its_job_also_across_schemes(text, path):
    assert real_paths(SCHEME, text, read_other, strict=True) == path


def test_a_job_that_has_not_run_is_refused_in_options_and_left_alone_in_operators():
    text = "Schemes/flex/fresh/map.mrc"
    assert real_paths(SCHEME, text, read_other, strict=False) == text
    with pytest.raises(UserError, match="node fresh of Schemes/flex/, which has not run yet"):
        real_paths(SCHEME, text, read_other, strict=True)


@pytest.mark.parametrize(
    ("node", "has_started", "status", "sentence"),
    [
        ("first", False, None, "not run yet"),
        ("undefined", False, None, "not run yet"),
        ("undefined", True, None, "ended: no edge goes on"),
        ("EXIT", True, None, "ended: it has reached an exit"),
        ("first", True, Status.FAILED, "begun, and nobody runs it; External/job001/ is Failed"),
        ("count", True, None, "begun, and nobody runs it"),
    ],
)
def test_how_a_scheme_stands_that_nobody_runs_is_read_from_its_own_state(node, has_started, status, sentence):
    job = SchemeJob("External/job001/", "new", has_started)
    operators = {"EXIT": Operator("exit"), "count": Operator("float=set", "n", "n")}
    edges = (Edge("first", "count"), Edge("count", "EXIT"))
    scheme = replace(SCHEME, current_node=node, jobs={"first": job}, operators=operators, edges=edges, run=None)
    assert rest(scheme, status) == sentence
