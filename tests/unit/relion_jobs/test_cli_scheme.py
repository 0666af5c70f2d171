"""Schemes from the command line: loops, forks, failures, deaths, with the toy job type."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from relion_jobs import cli
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_star import JobRequest
from relion_jobs.ondisk.project import read_pipeline
from relion_jobs.schemes import scheme_star
from relion_jobs.schemes.scheme_graph import Edge, Operator, Scheme, SchemeJob, Variable

TOY = "relion.external.toy"
FLOATS = {"i": Variable(0.0, 0.0), "most": Variable(3.0, 3.0), "pace": Variable(0.0, 0.0)}
BOOLS = {"done": Variable(False, False)}
STRINGS = {"parts": Variable("parts.star", "parts.star")}
OPERATORS = {
    "INCR": Operator("float=plus", "i", "i", "1"),
    "CHECK": Operator("bool=ge", "done", "i", "most"),
    "EXIT": Operator("exit"),
}
LOOP = (Edge("count", "INCR"), Edge("INCR", "CHECK"), Edge("CHECK", "count", True, "EXIT", "done"))


def make(path: Path, name: str = "loop", *, mode: str = "new", edges: tuple[Edge, ...] = LOOP, **changes: object) -> Scheme:
    """Write a scheme whose jobs ``count`` and ``again`` count particles."""
    jobs = {node: SchemeJob(node, mode, False) for node in ("count", "again")}
    parts: Mapping[str, object] = {"floats": FLOATS, "bools": BOOLS, "strings": STRINGS, "operators": OPERATORS, "jobs": jobs}
    scheme = Scheme(f"Schemes/{name}/", edges[0].start, edges=edges, **(dict(parts) | changes))  # type: ignore[arg-type]
    for node in jobs:
        (path / scheme.name / node).mkdir(parents=True, exist_ok=True)
        values = {"fn_in": "$$parts", "rows_per_second": "$$pace"}
        job_star.write(JobRequest(TOY, values=values), path / scheme.name / node / "job.star")
    scheme_star.write(scheme, path)
    return scheme


def jobs_of(path: Path) -> list[tuple[str, str]]:
    return [(process.name, str(process.status)) for process in read_pipeline(path).processes]


def test_a_loop_with_a_counter_runs_a_new_job_each_time(project):
    make(project.path)
    done = project.call("scheme", "run", "loop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert jobs_of(project.path) == [(f"External/job00{number}/", "Succeeded") for number in (1, 2, 3)]
    after = scheme_star.read(project.path, "loop")
    assert (after.current_node, after.floats["i"].value, after.bools["done"].value) == ("EXIT", 3.0, True)
    assert after.jobs["count"] == SchemeJob("External/job003/", "new", True)
    assert after.run is None
    assert "count: External/job002/ succeeded." in project.text("Schemes/loop/run.out")
    assert project.marks("Schemes/loop") == ["RELION_JOB_EXIT_SUCCESS"]
    # as RELION's schemer, it leaves the GUI's defaults for new jobs alone, and no lock behind
    assert not list(project.path.glob(".gui_*job.star"))
    assert not list(project.path.glob(".relion_lock*"))
    refused = project.call("scheme", "run", "loop")
    assert refused.returncode == 1
    assert "has ended: it stands at EXIT" in refused.stderr


def test_in_mode_continue_the_same_job_runs_again(project):
    make(project.path, mode="continue")
    done = project.call("scheme", "run", "loop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert jobs_of(project.path) == [("External/job001/", "Succeeded")]
    assert project.text("External/job001/note.txt").count("Executing new job") == 3
    assert job_star.read(project.path / "External/job001").is_continue


@pytest.mark.parametrize(("least", "node"), [(10.0, "again"), (50.0, "count")])
def test_a_fork_goes_by_its_boolean_variable(project, least, node):
    """20 particles: with at least 10 wanted the other job runs, with 50 the first one."""
    edges = (Edge("HOW_MANY", "ENOUGH"), Edge("ENOUGH", "count", True, "again", "done"))
    operators = {
        "HOW_MANY": Operator("float=count_images", "i", "parts"),
        "ENOUGH": Operator("bool=ge", "done", "i", "most"),
    }
    make(project.path, edges=edges, operators=operators, floats=FLOATS | {"most": Variable(least, least)})
    assert project.call("scheme", "run", "loop").returncode == 0
    after = scheme_star.read(project.path, "loop")
    assert {name for name, job in after.jobs.items() if job.has_started} == {node}
    assert after.floats["i"].value == 20


def test_the_output_of_one_job_is_the_input_of_the_next(project):
    output = "Schemes/loop/count/list.star"
    operators = {"COPY": Operator("copy_file", input1="parts", input2="copy")}
    edges = (Edge("count", "COPY"), Edge("COPY", "again"))
    make(project.path, edges=edges, operators=operators, strings=STRINGS | {"copy": Variable(output, output)})
    job_star.write(JobRequest(TOY, values={"fn_in": output}), project.path / "Schemes/loop/again/job.star")
    done = project.call("scheme", "run", "loop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_pipeline(project.path).inputs_of("External/job002/")[0].path == "External/job001/list.star"


def test_a_failed_job_ends_the_scheme_and_a_new_run_tries_the_node_again(project):
    make(project.path)
    (project.path / "parts.star").write_text("\ndata_x\n\n_a 1\n")
    done = project.call("scheme", "run", "loop")
    assert done.returncode == 1
    assert "External/job001/ of node count has failed, so Schemes/loop/ ends here" in done.stdout
    assert project.marks("Schemes/loop") == ["RELION_JOB_EXIT_FAILURE"]
    assert scheme_star.read(project.path, "loop").current_node == "count"
    (project.path / "parts.star").write_text("\ndata_x\n\nloop_\n_a\n1\n")
    assert project.call("scheme", "run", "loop").returncode == 0
    assert [status for _, status in jobs_of(project.path)] == ["Failed", "Succeeded", "Succeeded", "Succeeded"]


def test_a_scheme_that_came_to_its_end_starts_at_its_beginning(project):
    make(project.path, edges=(Edge("count", "again"),))
    for number in (2, 4):
        assert project.call("scheme", "run", "loop").returncode == 0
        assert scheme_star.read(project.path, "loop").current_node == "undefined"
        assert len(jobs_of(project.path)) == number


def test_the_list_tells_how_schemes_stand_that_relions_schemer_ran_without_leaving_marks(project):
    scheme = make(project.path)

    def list_of():
        return project.call("scheme", "list").stdout.splitlines()[1]

    assert list_of().endswith("not run yet")
    assert project.call("scheme", "run", "loop").returncode == 0
    assert list_of().endswith("Succeeded")
    # RELION's schemer runs it again, from the command line: it knows nothing of the mark
    done = scheme_star.read(project.path, "loop")
    scheme_star.write(replace(done, current_node="count"), project.path)
    assert list_of().endswith("begun, and nobody runs it; External/job003/ is Succeeded")
    (project.path / "Schemes/loop/RELION_JOB_EXIT_SUCCESS").unlink()
    scheme_star.write(done, project.path)
    assert list_of().endswith("ended: it has reached an exit")
    scheme_star.write(scheme, project.path)
    assert list_of().endswith("not run yet")


def test_a_killed_run_is_taken_up_and_no_job_runs_twice(project):
    make(project.path, floats=FLOATS | {"pace": Variable(20.0, 20.0), "most": Variable(2.0, 2.0)})
    with project.start("scheme", "run", "loop") as runner:
        project.wait_for("External/job001/run.out")
        project.wait_until(lambda: "Counting" in project.text("External/job001/run.out"))
        runner.send_signal(signal.SIGKILL)
    listed = project.call("scheme", "list")
    assert "its run died" in listed.stdout
    done = project.call("scheme", "run", "loop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "goes on at count" in done.stdout
    assert jobs_of(project.path) == [("External/job001/", "Succeeded"), ("External/job002/", "Succeeded")]
    assert project.text("External/job001/run.out").count("Counting") == 1
    assert scheme_star.read(project.path, "loop").floats["i"].value == 2


def test_abort_stops_the_scheme_and_its_job(project):
    make(project.path, floats=FLOATS | {"pace": Variable(2.0, 2.0)})
    nothing = project.call("scheme", "abort", "loop")
    assert nothing.returncode == 1
    assert "is not running" in nothing.stderr
    with project.start("scheme", "run", "loop") as runner:
        project.wait_for("External/job001/run.out")
        project.wait_until(lambda: "Counting" in project.text("External/job001/run.out"))
        second = project.call("scheme", "run", "loop")
        assert second.returncode == 1
        assert "The scheme loop is locked" in second.stderr
        changed = project.call("scheme", "set", "loop", "i", "5")
        assert changed.returncode == 1
        assert "is locked" in changed.stderr
        assert project.call("scheme", "abort", "loop").returncode == 0
        out, _ = runner.communicate(timeout=30)
    assert runner.returncode == 1
    assert "Schemes/loop/ aborted." in out
    assert jobs_of(project.path) == [("External/job001/", "Aborted")]
    assert "RELION_JOB_EXIT_ABORTED" in project.marks("Schemes/loop")


def test_variables_are_set_and_reset(project, monkeypatch, capsys):
    make(project.path)
    monkeypatch.chdir(project.path)
    assert cli.main(["scheme", "set", "loop", "most", "1", "--for-reset"]) == 0
    assert cli.main(["scheme", "set", "Schemes/loop/", "i", "-2"]) == 0
    assert cli.main(["scheme", "set", "loop", "done", "True"]) == 0
    assert cli.main(["scheme", "show", "loop"]) == 0
    shown = capsys.readouterr().out
    assert "EXIT if done, else count" in shown
    assert "float=plus i 1 -> i" in shown
    assert cli.main(["scheme", "reset", "loop"]) == 0
    after = scheme_star.read(project.path, "loop")
    assert (after.floats["i"].value, after.floats["most"].value, after.bools["done"].value) == (0, 1, False)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("run", "nix"), "The project has no scheme Schemes/nix/"),
        (("run", "../loop"), "is no name of a scheme"),
        (("set", "loop", "nix", "1"), "has no variable 'nix'; it has i, most, pace, done, parts."),
        (("set", "loop", "i", "three"), "variable i is a number; 'three' is none"),
        (("set", "loop", "i", "nan"), "variable i is a number; 'nan' is none"),
        (("set", "loop", "done", "maybe"), "neither True nor False"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(project, words, expected, monkeypatch, capsys):
    make(project.path)
    monkeypatch.chdir(project.path)
    assert cli.main(["scheme", *words]) == 1
    complaint = capsys.readouterr().err
    assert expected in complaint
    assert len(complaint.splitlines()) == 1


def test_without_relion_a_job_of_its_types_ends_the_scheme_with_a_sentence(project):
    project.environment["PATH"] = os.path.dirname(sys.executable)
    make(project.path)
    job_star.write(JobRequest("relion.select", values={}), project.path / "Schemes/loop/count/job.star")
    done = project.call("scheme", "run", "loop")
    assert done.returncode == 1
    assert "is of type relion.select, which is not ours, and no relion_pipeliner of RELION 5" in done.stdout
    assert jobs_of(project.path) == []


PIPELINER = f"""#!{sys.executable}
import sys
from pathlib import Path
from relion_jobs.contract.labels import Status
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.project import edit_pipeline
from relion_jobs.pipeline.graph import Process, add_process, with_status

