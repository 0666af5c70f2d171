"""The scheduler and the queue."""

from __future__ import annotations

import os
import signal
import stat
import sys

import pytest

from relion_jobs import cli

FAILURE, SUCCESS = "RELION_JOB_EXIT_FAILURE", "RELION_JOB_EXIT_SUCCESS"

TEMPLATE = """#!/bin/bash
#threads=XXXthreadsXXX cores=XXXcoresXXX nodes=XXXnodesXXX queue=XXXqueueXXX name=XXXnameXXX extra=XXXextra1XXX XXXextra2XXX
nice XXXcommandXXX >> XXXoutfileXXX 2>> XXXerrfileXXX
"""


@pytest.fixture
def queue(project):
    """A queue: a program that takes a script and runs it in the background."""
    (project.path / "template.sh").write_text(TEMPLATE)
    submit = project.path.parent / "fake qsub"
    submit.write_text('#!/bin/sh\necho "Submitted $2 with $1"\nnohup bash "$2" > /dev/null 2>&1 < /dev/null &\n')
    submit.chmod(submit.stat().st_mode | stat.S_IXUSR)
    project.environment |= {
        "RELION_QUEUE_USE": "yes",
        "RELION_QUEUE_NAME": "gpuq",
        "RELION_QSUB_COMMAND": f"'{submit}' --now",
        "RELION_QSUB_TEMPLATE": "template.sh",
        "RELION_QSUB_EXTRA1": "Time:",
        "RELION_QSUB_EXTRA1_DEFAULT": "24:00",
    }
    return project


def test_a_job_is_submitted_with_a_filled_template_and_waited_for(queue):
    job = queue.new("trouble", "-o", "nr_threads=4")
    done = queue.call("run", job)
    assert done.returncode == 0, done.stderr
    script = queue.text(f"{job}run_submit.script")
    assert "#threads=4 cores=4 nodes=4 queue=gpuq name=External/job001/ extra=24:00 XXXextra2XXX" in script
    assert "\nnice /" in script
    assert "relion_jobs.running.worker External/job001/ >> External/job001/run.out" in script
    assert "Submitted External/job001/run_submit.script with --now" in done.stdout
    assert "mood good, continue False, threads 4" in done.stdout
    assert queue.marks(job) == [SUCCESS]
    assert queue.status(job) == "Succeeded"
    assert "qsub_extra1" in queue.text(f"{job}job.star")


def test_a_job_that_waits_in_a_queue_is_not_submitted_twice(queue):
    queue.environment["RELION_QSUB_COMMAND"] = "true"
    job = queue.new("trouble")
    assert queue.call("run", job, "--detach").returncode == 0
    refused = queue.call("run", job)
    assert refused.returncode == 1
    assert "submitted to a queue" in refused.stderr
    assert queue.call("abort", job).returncode == 0
    assert queue.call("run", job, "--detach").returncode == 0


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("RELION_QSUB_TEMPLATE", "nix.sh", "nix.sh: there is no such file"),
        ("RELION_QSUB_COMMAND", "/nix/qsub", "/nix/qsub"),
        ("RELION_QSUB_COMMAND", "false", "refused the job"),
    ],
)
def test_a_submission_that_fails_is_a_failure_of_the_job(queue, variable, value, sentence):
    queue.environment[variable] = value
    job = queue.new("trouble")
    done = queue.call("run", job)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert queue.marks(job) == [FAILURE]
    assert queue.status(job) == "Failed"


def test_scheduled_jobs_run_in_the_order_of_their_files(project):
    first = project.new("toy", "-o", "fn_in=parts.star")
    second = project.new("toy", "-o", f"fn_in={first}list.star")
    (project.path / first / "list.star").write_text(project.text("parts.star"))
    done = project.call("schedule")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.index(f"{first} succeeded") < done.stdout.index(f"{second} started")
    assert project.status(second) == "Succeeded"


def test_independent_jobs_run_at_once_as_far_as_allowed(project):
    jobs = [project.new("trouble", "-o", "mood=slow") for _ in range(3)]
    with project.start("schedule", "--jobs", "2", start_new_session=True) as scheduler:
        project.wait_until(lambda: sum((project.path / job / "started").exists() for job in jobs) == 2)
        assert [project.status(job) for job in jobs] == ["Running", "Running", "Scheduled"]
        scheduler.send_signal(signal.SIGINT)
        _out, _ = scheduler.communicate(timeout=30)
    assert scheduler.returncode == 1
    assert [project.status(job) for job in jobs] == ["Aborted", "Aborted", "Scheduled"]


def test_what_depends_on_a_failed_job_does_not_start_and_it_says_why(project):
    bad = project.new("trouble", "-o", "mood=user")
    dependent = project.new("toy", "-o", f"fn_in={bad}out.star")
    done = project.call("schedule")
    assert done.returncode == 1
    assert f"{dependent} will not start" in done.stdout
    assert "failed" in done.stdout
    assert project.status(dependent) == "Scheduled"


