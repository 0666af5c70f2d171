"""How jobs end: well, badly, aborted, killed; and what is left behind."""

from __future__ import annotations

import os
import signal
import time

import pytest

from relion_jobs.ondisk import job_star

FAILURE, ABORTED, SUCCESS = "RELION_JOB_EXIT_FAILURE", "RELION_JOB_EXIT_ABORTED", "RELION_JOB_EXIT_SUCCESS"


@pytest.mark.parametrize(
    ("mood", "sentence"),
    [
        ("user", "Particle 3 of parts.star is NaN; take it out."),
        ("failed", "The loss is NaN."),
        ("bug", "ZeroDivisionError: first line"),
        ("full", "The disk is full (writing map.mrc)"),
        ("exit", "ended the program"),
    ],
)
def test_a_failing_task_leaves_a_sentence_a_traceback_and_one_mark(project, mood, sentence):
    job = project.new("trouble", "-o", f"mood={mood}")
    done = project.call("run", job)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stdout + done.stderr + project.text(f"{job}run.out")
    assert sentence in project.text(f"{job}run.out")
    err = project.text(f"{job}run.err")
    assert "Traceback" in err
    assert sentence in err.splitlines()[-1]
    assert project.marks(job) == [FAILURE]
    assert project.status(job) == "Failed"


@pytest.mark.parametrize(("mood", "cause"), [("killed", "SIGKILL"), ("silent", "exit code 3")])
def test_a_process_that_dies_without_a_word_is_marked_by_who_waits(project, mood, cause):
    job = project.new("trouble", "-o", f"mood={mood}")
    done = project.call("run", job)
    assert done.returncode == 1
    assert not (project.path / job / ".relion_jobs_run.owner").exists()
    assert cause in done.stderr
    assert project.marks(job) == [FAILURE]
    assert project.status(job) == "Failed"


def test_a_detached_job_that_was_killed_is_noticed_by_status(project):
    job = project.new("trouble", "-o", "mood=slow")
    assert project.call("run", job, "--detach").returncode == 0
    project.wait_for(f"{job}started")
    os.kill(worker_of(project, job), signal.SIGKILL)
    # this process is not its parent: init, or whoever reaps here, may take a moment
    project.wait_until(lambda: "is gone and left no mark" in project.call("status").stderr)
    assert project.marks(job) == [FAILURE]
    assert project.status(job) == "Failed"
    assert not (project.path / job / ".relion_jobs_run.owner").exists()


def test_warnings_reach_the_terminal_and_run_err(project):
    job = project.new("trouble", "-o", "mood=warn")
    done = project.call("run", job)
    assert "Warning: half sets are missing" in done.stdout
    assert "Warning: half sets are missing" in project.text(f"{job}run.err")
    assert project.marks(job) == [SUCCESS]


def test_abort_stops_a_job_at_its_checkpoint(project):
    job = project.new("trouble", "-o", "mood=slow")
    with project.start("run", job) as waiting:
        project.wait_for(f"{job}started")
        assert project.call("abort", job).returncode == 0
        _out, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 1
    assert "was aborted" in err
    # as in RELION, the request stays until the next launch
    assert project.marks(job) == ["RELION_JOB_ABORT_NOW", ABORTED]
    assert project.status(job) == "Aborted"
    assert (project.path / job / "checkpoint").exists()
    assert "Aborted" in project.text(f"{job}run.out")
    assert "Traceback" not in project.text(f"{job}run.err")


def test_an_aborted_job_goes_on_where_it_stopped(project):
    job = project.new("toy", "-o", "fn_in=parts.star", "-o", "rows_per_second=20")
    with project.start("run", job) as waiting:
        project.wait_for(f"{job}run.out")
        project.wait_until(lambda: "Counting" in project.text(f"{job}run.out"))
        time.sleep(0.2)
        project.call("abort", job)
        waiting.communicate(timeout=20)
    done = project.call("continue", job, "-o", "rows_per_second=0")
    assert done.returncode == 0, done.stderr
    assert "from row 0." not in done.stdout
    assert "from row " in done.stdout
    assert project.text(f"{job}count.txt") == "20\n"
    assert project.marks(job) == [SUCCESS]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_worker_aborts_the_job(project, number):
    job = project.new("trouble", "-o", "mood=slow")
    with project.start("run", job) as waiting:
        project.wait_for(f"{job}started")
        os.kill(worker_of(project, job), number)
        _, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 1
    assert "was aborted" in err
    assert project.marks(job) == [ABORTED]
    assert (project.path / job / "checkpoint").exists()


def test_a_second_signal_stops_a_task_that_does_not_listen(project):
    job = project.new("trouble", "-o", "mood=stubborn")
    with project.start("run", job) as waiting:
        project.wait_for(f"{job}started")
        worker = worker_of(project, job)
        os.kill(worker, signal.SIGTERM)
        time.sleep(0.3)
        assert project.marks(job) == []
        os.kill(worker, signal.SIGTERM)
        waiting.communicate(timeout=20)
    assert project.marks(job) == [ABORTED]


