"""The operators that look at files, act on files, wait and send e-mails."""

from __future__ import annotations

from pathlib import Path

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.schemes import scheme_star
from relion_jobs.schemes.operator_runner import OperatorRunner
from relion_jobs.schemes.operators import SIGNATURES, is_pure
from relion_jobs.schemes.scheme_graph import Operator, RunState, Scheme, SchemeJob, Variable

TABLE = "data_particles\n\nloop_\n_rlnName #1\n_rlnValue #2\n_rlnFlag #3\nfirst 2.5 1\nsecond -1 0\n"
STRINGS = {
    "file": "parts.star",
    "value": "parts.star,particles,rlnValue",
    "name": "parts.star,particles,_rlnName",
    "flag": "parts.star,data_particles,rlnFlag",
    "short": "parts.star,particles",
    "pattern": "*.star",
    "no_pattern": "*.nix",
    "nix": "nix.star",
    "movies": "movies",
    "particles": "particles",
    "new": "sub/new.star",
    "out": "../stolen.star",
    "of_job": "Schemes/a/node/parts.star",
    "empty": "",
    "email": "me@lab.org",
    "result": "",
}


class Bench:
    """Runs one operator on a project with a small table; time stands still unless it waits."""

    def __init__(self, project: Path) -> None:
        self.project, self.now = project, 1000.0
        self.said: list[str] = []
        self.mails: list[tuple[str, str, str]] = []
        self.operators = OperatorRunner(project, self.said.append, self.pause, self.mail, lambda: self.now)
        (project / "parts.star").write_text(TABLE)
        (project / "External/job001").mkdir(parents=True)
        (project / "External/job001/parts.star").write_text(TABLE + "third 0 0\n")

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def mail(self, address: str, subject: str, text: str) -> str:
        self.mails.append((address, subject, text))
        return f"Sent to {address}."

    def scheme(self, kind: str, input1: str = "undefined", input2: str = "undefined", output: str = "undefined") -> Scheme:
        return Scheme(
            "Schemes/a/",
            "x",
            {name: Variable(value, value) for name, value in (("number", 1.0), ("hours", 2.0), ("seconds", 30.0))},
            {"truth": Variable(False, False)},
            {name: Variable(value, value) for name, value in STRINGS.items()},
            {"x": Operator(kind, output, input1, input2)},
            {"node": SchemeJob("External/job001/", "new", True)},
        )

    def run(self, kind: str, input1: str, input2: str = "undefined") -> object:
        output = {"float": "number", "bool": "truth", "string": "result"}[kind.partition("=")[0]]
        after = self.operators.perform(self.scheme(kind, input1, input2, output), RunState("me"), "x")
        assert after is not None
        return getattr(after[0], kind.partition("=")[0] + "s")[output].value


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("kind", "input1", "input2", "result"),
    [
        ("bool=file_exists", "file", "undefined", True),
        ("bool=file_exists", "nix", "undefined", False),
        ("bool=file_exists", "empty", "undefined", False),
        ("bool=file_exists", "of_job", "undefined", True),
        ("bool=read_star", "flag", "undefined", True),
        ("bool=read_star", "flag", "1", False),
        ("float=read_star", "value", "undefined", 2.5),
        ("float=read_star", "value", "number", -1.0),
        ("string=read_star", "name", "number", "second"),
        ("float=star_table_max", "value", "undefined", 2.5),
        ("float=star_table_min", "value", "undefined", -1.0),
        ("float=star_table_avg", "value", "undefined", 0.75),
        ("float=star_table_max_idx", "value", "undefined", 0.0),
        ("float=star_table_min_idx", "value", "undefined", 1.0),
        ("float=star_table_sort_idx", "value", "1", 1.0),
        ("float=count_images", "file", "undefined", 2.0),
        ("float=count_images", "of_job", "particles", 3.0),
        ("float=count_images", "nix", "undefined", 0.0),
        ("string=glob", "pattern", "undefined", "parts.star"),
        ("string=glob", "no_pattern", "undefined", "undefined"),
        ("float=plus", "seconds", "12", 42.0),
    ],
)
def test_an_operator_sets_its_output(bench, kind, input1, input2, result):
    assert bench.run(kind, input1, input2) == result


