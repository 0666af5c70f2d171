"""The CCP-EM pipeliner and ours in one project: it runs our executable, each reads what the other wrote."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from relion_jobs.ondisk.project import read_pipeline
from tests.conftest import Project

CCPEM_SUCCESS, CCPEM_FAILED = "PIPELINER_JOB_EXIT_SUCCESS", "PIPELINER_JOB_EXIT_FAILED"
SIMULATE = "preset=custom box_size=24 angpix=6 nr_particles=80 nr_arms=1 core_mass=20"
JOB = """
# version 50001

data_job

_rlnJobTypeLabel dynamight
_rlnJobIsContinue 0
_rlnJobIsTomo 0

# version 50001

data_joboptions_values

loop_
_rlnJobOptionVariable #1
_rlnJobOptionValue #2
fn_star External/job001/particles.star
fn_map External/job001/consensus.mrc
nr_gaussians 60
do_est_motion Yes
do_inverse Yes
nr_epochs 2
do_reconstruct Yes

"""


class Ccpem:
    """The pipeliner in one project, with one program as its DynaMight."""

    def __init__(self, program: Path, project: Path) -> None:
        self.program = program
        self.project = project

    def call(self, *words: str, executable: str = "") -> str:
        environment = os.environ | {"PIPELINER_DYNAMIGHT_EXECUTABLE": executable, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [self.program, *words], cwd=self.project, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def shared(pipeliner, tmp_path_factory) -> tuple[Project, Ccpem]:
    """A project of ours with simulated particles, in which the pipeliner has run all tasks of a DynaMight job."""
    path = tmp_path_factory.mktemp("ccpem") / "project"
    path.mkdir()
    project = Project(path, {"RELION_JOBS_SITE": "", "OMP_NUM_THREADS": "1"})
    assert project.call("init").returncode == 0
    job = project.new("simulate", *(word for option in SIMULATE.split() for word in ("-o", option)))
    project.call("run", job, "--detach")
    project.wait_until(lambda: bool(project.marks(job)), seconds=600)
    assert project.marks(job) == ["RELION_JOB_EXIT_SUCCESS"], project.text(f"{job}run.err")
    executable = path.parent / "relion_jobs_dynamight"
    # our executable; the further word keeps the training short
    executable.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m relion_jobs.dropin dynamight "$@" --n-epochs 2\n')
    executable.chmod(0o755)
    (path / "dynamight_job.star").write_text(JOB)
    ccpem = Ccpem(pipeliner, path)
    ccpem.call("--run_job", "dynamight_job.star", executable=str(executable))
    directory = path / "DynaMight" / "job002"
    try:
        project.wait_until(lambda: any(directory.glob("PIPELINER_JOB_EXIT_*")), seconds=900)
    finally:
        # its job runs in the background: none may stay behind; one that has ended takes no notice
        (directory / "PIPELINER_JOB_ABORT_NOW").touch()
    assert (directory / CCPEM_SUCCESS).exists(), (directory / "run.out").read_text() + (directory / "run.err").read_text()
    (directory / "PIPELINER_JOB_ABORT_NOW").unlink()
    return project, ccpem


def test_the_tasks_of_its_job_run_in_a_row_and_only_it_leaves_a_mark(shared):
    project, _ = shared
    directory = project.path / "DynaMight" / "job002"
    for name in ("forward_deformations/checkpoints/checkpoint_final.pth", "backprojection/map_half1.mrc", "logfile.pdf"):
        assert (directory / name).stat().st_size > 0
    assert sorted(path.name for path in directory.glob("*_JOB_*")) == [CCPEM_SUCCESS]
    assert "Running command 3 of 3" in (directory / "run.out").read_text()


def test_our_status_takes_its_mark_and_keeps_every_node(shared):
    project, _ = shared
    simulated = project.new("toy", "-o", "fn_in=External/job001/particles.star")
    shown = project.call("status").stdout
    assert [line.split()[:3] for line in shown.splitlines()[1:3]] == [
        ["External/job001/", "relion.external.simulate", "Succeeded"],
        ["DynaMight/job002/", "dynamight", "Succeeded"],
    ]
    assert simulated == "External/job003/"
    pipeline = read_pipeline(project.path)
    outputs = {node.path.removeprefix("DynaMight/job002/"): node.label for node in pipeline.outputs_of("DynaMight/job002/")}
    assert outputs["backprojection/map_half1.mrc"] == "DensityMap.mrc.relion.halfmap.dynamight"
    assert len(pipeline.outputs_of("External/job001/")) == 6
    assert [node.path for node in pipeline.inputs_of("DynaMight/job002/")] == [
        "External/job001/particles.star",
        "External/job001/consensus.mrc",
    ]


def test_it_reads_and_rewrites_what_we_wrote_and_we_read_that(shared):
    project, ccpem = shared
    before = read_pipeline(project.path)
    ccpem.call("--set_alias", "DynaMight/job002", "flex")
    text = project.text("default_pipeline.star")
    assert "CCP-EM Pipeliner version" in text
    assert "_rlnPipeLineNodeTypeLabelDepth" not in text
    after = read_pipeline(project.path)
    assert after.process("DynaMight/job002/").alias == "DynaMight/flex/"
    assert [process.name for process in after.processes] == [process.name for process in before.processes]
    assert [node.path for node in after.nodes] == [node.path for node in before.nodes]
    done = project.call("check", "DynaMight/flex")
    assert done.returncode == 0, done.stderr


def test_a_job_that_fails_in_its_hands_is_failed_in_ours(shared):
    project, ccpem = shared
    text = JOB.replace("do_inverse Yes", "do_inverse No").replace("do_reconstruct Yes", "do_reconstruct No")
    (project.path / "failing_job.star").write_text(text)
    number = read_pipeline(project.path).counter
    ccpem.call("--run_job", "failing_job.star", executable="false")
    job = f"DynaMight/job{number:03d}/"
    project.wait_for(f"{job}{CCPEM_FAILED}", seconds=120)
    assert project.call("status", job).stdout.startswith(f"{job}: dynamight, Failed\n")
