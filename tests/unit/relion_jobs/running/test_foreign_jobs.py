"""Jobs of other types are handed to relion_pipeliner, a stub of which behaves as the contract says, or waited for."""

import os
import stat
import sys
import threading

import pytest

from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk.project import edit_pipeline
from relion_jobs.pipeline.graph import Process, add_process, with_status

JOB = "PostProcess/job001/"

PIPELINER = f"""#!{sys.executable}
import os, sys
from pathlib import Path
from relion_jobs.ondisk.project import edit_pipeline
from relion_jobs.pipeline.graph import with_status

if "--version" in sys.argv:
    print("RELION version:", os.environ.get("STUB_VERSION", "5.0.1-commit-73f0a3"))
    sys.exit(0)
job = sys.argv[sys.argv.index("--RunJobs") + 1]
Path("argv").write_text(" ".join(sys.argv[1:]))
with edit_pipeline(Path.cwd(), "runJob") as edit:
    edit.pipeline = with_status(edit.pipeline, job, "Running")
if os.environ["STUB_END"] != "gives up":
    Path(job, "RELION_JOB_EXIT_" + os.environ["STUB_END"]).touch()
# as the real one: 0 even where the job has failed
sys.exit(0)
"""


@pytest.fixture
def foreign(project, monkeypatch):
    """A scheduled PostProcess job."""
    (project.path / JOB).mkdir(parents=True)
    with edit_pipeline(project.path, "test") as edit:
        row = Process(JOB, None, "relion.postprocess", Status.SCHEDULED)
        edit.pipeline = add_process(edit.pipeline, row, [Node("parts.star", "X")])
    # Debian's relion_pipeliner is of RELION 3
    project.environment["PATH"] = os.path.dirname(sys.executable)
    return project


@pytest.fixture
def with_pipeliner(foreign, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "relion_pipeliner"
    program.write_text(PIPELINER)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    foreign.environment["PATH"] = f"{folder}{os.pathsep}{foreign.environment['PATH']}"
    return foreign


@pytest.mark.parametrize(
    ("end", "status", "code"), [("SUCCESS", "Succeeded", 0), ("FAILURE", "Failed", 1), ("ABORTED", "Aborted", 1)]
)
def test_relion_pipeliner_runs_it_and_its_mark_counts(with_pipeliner, end, status, code):
    with_pipeliner.environment["STUB_END"] = end
    done = with_pipeliner.call("run", JOB)
    assert (done.returncode, with_pipeliner.status(JOB)) == (code, status)
    assert "handed to relion_pipeliner" in done.stdout
    assert with_pipeliner.text("argv").startswith(f"--RunJobs {JOB}")


def test_a_pipeliner_that_gives_up_is_told_and_no_mark_is_written_for_it(with_pipeliner):
    with_pipeliner.environment["STUB_END"] = "gives up"
    done = with_pipeliner.call("run", JOB)
    assert done.returncode == 1
    assert "is Running, though relion_pipeliner has ended" in done.stderr
    assert with_pipeliner.marks(JOB) == []


def test_the_scheduler_hands_it_over_too(with_pipeliner):
    with_pipeliner.environment["STUB_END"] = "SUCCESS"
    done = with_pipeliner.call("schedule")
    assert (done.returncode, with_pipeliner.status(JOB)) == (0, "Succeeded"), done.stdout + done.stderr
    assert "handed to relion_pipeliner" in done.stdout


def test_without_a_pipeliner_it_is_waited_for(foreign):
    def somebody_runs_it():
        (foreign.path / JOB / "RELION_JOB_EXIT_SUCCESS").touch()
        with edit_pipeline(foreign.path, "test") as edit:
            edit.pipeline = with_status(edit.pipeline, JOB, Status.RUNNING)

    timer = threading.Timer(1.0, somebody_runs_it)
    timer.start()
    done = foreign.call("run", JOB)
    timer.join()
    assert done.returncode == 0, done.stderr
    assert "waiting for RELION to run it" in done.stdout


@pytest.mark.parametrize("version", ["3.1.3", "4.0.1", "nonsense"])
def test_a_pipeliner_that_would_spoil_the_pipeline_gets_nothing(with_pipeliner, version):
    with_pipeliner.environment["STUB_VERSION"] = version
    done = with_pipeliner.call("run", JOB, "--detach")
    assert done.returncode == 1
    assert "no relion_pipeliner of RELION 5" in done.stderr
    assert not (with_pipeliner.path / "argv").exists()


def test_one_that_has_ended_is_not_run_again_without_relion(foreign):
    with edit_pipeline(foreign.path, "test") as edit:
        edit.pipeline = with_status(edit.pipeline, JOB, Status.SUCCEEDED)
    done = foreign.call("run", JOB)
    assert done.returncode == 1
    assert "run it again in RELION" in done.stderr


def test_it_is_not_cleaned_by_us(foreign):
    with edit_pipeline(foreign.path, "test") as edit:
        edit.pipeline = with_status(edit.pipeline, JOB, Status.SUCCEEDED)
    done = foreign.call("clean", JOB)
    assert done.returncode == 1
    assert "clean it in RELION" in done.stderr