@pytest.mark.parametrize(
    ("kind", "input1", "input2", "expected"),
    [
        ("float=read_star", "name", "undefined", "the value of row 0 is a number; 'first' is none"),
        ("float=read_star", "value", "7", "row 7 was asked for (the first is 0), but there are 2 rows"),
        ("float=read_star", "short", "undefined", "must be of the form file,table,label"),
        ("float=star_table_avg", "name", "undefined", "a value of parts.star,particles,_rlnName is a number"),
        ("bool=read_star", "value", "undefined", "'2.5' stands in row 0, where 0 or 1 must be"),
        ("float=count_images", "file", "movies", "has no table data_movies"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_the_operator(bench, kind, input1, input2, expected):
    if input2 == "movies":
        (bench.project / "parts.star").write_text("data_optics\n\nloop_\n_a #1\n1\n\n" + TABLE)
    with pytest.raises(UserError) as caught:
        bench.run(kind, input1, input2)
    assert str(caught.value).startswith(f"Schemes/a/: operator x ({kind}): ")
    assert expected in str(caught.value)


def test_files_are_touched_copied_moved_and_deleted(bench):
    for kind, inputs in (
        ("touch_file", ("nix",)),
        ("copy_file", ("of_job", "new")),
        ("move_file", ("nix", "of_job")),
        ("delete_file", ("file",)),
    ):
        assert bench.operators.perform(bench.scheme(kind, *inputs), RunState("me"), "x") is not None
    found = {str(path.relative_to(bench.project)): path.read_text() for path in bench.project.rglob("*.star")}
    assert found == {"sub/new.star": TABLE + "third 0 0\n", "External/job001/parts.star": ""}
    with pytest.raises(UserError, match=r"operator x \(copy_file\): '../stolen.star' leaves the project"):
        bench.operators.perform(bench.scheme("copy_file", "new", "out"), RunState("me"), "x")


def test_wait_counts_from_the_last_wait_and_the_first_one_only_notes_the_time(bench):
    scheme = bench.scheme("wait", "seconds", output="number")
    scheme, run = bench.operators.perform(scheme, RunState("me"), "x")
    assert (bench.now, run.waited_since) == (1000, 1000)
    bench.now += 10
    scheme, run = bench.operators.perform(scheme, run, "x")
    assert (bench.now, run.waited_since, scheme.floats["number"].value) == (1030, 1030, 10)
    bench.now += 40
    scheme, run = bench.operators.perform(scheme, run, "x")
    assert (bench.now, scheme.floats["number"].value) == (1070, 40)


def test_exit_maxtime_ends_the_scheme_once_its_hours_have_passed(bench):
    scheme, run = bench.operators.perform(bench.scheme("exit_maxtime", "hours"), RunState("me"), "x")
    assert run.exit_at == 1000 + 7200
    bench.now += 7199
    assert bench.operators.perform(scheme, run, "x") is not None
    bench.now += 1
    assert bench.operators.perform(scheme, run, "x") is None


def test_exit_ends_the_scheme(bench):
    assert bench.operators.perform(bench.scheme("exit"), RunState("me"), "x") is None


def test_an_email_tells_the_values_to_the_address_in_the_variable_email(bench):
    bench.operators.perform(bench.scheme("email", "truth", "hours"), RunState("me"), "x")
    ((address, subject, text),) = bench.mails
    assert (address, subject) == ("me@lab.org", "Scheme: Schemes/a/")
    assert "truth = False\nhours = 2\n" in text


def test_paths_of_another_scheme_are_followed(bench):
    (bench.project / "Schemes/b/node").mkdir(parents=True)
    scheme_star.write(Scheme("Schemes/b/", jobs={"node": SchemeJob("External/job001/", "new", True)}), bench.project)
    scheme = bench.scheme("bool=file_exists", "file", output="truth")
    scheme = scheme.with_value("string", "file", "Schemes/b/node/parts.star")
    after = bench.operators.perform(scheme, RunState("me"), "x")
    assert after[0].bools["truth"].value is True
    # the variable itself keeps its text
    assert after[0].strings["file"].value == "Schemes/b/node/parts.star"


def test_every_operator_of_relion_is_known_and_carried_out_somewhere():
    """The 43 types of RELION 5's schemer.h."""
    here = {"bool=file_exists", "string=glob", "float=count_images", "wait", "email", "exit", "exit_maxtime"}
    here |= {f"{kind}_file" for kind in ("touch", "copy", "move", "delete")}
    here |= {kind for kind in SIGNATURES if "read_star" in kind or "star_table" in kind}
    assert {kind for kind in SIGNATURES if not is_pure(kind)} == here
    assert len(SIGNATURES) == 43
