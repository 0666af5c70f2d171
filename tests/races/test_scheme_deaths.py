"""The program that runs a scheme dies at its n-th change of the disk; the next one goes on, and no job runs twice.

A full run: ``RELION_JOBS_SCHEME_DEATHS=60 pytest tests/races/test_scheme_deaths.py``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_star import JobRequest
from relion_jobs.ondisk.project import read_pipeline
from relion_jobs.schemes import scheme_star
from relion_jobs.schemes.scheme_graph import Edge, Operator, Scheme, SchemeJob, Variable

# os.replace ends every whole write: pipeline, scheme.star, job.star, locks
DYING = """
import os, signal, sys
from relion_jobs import cli
left, replace = int(sys.argv[1]), os.replace
def dying(*words, **keywords):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*words, **keywords)
os.replace = dying
sys.exit(cli.main(["scheme", "run", "loop"]))
"""
EVERY = int(os.environ.get("RELION_JOBS_SCHEME_DEATHS", "0"))
MOMENTS = range(1, EVERY + 1) if EVERY else (4, 9, 13, 19)


@pytest.mark.parametrize("moment", MOMENTS)
def test_after_a_death_the_scheme_goes_on_and_each_job_has_run_once(project, moment):
    scheme = Scheme(
        "Schemes/loop/",
        "count",
        {"i": Variable(0.0, 0.0)},
        {"done": Variable(False, False)},
        operators={"INCR": Operator("float=plus", "i", "i", "1"), "CHECK": Operator("bool=ge", "done", "i", "2")},
        jobs={"count": SchemeJob("count", "new", False)},
        edges=(Edge("count", "INCR"), Edge("INCR", "CHECK"), Edge("CHECK", "count", True, "undefined", "done")),
    )
    (project.path / "Schemes/loop/count").mkdir(parents=True)
    job_star.write(
        JobRequest("relion.external.toy", values={"fn_in": "parts.star"}), project.path / "Schemes/loop/count/job.star"
    )
    scheme_star.write(scheme, project.path)
    first = subprocess.run(
        [sys.executable, "-c", DYING, str(moment)], cwd=project.path, capture_output=True, timeout=300, check=False
    )
    assert first.returncode in ((0, -signal.SIGKILL) if EVERY else (-signal.SIGKILL,)), first.stderr
    if first.returncode:
        with project.start("scheme", "run", "loop") as second:
            out, err = second.communicate(timeout=300)
        assert second.returncode == 0, out + err
    after = scheme_star.read(project.path, "loop")
    assert (after.floats["i"].value, after.run) == (2.0, None)
    jobs = [process for process in read_pipeline(project.path).processes]
    assert [str(process.status) for process in jobs] == ["Succeeded", "Succeeded"]
    assert [project.text(f"{process.name}run.out").count("Counting 20 particles") for process in jobs] == [1, 1]
