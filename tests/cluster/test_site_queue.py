"""Jobs of ours in a queue whose commands site.yaml gives; a small program stands in for it."""

from __future__ import annotations

import os
import re
import signal
import sys

import pytest

ABORTED, FAILURE, SUCCESS = "RELION_JOB_EXIT_ABORTED", "RELION_JOB_EXIT_FAILURE", "RELION_JOB_EXIT_SUCCESS"

TEMPLATE = """#!/bin/bash
exec XXXcommandXXX >> XXXoutfileXXX 2>> XXXerrfileXXX
"""

# its jobs are files NUMBER, which hold the process or "held"; it forgets a job that has ended, as PBS does
STAND_IN = """
import os, pathlib, signal, subprocess, sys

root = pathlib.Path(__file__).parent
verb, words = sys.argv[1], sys.argv[2:]

def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return pathlib.Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"

if verb == "submit":
    number = 1 + len(list(root.glob("job*")))
    script = pathlib.Path(words[0]).read_text() if words else sys.stdin.read()
    if (root / "full").exists():
        who = "held"
    else:
        who = subprocess.Popen(["bash", "-c", script], start_new_session=True, stdout=subprocess.DEVNULL).pid
    (root / f"job{number}").write_text(str(who))
    print(f"{number}.standin")
    sys.exit()
entry = root / f"job{words[0].removesuffix('.standin')}"
text = entry.read_text()
if verb == "cancel" and text == "held":
    entry.write_text("0")
elif verb == "cancel":
    os.killpg(int(text), signal.SIGKILL)
elif text == "held":
    print("job_state = Q")
elif text != "0" and is_alive(int(text)):
    print("job_state = R")
else:
    print("stand-in: unknown job", file=sys.stderr)
    sys.exit(153)
"""

SITE = """
queue_template: template.sh
queue_command: {queue} submit
queue_id: '^(\\d+\\.standin)$'
queue_status_command: [{python}, {root}/queue.py, status, '{{id}}']
queue_waits: 'job_state = [QHW]'
queue_runs: 'job_state = [RE]'
queue_ended_codes: [153]
queue_cancel_command: {queue} cancel {{id}}
"""


@pytest.fixture
def site(project, tmp_path):
    """A project whose jobs go to the stand-in."""
    (tmp_path / "queue.py").write_text(STAND_IN)
    (project.path / "template.sh").write_text(TEMPLATE)
    queue = f"{sys.executable} {tmp_path}/queue.py"
    (project.path / "site.yaml").write_text(SITE.format(queue=queue, python=sys.executable, root=tmp_path))
    project.environment["RELION_QUEUE_USE"] = "yes"
    return project


def submit(site, *options):
    job = site.new("trouble", *(word for option in options for word in ("-o", option)))
    done = site.call("run", job, "--detach")
    assert done.returncode == 0, done.stderr
    return job


def pid_of(site, number):
    return int((site.path.parent / f"job{number}").read_text())


def as_relion_leaves_it(site, job):
    """RELION keeps nothing of what the submit command says."""
    (site.path / job / "run_submit.log").unlink()


def test_a_job_is_submitted_watched_and_finished(site):
    job = site.new("trouble")
    done = site.call("run", job)
    assert done.returncode == 0, done.stderr
    assert "1.standin" in done.stdout
    assert (site.marks(job), site.status(job)) == ([SUCCESS], "Succeeded")


def test_a_job_that_runs_says_so_and_stops_by_its_abort_mark(site):
    job = submit(site, "mood=slow")
    site.wait_for(f"{job}started")
    assert "runs as job 1.standin of the queue" in site.call("status", job).stdout
    said = site.call("abort", job).stdout
    assert said.endswith(f"at its next checkpoint; 'relion_jobs abort {job}' once more cancels it in its queue.\n")
    site.wait_for(f"{job}{ABORTED}")
    site.wait_until(lambda: "Aborted" in site.call("status", job).stdout)
    assert (site.path / job / "checkpoint").exists()


def test_a_job_that_waits_is_cancelled_in_the_queue(site):
    (site.path.parent / "full").touch()
    job = submit(site)
    assert "waits as job 1.standin of the queue" in site.call("status", job).stdout
    assert re.search(rf"{job} was cancelled with '.* cancel 1\.standin'\.", site.call("abort", job).stdout)
    assert (ABORTED in site.marks(job), site.status(job)) == (True, "Aborted")


def test_a_job_that_ignores_its_abort_mark_is_cancelled_at_the_second_request(site):
    job = submit(site, "mood=stubborn")
    site.wait_for(f"{job}started")
    site.call("abort", job)
    assert "was cancelled with" in site.call("abort", job).stdout
    site.wait_until(lambda: "Aborted" in site.call("status", job).stdout)


def test_a_job_that_vanished_from_the_queue_is_failed_with_the_reason(site):
    (site.path.parent / "full").touch()
    job = submit(site)
    (site.path.parent / "job1").write_text("0")
    line = site.call("status").stdout
    assert "job 1.standin of the queue has ended, and it left no mark." in line
    assert (site.marks(job), site.status(job)) == ([FAILURE], "Failed")


def test_a_job_that_is_killed_in_the_queue_is_failed(site):
    job = submit(site, "mood=stubborn")
    site.wait_for(f"{job}started")
    os.kill(pid_of(site, 1), signal.SIGKILL)
    site.wait_until(lambda: "Failed" in site.call("status", job).stdout)
    assert "1.standin of the queue has ended" in site.text(f"{job}run.err")


def test_of_a_queue_that_does_not_answer_nothing_is_concluded(site):
    (site.path.parent / "full").touch()
    job = submit(site)
    (site.path.parent / "queue.py").write_text("import sys; sys.exit('the server is down')")
    assert "was handed to a queue, which cannot be asked from here and said '1.standin'" in site.call("status", job).stdout
    assert site.status(job) == "Running"


@pytest.mark.parametrize("qsub", ["qsub -V", "sbatch", ""])
def test_aborting_a_job_that_relion_submitted_says_why_its_queue_cannot_be_told(site, qsub):
    (site.path.parent / "full").touch()
    job = submit(site)
    as_relion_leaves_it(site, job)
    star = site.text(f"{job}job.star")
    (site.path / job / "job.star").write_text(re.sub(r"(?m)^( *qsub) .*$", rf'\1 "{qsub}" ', star))
    done = site.call("abort", job)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{job} has its abort mark, which it looks for as soon as it runs." in done.stdout
    assert f"RELION keeps no number of the jobs that it submits: find the number of {job}run_submit.script" in done.stdout
    assert "RELION_JOB_ABORT_NOW" in site.marks(job)


def test_aborting_a_running_job_that_relion_submitted_promises_no_more_than_its_mark(site):
    job = submit(site, "mood=slow")
    site.wait_for(f"{job}started")
    as_relion_leaves_it(site, job)
    said = site.call("abort", job).stdout
    assert "at its next checkpoint; should it not: " in said
    assert "once more cancels" not in said
    site.wait_for(f"{job}{ABORTED}")


def test_a_command_that_reads_the_script_gets_it(site):
    (site.path / "site.yaml").write_text(site.text("site.yaml").replace(" submit\n", " submit <\n"))
    job = site.new("trouble")
    done = site.call("run", job)
    assert done.returncode == 0, done.stderr
    assert site.text(f"{job}run_submit.log").splitlines()[0].endswith(f"queue.py submit < {job}run_submit.script")
    assert site.status(job) == "Succeeded"
