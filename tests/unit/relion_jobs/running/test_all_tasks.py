"""One run of several tasks: in order, one exit mark at the end, outputs of the later ones registered; a stop stops them all."""

from pathlib import Path

import pytest

ADDED = """
- {variable: all_tasks, label: "All?", tab: Tasks, kind: boolean, default: "No", extra: true, flag: --all-tasks,
   tasks: [first], help: "All."}
"""


@pytest.fixture
def chained(project):
    """The job type ``trouble`` with tasks a and b behind the first one."""
    folder = Path(project.environment["RELION_JOBS_PLUGINS"]) / "trouble"
    (folder / "job.yaml").write_text((folder / "job.yaml").read_text() + ADDED)
    job = (folder / "job.py").read_text().replace('switch="do_b"', 'switch="do_b", outputs=(("b.txt", "LogFile.txt"),)')
    (folder / "job.py").write_text(job.replace("    tools=(", '    all_tasks=("a", "b"),\n    tools=('))
    return project


def test_all_tasks_run_in_one_go_and_end_with_one_mark(chained):
    job = chained.new("trouble", "-o", "all_tasks=Yes")
    assert f"{job}b.txt LogFile.txt" in chained.text("default_pipeline.star")
    done = chained.call("run", job)
    assert done.returncode == 0, done.stderr
    assert [line for line in chained.text(f"{job}run.out").splitlines() if not line.startswith("Warning")] == [
        "mood good, continue False, threads 1",
        "Next: a.",
        "mood good, continue True, threads 1",
        "Next: b.",
        "mood good, continue True, threads 1",
    ]
    assert chained.marks(job) == ["RELION_JOB_EXIT_SUCCESS"]


def test_a_task_that_fails_ends_the_run(chained):
    job = chained.new("trouble", "-o", "all_tasks=Yes", "-o", "mood=user")
    chained.call("run", job)
    assert "Next:" not in chained.text(f"{job}run.out")
    assert chained.marks(job) == ["RELION_JOB_EXIT_FAILURE"]


def test_without_the_option_one_task_runs(chained):
    job = chained.new("trouble")
    chained.call("run", job)
    assert "Next:" not in chained.text(f"{job}run.out")