def test_it_waits_for_a_file_and_for_jobs_of_others(project):
    late = project.new("toy", "-o", "fn_in=parts.star")
    (project.path / "parts.star").rename(project.path / "later.star")
    with project.start("schedule", start_new_session=True) as scheduler:
        line = scheduler.stdout.readline()
        assert f"{late} waits: its input parts.star does not exist yet" in line
        (project.path / "later.star").rename(project.path / "parts.star")
        _out, err = scheduler.communicate(timeout=30)
    assert scheduler.returncode == 0, err
    assert project.status(late) == "Succeeded"


def test_jobs_of_types_that_are_not_ours_are_waited_for_and_left_alone(project):
    from relion_jobs.contract.labels import Status
    from relion_jobs.ondisk.project import edit_pipeline
    from relion_jobs.pipeline.graph import Process, add_process

    with edit_pipeline(project.path, "test") as edit:
        edit.pipeline = add_process(edit.pipeline, Process("Refine3D/job001/", None, "relion.refine3d", Status.SCHEDULED))
    (project.path / "Refine3D/job001").mkdir(parents=True)
    project.environment["PATH"] = os.path.dirname(sys.executable)
    with project.start("schedule", start_new_session=True) as scheduler:
        assert "is of type relion.refine3d, which is not ours" in scheduler.stdout.readline()
        scheduler.send_signal(signal.SIGINT)
        scheduler.communicate(timeout=20)
    assert project.status("Refine3D/job001/") == "Scheduled"
    assert os.listdir(project.path / "Refine3D/job001") == []


def test_what_has_no_place_on_this_machine_waits_and_says_why(project):
    jobs = [project.new("trouble", "-o", "mood=slow") for _ in range(2)]
    with project.start("schedule", start_new_session=True) as scheduler:
        assert f"{jobs[0]} started" in scheduler.stdout.readline()
        assert f"{jobs[1]} waits: 1 job runs on this machine, 1 may (--jobs)" in scheduler.stdout.readline()
        second = project.call("schedule")
        assert second.returncode == 1
        assert "Another 'relion_jobs schedule' is at work" in second.stderr
        project.wait_for(f"{jobs[0]}started")
        assert project.call("schedule", "--abort").returncode == 0
        out, _ = scheduler.communicate(timeout=60)
    assert "starts nothing more" in out
    assert scheduler.returncode == 1
    assert [project.status(job) for job in jobs] == ["Aborted", "Scheduled"]
    assert not list(project.path.glob("RUNNING_PIPELINER*"))
    nothing = project.call("schedule", "--stop")
    assert nothing.returncode == 1
    assert "nothing to stop" in nothing.stderr


def test_jobs_are_repeated_and_the_next_one_waits_for_its_minutes(project):
    first = project.new("toy", "-o", "fn_in=parts.star")
    done = project.call("schedule", "--repeat", "3", "--wait", "0.01")
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.text(f"{first}note.txt").count("Executing new job") == 3
    assert "Round 3 of 3." in done.stdout
    assert project.status(first) == "Succeeded"


def test_a_failure_ends_the_repeats(project):
    bad = project.new("trouble", "-o", "mood=failed")
    assert project.call("schedule", "--repeat", "3").returncode == 1
    assert project.text(f"{bad}note.txt").count("Executing new job") == 1


def test_after_its_death_a_schedule_is_taken_up_and_no_job_runs_twice(project):
    first = project.new("toy", "-o", "fn_in=parts.star", "-o", "rows_per_second=10")
    second = project.new("toy", "-o", "fn_in=parts.star")
    with project.start("schedule", "--repeat", "2", start_new_session=True) as scheduler:
        project.wait_for(f"{first}run.out")
        project.wait_until(lambda: "Counting" in project.text(f"{first}run.out"))
        scheduler.kill()
    done = project.call("schedule")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{first} still runs." in done.stdout or f"{first} succeeded" in done.stdout
    assert "Takes up round 1 of 2 of the schedule of process" in done.stdout
    assert [project.text(f"{job}run.out").count("Counting 20 particles from row 0") for job in (first, second)] == [2, 2]
    assert not (project.path / ".relion_jobs_schedule.json").exists()


@pytest.mark.parametrize(
    "words", [("--jobs", "0"), ("--jobs-per-gpu", "-1"), ("--repeat", "0"), ("--wait", "-1"), ("--wait", "nan")]
)
def test_numbers_that_let_nothing_run_are_refused(project, words, monkeypatch, capsys):
    monkeypatch.chdir(project.path)
    assert cli.main(["schedule", *words]) == 1
    assert words[0] in capsys.readouterr().err
