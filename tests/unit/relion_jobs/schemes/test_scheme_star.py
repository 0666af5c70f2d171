"""scheme.star: what RELION wrote comes back byte for byte, what is wrong is refused with its place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.schemes import scheme_star
from relion_jobs.schemes.operators import problems
from relion_jobs.schemes.scheme_graph import Edge, Operator, RunState, Scheme, Variable

SAMPLES = Path(__file__).parents[3] / "data/relion"


@pytest.fixture
def flex(tmp_path):
    shutil.copytree(SAMPLES / "scheme/Schemes", tmp_path / "Schemes")
    return tmp_path


@pytest.mark.parametrize("sample", ["scheme", "snapshots/13_output_nodes", "snapshots/15_deleted"])
def test_what_relion_wrote_comes_back_byte_for_byte(sample, tmp_path):
    before = (SAMPLES / sample / "Schemes/flex/scheme.star").read_bytes()
    (tmp_path / "Schemes/flex").mkdir(parents=True)
    (tmp_path / "Schemes/flex/scheme.star").write_bytes(before)
    scheme_star.write(scheme_star.read(tmp_path, "flex"), tmp_path)
    assert (tmp_path / "Schemes/flex/scheme.star").read_bytes() == before


def test_the_sample_is_understood(flex):
    scheme = scheme_star.read(flex, "Schemes/flex/")
    assert scheme.current_node == "EXIT"
    assert scheme.floats["ngauss"] == Variable(8000.0, 8000.0)
    assert scheme.bools == {"done": Variable(True, False), "preload": Variable(True, True)}
    assert scheme.operators["INCR"] == Operator("float=plus", "niter", "niter", "1")
    assert scheme.jobs["inputs"].job == "External/job009/"
    assert scheme.edges[-1] == Edge("CHECK", "dynamight", True, "EXIT", "done")


def test_numbers_keep_all_their_digits_and_the_state_of_a_run_is_kept(tmp_path):
    (tmp_path / "Schemes/a").mkdir(parents=True)
    scheme = Scheme(
        "Schemes/a/",
        "x",
        {"third": Variable(1 / 3, 1234567.0), "small": Variable(-1e-9, 0.1)},
        strings={"empty": Variable("", ""), "text": Variable('with "blanks" in it', "it's")},
        edges=(Edge("x", "y"),),
        run=RunState("process 1 on host since 2026-11-22T12:00:00+0000", "External/job001/", 7, 1e9 + 0.25, 0.0),
    )
    scheme_star.write(scheme, tmp_path)
    assert scheme_star.read(tmp_path, "a") == scheme


STRAY = ' dynamight DynaMight/job010/        new            1 \ndynamight/backprojection         ""         ""            1 \n'


def test_a_row_that_relions_schemer_adds_by_mistake_is_passed_over_and_gone_once_written(flex):
    path = flex / "Schemes/flex/scheme.star"
    before = path.read_text()
    with_stray = before.replace(STRAY.partition("\n")[0] + "\n", STRAY)
    assert with_stray != before
    path.write_text(with_stray)
    assert scheme_star.stray_rows(flex, "flex") == ["dynamight/backprojection"]
    scheme = scheme_star.read(flex, "flex")
    assert list(scheme.jobs) == ["dynamight", "inputs"]
    assert problems(scheme) == []
    scheme_star.write(scheme, flex)
    assert path.read_text() == before
    assert scheme_star.stray_rows(flex, "flex") == []


def test_tables_that_we_do_not_know_are_kept(flex):
    path = flex / "Schemes/flex/scheme.star"
    path.write_text(path.read_text() + "\n# version 50001\n\ndata_colours\n\nloop_ \n_rlnColour #1 \n       red \n \n")
    before = path.read_bytes()
    scheme_star.write(scheme_star.read(flex, "flex"), flex)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("Schemes/flex/\n", "Schemes/other/\n", "_rlnSchemeName is Schemes/other/, but the scheme lies in Schemes/flex/"),
        (" 8000.000000  8000.000000", " many 8000", "line 18: the variable ngauss is a number; 'many' is none"),
        (" 8000.000000  8000.000000", " inf 8000", "line 18: the variable ngauss is a number; 'inf' is none"),
        ("            1            0 \n   pre", "            2            0 \n   pre", "'2' stands where 0 or 1 must be"),
        ("_rlnSchemeJobMode #3", "_rlnSchemeJobMood #3", "table data_scheme_jobs has no column _rlnSchemeJobMode"),
        ("data_scheme_general", "data_scheme_colonel", "has no table data_scheme_general"),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(flex, old, new, expected):
    path = flex / "Schemes/flex/scheme.star"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        scheme_star.read(flex, "flex")
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", ["", "..", "../flex", "a/b", "/etc", "$(x)", ".hidden", "nix"])
def test_names_that_are_no_schemes_are_refused(flex, name):
    with pytest.raises(UserError):
        scheme_star.read(flex, name)


def test_a_scheme_behind_a_link_out_of_the_project_is_refused(flex, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    shutil.move(flex / "Schemes/flex", outside / "flex")
    (flex / "Schemes/flex").symlink_to(outside / "flex")
    with pytest.raises(UserError, match="outside the project"):
        scheme_star.read(flex, "flex")
