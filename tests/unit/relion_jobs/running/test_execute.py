"""The one place where a task's end becomes an exit mark, whatever the end."""

import errno

import pytest

from relion_jobs.contract.errors import JobAborted, LockTimeout, UserError
from relion_jobs.contract.jobtype import Task
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.locks import job_lock
from relion_jobs.running import execute as module
from relion_jobs.running.execute import execute
from relion_jobs.running.settings import Settings


@pytest.fixture
def run(tmp_path, monkeypatch):
    directory = JobDirectory(tmp_path, "X/job001")
    directory.create()

    def run(task):
        monkeypatch.setattr(module, "load_function", lambda name: task)
        return execute(directory, lambda: Settings({}, {}, Task("t", "t", "a:b", memory_remedy="take less"), False))

    run.directory = directory
    return run


def ending(error):
    def task(values, job):
        raise error

    return task


@pytest.mark.parametrize(
    ("error", "mark", "code"),
    [
        (None, "RELION_JOB_EXIT_SUCCESS", 0),
        (JobAborted("stopped"), "RELION_JOB_EXIT_ABORTED", 1),
        (UserError("wrong"), "RELION_JOB_EXIT_FAILURE", 1),
        (OSError(errno.ENOSPC, "full"), "RELION_JOB_EXIT_FAILURE", 1),
        (ValueError("bug"), "RELION_JOB_EXIT_FAILURE", 1),
        (MemoryError(), "RELION_JOB_EXIT_FAILURE", 1),
        (SystemExit(0), "RELION_JOB_EXIT_FAILURE", 1),
        (KeyboardInterrupt(), "RELION_JOB_EXIT_FAILURE", 1),
    ],
)
def test_every_end_leaves_exactly_one_mark(run, error, mark, code):
    for stale in ("RELION_JOB_EXIT_SUCCESS", "RELION_JOB_EXIT_FAILURE", "RELION_JOB_EXIT_ABORTED"):
        run.directory.write_mark(stale)
    outcome = run(ending(error) if error else lambda values, job: None)
    assert outcome.exit_code == code
    assert run.directory.marks() == (mark,)


def test_a_task_that_runs_out_of_memory_says_which_of_its_options_helps(run):
    run(ending(MemoryError()))
    assert "Out of memory (MemoryError); take less, or a machine with more memory." in run.directory.run_err.read_text()


def test_an_abort_mark_set_before_the_start_is_obeyed(run):
    run.directory.request_abort()
    assert run(lambda values, job: pytest.fail("must not run")).exit_code == 1
    assert "RELION_JOB_EXIT_ABORTED" in run.directory.marks()


def test_a_job_that_runs_elsewhere_is_refused_and_nothing_is_touched(run):
    with job_lock(run.directory.path), pytest.raises(LockTimeout):
        run(lambda values, job: pytest.fail("must not run"))
    assert run.directory.marks() == ()
    assert not run.directory.run_out.exists()


def test_a_mark_that_cannot_be_written_is_a_failure(run, monkeypatch, capsys):
    def full(self, name):
        raise OSError(errno.ENOSPC, "full", name)

    monkeypatch.setattr(JobDirectory, "write_mark", full)
    assert run(lambda values, job: None).exit_code == 1
    assert "No exit mark could be written" in capsys.readouterr().err


def test_a_log_that_cannot_be_written_does_not_hide_the_mark(run, monkeypatch):
    run.directory.run_out.mkdir()
    assert run(lambda values, job: None).exit_code == 1
    assert run.directory.marks() == ("RELION_JOB_EXIT_FAILURE",)


def test_outputs_are_registered_by_any_spelling_of_their_path(run):
    def task(values, job):
        job.add_output(job.project / job.directory / "a.mrc", "DensityMap.mrc")
        job.add_output(job.directory / "b.mrc", "DensityMap.mrc")
        job.add_output(type(job.directory)("c.mrc"), "DensityMap.mrc")

    assert run(task).exit_code == 0
    assert [node.path for node in run.directory.read_output_nodes()] == [f"X/job001/{name}.mrc" for name in "abc"]