words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if "--version" in sys.argv:
    print("RELION version: 5.0.1")
elif "--addJobFromStar" in words:
    request = job_star.read(Path(words["--addJobFromStar"]))
    with edit_pipeline(Path.cwd(), "addJob") as edit:
        name = edit.pipeline.next_job_directory("Select")
        Path(name).mkdir(parents=True)
        request.values["other_args"] = "default"
        job_star.write(request, Path(name) / "job.star")
        edit.pipeline = add_process(edit.pipeline, Process(name, None, request.label, Status.SCHEDULED))
else:
    job = words["--RunJobs"]
    with edit_pipeline(Path.cwd(), "runJob") as edit:
        edit.pipeline = with_status(edit.pipeline, job, "Running")
    with open(job + "runs", "a") as file:
        file.write(f"{{job_star.read(Path(job)).is_continue}} ")
    Path(job, "RELION_JOB_EXIT_SUCCESS").touch()
"""


@pytest.mark.parametrize(("mode", "runs"), [("continue", ["False True "]), ("new", ["False ", "False "])])
def test_jobs_of_other_types_are_added_and_run_by_relion_pipeliner(project, mode, runs):
    """A stub of relion_pipeliner that behaves as its contract says."""
    program = project.path.parent / "bin/relion_pipeliner"
    program.parent.mkdir()
    program.write_text(PIPELINER)
    program.chmod(0o755)
    project.environment["PATH"] = f"{program.parent}{os.pathsep}{os.path.dirname(sys.executable)}"
    make(project.path, mode=mode, floats=FLOATS | {"most": Variable(2.0, 2.0)})
    job_star.write(JobRequest("relion.select", values={"fn_in": "$$parts"}), project.path / "Schemes/loop/count/job.star")
    done = project.call("scheme", "run", "loop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.read_text() for path in sorted(project.path.glob("Select/job*/runs"))] == runs
    assert job_star.read(project.path / "Select/job001").values == {"fn_in": "parts.star", "other_args": "default"}
    assert sorted(path.name for path in (project.path / "Schemes/loop/count").iterdir()) == ["job.star"]
