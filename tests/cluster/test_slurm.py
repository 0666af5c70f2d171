"""Jobs of ours in a real Slurm: submitted, watched, ended in every way."""

from __future__ import annotations

import re
import subprocess
from contextlib import suppress
from datetime import datetime, timedelta

import pytest

ABORTED, FAILURE, SUCCESS = "RELION_JOB_EXIT_ABORTED", "RELION_JOB_EXIT_FAILURE", "RELION_JOB_EXIT_SUCCESS"

TEMPLATE = """#!/bin/bash
#SBATCH --job-name=XXXnameXXX
#SBATCH --partition=XXXqueueXXX
#SBATCH --ntasks=XXXmpinodesXXX --cpus-per-task=XXXthreadsXXX
#SBATCH --output=XXXoutfileXXX --error=XXXerrfileXXX --open-mode=append
#SBATCH XXXextra1XXX
# cores XXXcoresXXX, dedicated XXXdedicatedXXX, nodes XXXnodesXXX, not defined XXXextra2XXX
exec XXXcommandXXX
"""


@pytest.fixture
def cluster(project, slurm):
    """A project whose jobs go to Slurm."""
    (project.path / "template.sh").write_text(TEMPLATE)
    project.environment |= slurm.environment | {
        "RELION_QUEUE_USE": "yes",
        "RELION_QUEUE_NAME": "main",
        "RELION_QSUB_COMMAND": "sbatch",
        "RELION_QSUB_TEMPLATE": "template.sh",
        "RELION_QSUB_EXTRA1": "Further options of sbatch:",
    }
    return project


def submit(cluster, *options):
    """A new job of type trouble in the queue: its name and its number there."""
    job = cluster.new("trouble", *(word for option in options for word in ("-o", option)))
    done = cluster.call("run", job, "--detach")
    assert done.returncode == 0, done.stderr
    return job, number_of(cluster, job)


def number_of(cluster, job):
    return re.search(r"Submitted batch job (\d+)", cluster.text(f"{job}run_submit.log"))[1]


def status_once_ended(cluster, job):
    """What ``relion_jobs status`` makes of a job that leaves no mark."""
    cluster.wait_until(lambda: "Running" not in cluster.call("status", job).stdout.splitlines()[0], seconds=60)
    return cluster.status(job)


def test_a_job_is_submitted_watched_and_finished(cluster, slurm):
    job = cluster.new("trouble", "-o", "nr_threads=2")
    done = cluster.call("run", job)
    assert done.returncode == 0, done.stderr
    number = number_of(cluster, job)
    assert f"Submitted batch job {number}" in done.stdout
    assert re.search(rf"{job} (waits|runs) as Slurm job {number}|succeeded", done.stdout)
    assert "mood good, continue False, threads 2" in done.stdout
    assert (cluster.marks(job), cluster.status(job)) == ([SUCCESS], "Succeeded")
    facts = slurm.facts(number)
    assert (facts["Partition"], facts["JobName"], facts["CPUs/Task"], facts["NumTasks"]) == ("main", job, "2", "1")
    script = cluster.text(f"{job}run_submit.script")
    assert "# cores 2, dedicated 1, nodes 2, not defined XXXextra2XXX\nexec /" in script
    assert script.endswith(f"relion_jobs.running.worker {job}\n\n")


def test_a_waiting_job_says_why_and_both_can_be_stopped(cluster):
    first, number = submit(cluster, "mood=slow", "nr_threads=2")
    cluster.wait_for(f"{first}started")
    second, waiting = submit(cluster, "nr_threads=2")
    line = cluster.call("status", second).stdout
    assert re.search(
        rf"waits as Slurm job {waiting}: (no node is free \(Resources\)|other jobs come first \(Priority\)|.*\(None\))", line
    )
    assert f"runs as Slurm job {number} on localhost" in cluster.call("status", first).stdout
    assert f"waits as Slurm job {waiting}" in cluster.call("status").stdout

    assert f"{second} was cancelled with 'scancel {waiting}'." in cluster.call("abort", second).stdout
    assert (ABORTED in cluster.marks(second), cluster.status(second)) == (True, "Aborted")

    said = cluster.call("abort", first).stdout
    assert "was asked to stop by its abort mark" in said
    cluster.wait_for(f"{first}{ABORTED}")
    assert (cluster.path / first / "checkpoint").exists()
    assert status_once_ended(cluster, first) == "Aborted"


def test_a_job_that_ignores_its_abort_mark_is_cancelled_at_the_second_request(cluster):
    job, number = submit(cluster, "mood=stubborn")
    cluster.wait_for(f"{job}started")
    assert "once more cancels it" in cluster.call("abort", job).stdout
    (cluster.path / "site.yaml").write_text("queue_cancel_command: scancel --verbose\n")
    said = cluster.call("abort", job).stdout
    assert f"was cancelled with 'scancel --verbose {number}'" in said
    # its task ignores SIGTERM too, so Slurm kills it before it can write a mark
    assert status_once_ended(cluster, job) == "Aborted"
    assert f"Slurm job {number} has ended (CANCELLED): it was cancelled, and it left no mark." in cluster.text(f"{job}run.out")


