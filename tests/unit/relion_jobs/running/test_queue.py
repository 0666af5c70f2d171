"""What is made of a queue's answers; a real Slurm is asked in tests/cluster."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import EXIT_ABORTED, EXIT_FAILURE
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.job_star import JobRequest
from relion_jobs.ondisk.job_star import write as write_job_star
from relion_jobs.running import queue, slurm
from relion_jobs.running.queue import cancel, standing
from relion_jobs.running.queue_protocol import QueuedJob

NOW = "2030-01-01T12:00:00"


@pytest.fixture
def job(tmp_path):
    """A job that was submitted as Slurm job 12."""
    directory = JobDirectory(tmp_path, "External/job001/")
    directory.create()
    launch(directory)
    (directory.path / "run_submit.log").write_text("sbatch External/job001/run_submit.script\nSubmitted batch job 12\n")
    return directory


def launch(directory: JobDirectory, do_queue: str = "Yes") -> None:
    write_job_star(JobRequest("relion.external.toy", False, False, {"do_queue": do_queue}), directory.path / "job.star")
    (directory.path / "run_submit.script").write_text("#!/bin/bash\n")


def answer(monkeypatch, *rows: str) -> None:
    """Let Slurm answer with rows ``NUMBER|STATE|REASON|START|LEFT|NODES|SUBMITTED|SCRIPT``."""
    monkeypatch.setattr(slurm, "my_jobs", lambda *, fresh=False: slurm.parsed("\n".join(rows)))


def row(directory: JobDirectory, number: int, state: str, *, reason: str = "None", submitted: str = NOW) -> str:
    return f"{number}|{state}|{reason}|N/A|UNLIMITED|node1|{submitted}|{directory.path}/run_submit.script"


@pytest.mark.parametrize(
    ("state", "reason", "expected", "sentence"),
    [
        ("PENDING", "Resources", "waits", "waits as Slurm job 12: no node is free (Resources)"),
        ("PENDING", "QOSGrpCPU", "waits", "waits as Slurm job 12: QOSGrpCPU"),
        ("RUNNING", "None", "runs", "runs as Slurm job 12 on node1"),
        ("COMPLETING", "None", "runs", "runs as Slurm job 12 on node1 (COMPLETING)"),
        ("SUSPENDED", "None", "runs", "runs as Slurm job 12 on node1 (SUSPENDED)"),
        ("TIMEOUT", "None", "ended", "Slurm job 12 has ended (TIMEOUT): it reached its time limit"),
        (
            "OUT_OF_MEMORY",
            "None",
            "ended",
            "Slurm job 12 has ended (OUT_OF_MEMORY): it used more memory than the template asks for",
        ),
    ],
)
def test_the_states_of_slurm_are_told_in_words(job, monkeypatch, state, reason, expected, sentence):
    answer(monkeypatch, row(job, 12, state, reason=reason))
    found = standing(job)
    assert (found.state, found.sentence, found.number) == (expected, sentence, "12")


def test_only_a_cancelled_job_counts_as_aborted(job, monkeypatch):
    for state, mark in (("CANCELLED", EXIT_ABORTED), ("FAILED", EXIT_FAILURE), ("NODE_FAIL", EXIT_FAILURE)):
        answer(monkeypatch, row(job, 12, state))
        assert standing(job).mark == mark


def test_a_job_that_slurm_has_forgotten_has_ended(job, monkeypatch):
    answer(monkeypatch)
    assert standing(job).state == "ended"


def test_of_a_job_that_another_user_submitted_nothing_is_concluded(job, monkeypatch):
    answer(monkeypatch)
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    assert standing(job).state == "unknown"


def test_where_slurm_does_not_answer_nothing_is_concluded(job, monkeypatch):
    monkeypatch.setattr(slurm, "my_jobs", lambda *, fresh=False: None)
    assert standing(job).state == "unknown"
    assert "Submitted batch job 12" in standing(job).sentence


def test_a_number_that_slurm_gave_to_another_script_is_not_taken_for_ours(job, monkeypatch):
    answer(monkeypatch, row(JobDirectory(job.project, "External/job002/"), 12, "RUNNING"))
    assert standing(job).state == "ended"


def test_a_job_that_relion_submitted_is_found_by_its_script_and_earlier_submissions_of_it_are_not(job, monkeypatch):
    (job.path / "run_submit.log").unlink()
    answer(monkeypatch, row(job, 7, "FAILED", submitted="2001-01-01T00:00:00"))
    assert standing(job).state == "unknown"
    answer(monkeypatch, row(job, 7, "FAILED", submitted="2001-01-01T00:00:00"), row(job, 8, "RUNNING"))
    assert (standing(job).state, standing(job).number) == ("runs", "8")


def test_the_log_of_an_earlier_submission_says_nothing_about_a_launch_without_queue(job, monkeypatch):
    answer(monkeypatch)
    launch(job, do_queue="No")
    assert standing(job) is None


def test_the_log_of_an_earlier_submission_says_nothing_about_a_later_one(job, monkeypatch):
    answer(monkeypatch)
    later = time.time() + 10
    os.utime(job.path / "job.star", (later, later))
    assert standing(job).state == "unknown"


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("Submitted batch job 12", "12"),
        ("Submitted batch job 12 on cluster c2", "12"),
        ("12", "12"),
        ("12;cluster", "12"),
        ("3141.server.site", "3141"),
        ('Your job 77 ("run_submit.script") has been submitted', "77"),
        ("Job <815> is submitted to queue <gpu>.", "815"),
        ("Welcome, 2026-11-22 10:00\nSubmitted batch job 9", "9"),
        ("thank you", ""),
    ],
)
def test_the_number_is_found_in_what_queues_say(said, number):
    assert QueuedJob(Path("script"), said=said).number() == number


def test_a_queue_that_is_not_slurm_needs_a_cancel_command(job, monkeypatch):
    (job.path / "run_submit.log").write_text("qsub External/job001/run_submit.script\n12.server\n")
    monkeypatch.setattr(slurm, "my_jobs", lambda *, fresh=False: None)
    with pytest.raises(UserError, match=r"give queue_cancel_command in site\.yaml"):
        cancel(job)
    (job.project / "site.yaml").write_text("queue_cancel_command: echo --now\n")
    assert cancel(job) == "cancelled with 'echo --now 12'"


def test_a_cancel_command_that_fails_is_told(job, monkeypatch):
    answer(monkeypatch, row(job, 12, "RUNNING"))
    (job.project / "site.yaml").write_text("queue_cancel_command: 'false'\n")
    with pytest.raises(UserError, match="'false 12' failed"):
        cancel(job)
    (job.project / "site.yaml").write_text("queue_cancel_command: /nix/qdel\n")
    with pytest.raises(UserError, match="'/nix/qdel 12' cannot be run"):
        cancel(job)


def test_slurm_is_not_asked_more_often_than_it_should_be(monkeypatch, tmp_path):
    asked = tmp_path / "asked"
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\necho x >> {asked}\necho '5|RUNNING|None|N/A|1:00|n1|{NOW}|/s'\necho '6_1|PENDING'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm._Answer, "time", None)
    for _ in range(5):
        assert [one.number for one in slurm.my_jobs() or ()] == [5]
    assert asked.read_text() == "x\n"
    slurm.my_jobs(fresh=True)
    assert asked.read_text() == "x\nx\n"
    monkeypatch.setattr(slurm._Answer, "time", None)


def test_what_cannot_be_read_is_no_job_in_a_queue(tmp_path):
    directory = JobDirectory(tmp_path, "External/job001/")
    directory.create()
    assert standing(directory) is None
    Path(directory.path / "run_submit.script").touch()
    assert standing(directory) is None
    assert queue.standing(JobDirectory(tmp_path, "../job001/")) is None