def test_ctrl_c_of_the_front_end_aborts_the_job_and_waits(project):
    job = project.new("trouble", "-o", "mood=slow")
    with project.start("run", job, start_new_session=True) as waiting:
        project.wait_for(f"{job}started")
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 1
    assert "was asked to stop" in out
    assert "was aborted" in err
    assert project.status(job) == "Aborted"


def test_a_job_outlives_its_front_end(project):
    job = project.new("toy", "-o", "fn_in=parts.star", "-o", "rows_per_second=20")
    with project.start("run", job) as waiting:
        project.wait_for(f"{job}run.out")
        waiting.kill()
        waiting.communicate()
    project.wait_for(f"{job}{SUCCESS}")
    project.wait_until(lambda: project.status(job) == "Succeeded")


def test_a_second_run_of_a_running_job_is_refused_and_touches_nothing(project):
    job = project.new("trouble", "-o", "mood=slow")
    with project.start("run", job) as waiting:
        project.wait_for(f"{job}started")
        job_file = project.text(f"{job}job.star")
        for words in (["run", job], ["continue", job, "-o", "do_a=Yes"]):
            refused = project.call(*words)
            assert refused.returncode == 1
            assert "is being run by process" in refused.stderr
        by_hand = project.call("trouble", "first", job, "--pipeline-control", job, module="relion_jobs.dropin")
        assert by_hand.returncode == 1
        assert "is being run by process" in by_hand.stderr
        assert project.marks(job) == []
        assert project.status(job) == "Running"
        assert project.text(f"{job}job.star") == job_file
        project.call("abort", job)
        waiting.communicate(timeout=20)
    assert ABORTED in project.marks(job)


def test_of_two_runs_at_once_one_runs(project):
    job = project.new("trouble", "-o", "mood=slow")
    with project.start("run", job) as one, project.start("run", job) as other:
        project.wait_until(lambda: one.poll() is not None or other.poll() is not None)
        refused, runs = (one, other) if one.poll() is not None else (other, one)
        assert "is being run by" in refused.communicate()[1]
        assert refused.returncode == 1
        project.wait_for(f"{job}started")
        assert runs.poll() is None
        assert project.marks(job) == []
        project.call("abort", job)
        runs.communicate(timeout=20)
    assert project.status(job) == "Aborted"


def test_bad_input_at_run_is_a_failure_of_the_job(project):
    job = project.new("toy", "-o", "fn_in=parts.star")
    (project.path / "parts.star").rename(project.path / "gone.star")
    done = project.call("run", job)
    assert done.returncode == 1
    assert "parts.star" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert project.marks(job) == [FAILURE]
    assert project.status(job) == "Failed"
    assert "Traceback" in project.text(f"{job}run.err")
    (project.path / "gone.star").rename(project.path / "parts.star")
    assert project.call("run", job).returncode == 0
    assert project.marks(job) == [SUCCESS]
    assert project.status(job) == "Succeeded"


def test_a_damaged_job_star_is_a_failure_of_the_job(project):
    job = project.new("trouble")
    (project.path / job / "job.star").write_text("data_job\n\nloop_\n_a #1\n_b #2\n_c #3\n1 2\n")
    done = project.call("run", job)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert project.marks(job) == [FAILURE]


def test_a_missing_checkpoint_is_refused_and_earlier_results_stay(project):
    job = project.new("trouble")
    project.call("run", job)
    done = project.call("continue", job, "-o", "do_a=Yes", "-o", "fn_checkpoint=nix.pth")
    assert done.returncode == 1
    assert "nix.pth" in done.stderr
    assert project.marks(job) == [SUCCESS]
    assert job_star.read(project.path / job).values["do_a"] == "No"


def test_a_full_disk_is_told_and_the_mark_is_written_all_the_same(project):
    job = project.new("trouble")
    (project.path / job / "run.out").symlink_to("/dev/full")
    done = project.call("run", job)
    assert done.returncode == 1
    assert "disk is full" in done.stderr + project.text(f"{job}run.err")
    assert "disk is full" in project.text(f"{job}run.err")
    assert project.marks(job) == [FAILURE]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_told_in_a_sentence(project):
    job = project.new("trouble")
    (project.path / job).chmod(0o500)
    done = project.call("run", job)
    (project.path / job).chmod(0o700)
    assert done.returncode == 1
    assert "permission" in done.stderr
    assert "Traceback" not in done.stderr


def worker_of(project, job: str) -> int:
    from relion_jobs.ondisk.job_directory import JobDirectory
    from relion_jobs.running.finish import owner_of

    owner = owner_of(JobDirectory(project.path, job))
    assert owner is not None
    return owner.pid
