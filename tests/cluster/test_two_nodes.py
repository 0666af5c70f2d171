"""A training by two processes on each of two nodes of a real Slurm: warned before its time limit, it goes on with one node."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.unit.jobtypes.dynamight.forward_deformations.conftest import make_project

ABORTED, FAILURE, SUCCESS = "RELION_JOB_EXIT_ABORTED", "RELION_JOB_EXIT_FAILURE", "RELION_JOB_EXIT_SUCCESS"

# the script runs on the first node, whose name leads the others there; here all of them are this machine
TEMPLATE = """#!/bin/bash
#SBATCH --job-name=XXXnameXXX --partition=XXXqueueXXX
#SBATCH --ntasks-per-node=1 --cpus-per-task=2 --time=10 --signal=TERM@60
#SBATCH --output=XXXoutfileXXX --error=XXXerrfileXXX --open-mode=append
#SBATCH XXXextra1XXX
srun --output=XXXnameXXXsrun.out {torchrun} --nnodes=$SLURM_NNODES --nproc-per-node=2 --rdzv-id=$SLURM_JOB_ID \\
    --rdzv-backend=c10d --rdzv-endpoint=$(hostname):{port} --no-python XXXcommandXXX
"""
# so slow that no test sees its end
FLAGS = "--training-batch-size 2 --soft-edge-width 12 --n-basis-fields 4 --n-latent-dimensions 2"


@pytest.fixture
def cluster(project, slurm_of_two_nodes):
    """A project with a small particle set, whose jobs go to Slurm."""
    make_project(project.path)
    with socket.create_server(("", 0)) as listening:
        port = listening.getsockname()[1]
    torchrun = f"{sys.executable} -m torch.distributed.run"
    (project.path / "template.sh").write_text(TEMPLATE.format(torchrun=torchrun, port=port))
    project.environment |= slurm_of_two_nodes.environment | {
        "RELION_QUEUE_USE": "yes",
        "RELION_QUEUE_NAME": "main",
        "RELION_QSUB_COMMAND": "sbatch",
        "RELION_QSUB_TEMPLATE": "template.sh",
        "RELION_QSUB_EXTRA1": "Further options of sbatch:",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    return project


def new_training(cluster, epochs: int) -> str:
    options = [
        "fn_star=particles.star",
        "fn_map=map.mrc",
        "nr_gaussians=4000",
        f"other_args={FLAGS} --n-training-epochs {epochs}",
    ]
    return cluster.new("dynamight", *(word for option in options for word in ("-o", option)), "-o", "qsub_extra1=--nodes=2")


def log(cluster, job: str) -> str:
    path = cluster.path / f"{job}run.out"
    return path.read_text() if path.exists() else ""


def submitted(cluster, *words: str) -> str:
    """Submit a job; its number in the queue."""
    done = cluster.call(*words)
    assert done.returncode == 0, done.stderr
    return re.findall(r"Submitted batch job (\d+)", done.stdout)[-1]


def test_a_training_on_two_nodes_is_warned_of_its_time_limit_and_goes_on_with_one_node(cluster, slurm_of_two_nodes):
    job = new_training(cluster, 200)
    number = submitted(cluster, "run", job, "--detach")
    cluster.wait_until(lambda: "Epoch 3, to" in log(cluster, job) or cluster.marks(job), seconds=300)
    assert log(cluster, job).count("Process 4 of 4") == 1
    assert slurm_of_two_nodes.facts(number)["NumNodes"] == "2"
    slurm_of_two_nodes.call("scontrol", "update", f"JobId={number}", "TimeLimit=1")  # the warning is due
    cluster.wait_until(lambda: cluster.marks(job), seconds=300)
    assert cluster.marks(job) == [ABORTED]
    done = len(re.findall(r"^.*Epoch \d+, to", log(cluster, job), re.MULTILINE))
    assert 3 <= done < 200

    again = submitted(
        cluster, "continue", job, "--detach", "-o", "qsub_extra1=--nodes=1", "-o", f"other_args={FLAGS} --n-training-epochs 200"
    )
    cluster.wait_until(lambda: f"Epoch {done + 3}, to" in log(cluster, job), seconds=300)
    assert slurm_of_two_nodes.facts(again)["NumNodes"] == "1"
    assert log(cluster, job).count("Process 2 of 2") == 1
    assert log(cluster, job).count("Going on from epoch") == 1
    assert cluster.call("abort", job).returncode == 0
    cluster.wait_until(lambda: ABORTED in cluster.marks(job), seconds=120)


def test_a_process_that_dies_on_one_node_ends_the_job_on_both(cluster):
    job = new_training(cluster, 200)
    submitted(cluster, "run", job, "--detach")
    cluster.wait_until(lambda: "Epoch 1, to" in log(cluster, job) or cluster.marks(job), seconds=300)
    os.kill(process_of_rank(3), 9)
    cluster.wait_until(lambda: cluster.marks(job), seconds=120)
    assert cluster.marks(job) == [FAILURE]
    assert "ended without a word" in log(cluster, job).splitlines()[-1]


def process_of_rank(rank: int) -> int:
    """The worker of this rank, by its environment."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words, command = (path / "environ").read_bytes().split(b"\0"), (path / "cmdline").read_bytes()
        except OSError:
            continue
        if f"RANK={rank}".encode() in words and b"WORLD_SIZE=4" in words and b"relion_jobs.running.worker" in command:
            return int(path.name)
    raise AssertionError(f"There is no process of rank {rank}.")