def test_a_job_that_fails_is_failed(cluster):
    job = cluster.new("trouble", "-o", "mood=failed")
    done = cluster.call("run", job)
    assert done.returncode == 1
    assert done.stderr.endswith(f"{job} failed: The loss is NaN.\n")
    assert (cluster.marks(job), cluster.status(job)) == ([FAILURE], "Failed")


def test_a_job_that_dies_without_a_mark_is_noticed_by_status(cluster):
    job, number = submit(cluster, "mood=silent")
    assert status_once_ended(cluster, job) == "Failed"
    assert cluster.marks(job) == [FAILURE]
    reason = f"Slurm job {number} has ended (FAILED): its script failed, and it left no mark."
    assert reason in cluster.text(f"{job}run.err")
    assert reason in cluster.call("status").stdout


def test_a_front_end_that_waits_tells_of_a_job_that_is_cancelled_behind_its_back(cluster, slurm):
    job = cluster.new("trouble", "-o", "mood=slow", "-o", "qsub_extra1=--hold")
    with cluster.start("run", job) as waiting:
        cluster.wait_until(
            lambda: (cluster.path / f"{job}run_submit.log").exists() and "job" in cluster.text(f"{job}run_submit.log")
        )
        cluster.wait_until(lambda: "it is held" in cluster.call("status", job).stdout)
        slurm.call("scancel", number_of(cluster, job))
        out, err = waiting.communicate(timeout=60)
    assert "(JobHeldUser)" in out
    assert "was aborted" in err
    assert cluster.status(job) == "Aborted"


def test_the_warning_before_the_time_limit_becomes_a_checkpoint_and_the_next_submission_goes_on(cluster):
    job, first = submit(cluster, "mood=slow", "qsub_extra1=--time=1 --signal=B:TERM@55")
    cluster.wait_for(f"{job}checkpoint", seconds=90)
    assert status_once_ended(cluster, job) == "Aborted"
    assert "SIGTERM was received" in cluster.text(f"{job}run.out")
    done = cluster.call("continue", job, "-o", "mood=good")
    assert done.returncode == 0, done.stderr
    assert number_of(cluster, job) != first
    assert "mood good, continue True" in done.stdout
    assert (cluster.marks(job), cluster.status(job)) == ([SUCCESS], "Succeeded")


def test_a_job_that_slurm_starts_again_goes_on_and_ends_well(cluster, slurm):
    job, number = submit(cluster, "mood=slow")
    cluster.wait_for(f"{job}started")
    slurm.call("scontrol", "requeue", number)
    cluster.wait_for(f"{job}{ABORTED}")
    text = cluster.text(f"{job}job.star").replace(" slow ", " good ")
    (cluster.path / f"{job}job.star").write_text(text)

    told = []

    def has_succeeded():
        facts, soon = slurm.facts(number), (datetime.now() + timedelta(seconds=5)).isoformat()
        later = facts["JobState"] == "PENDING" and facts.get("StartTime", "")[:2] == "20" and facts["StartTime"] > soon
        if later and not told:
            # Slurm would wait for two minutes; it refuses while it still cleans up after the first run, or once the second
            # begins; told more than once it would look for a time anew each time, and never start the job; a node refuses a
            # run of the second in which it ended the run before, and Slurm then holds the job for failed
            with suppress(subprocess.CalledProcessError):
                told.append(slurm.call("scontrol", "update", f"JobId={number}", "StartTime=now+2"))
        return SUCCESS in cluster.marks(job)

    cluster.wait_until(has_succeeded, seconds=400)
    assert "mood good, continue True" in cluster.text(f"{job}run.out")
    assert status_once_ended(cluster, job) == "Succeeded"


def test_every_job_sees_the_gpu_that_slurm_gave_it(cluster):
    def seen(job):
        said = re.compile(r"CUDA_VISIBLE_DEVICES=(\S+)\n")
        cluster.wait_until(
            lambda: said.search(cluster.text(f"{job}run.out") if (cluster.path / f"{job}run.out").exists() else ""), 60
        )
        return said.search(cluster.text(f"{job}run.out"))[1]

    jobs = [submit(cluster, "mood=gpu", "qsub_extra1=--gres=gpu:1")[0] for _ in range(2)]
    assert sorted(seen(job) for job in jobs) == ["0", "1"]
    both, _ = submit(cluster, "mood=gpu", "qsub_extra1=--gres=gpu:2")
    (cluster.path / "go").touch()
    assert seen(both) == "0,1"
    for job in (*jobs, both):
        cluster.wait_for(f"{job}{SUCCESS}", seconds=60)


@pytest.mark.parametrize("name", ["main; touch stolen", "$(touch stolen)", "`touch stolen`", "main' 'x", '"main'])
def test_a_queue_name_with_a_command_in_it_runs_nothing(cluster, name):
    job = cluster.new("trouble", "-o", f"queuename={name}")
    done = cluster.call("run", job)
    assert done.returncode == 1
    assert not (cluster.path / "stolen").exists()
    assert (cluster.marks(job), cluster.status(job)) == ([FAILURE], "Failed")


def test_what_sbatch_refuses_fails_at_once(cluster):
    job = cluster.new("trouble", "-o", "qsub_extra1=--gres=tpu:1")
    done = cluster.call("run", job)
    assert "The queue refused the job: 'sbatch " in done.stderr
    assert cluster.status(job) == "Failed"
