"""RELION launches us, as far as a stub can be RELION: every task ends as it should, and RELION learns of it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from relion_jobs.contract.labels import Status
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.owner import Owner

from .conftest import DEFAULTS, command_line  # isort: skip

SNAPSHOTS = Path(__file__).parents[1] / "data" / "relion" / "snapshots"
NOTES = sorted({path for path in SNAPSHOTS.rglob("DynaMight/*/note.txt")})


@pytest.mark.parametrize("note", NOTES, ids=lambda path: "-".join(path.parts[-4:-1]))
def test_the_stub_makes_the_command_line_that_relion_made(note):
    request = job_star.read(note.parent / "job.star")
    last = re.findall(r"command\(s\): \n(.*)\n \+\+\+\+ ", note.read_text())[-1]
    name = f"DynaMight/{note.parent.name}/"
    assert set(request.values) - {"qsub_extra1", "qsub_extra2"} == set(DEFAULTS)
    assert command_line(request.values, name, is_continue=request.is_continue) == last


def test_a_new_job_and_each_continue_end_as_succeeded_with_their_outputs(relion):
    name = relion.new()
    assert relion.wait(name) is Status.SUCCEEDED, relion.log(name)
    assert not {"backprojection/map_half1.mrc"} & relion.outputs(name)
    for task, found in (("do_visualize", "visualization"), ("do_inverse", "inverse_deformations"), ("do_reconstruct", "")):
        relion.again(name, **{task: "Yes"})
        assert relion.wait(name) is Status.SUCCEEDED, relion.log(name)
        assert (relion.project / name / found).is_dir()
    assert {"backprojection/map_half1.mrc", "backprojection/map_half2.mrc", "logfile.pdf"} <= relion.outputs(name)
    assert all((relion.project / name / path).exists() for path in relion.outputs(name))
    assert (relion.project / name / "note.txt").read_text().count("++++ Executing new job on") == 4
    # RELION's GUI shows run.err in red; options of another task are nothing to be warned of
    assert {line.partition(":")[0] for line in relion.errors(name)} <= {"Warning"}
    assert not [line for line in relion.errors(name) if "belongs to" in line]
    assert "--n-training-epochs belongs to forward_deformations" in relion.log(name)


def test_all_tasks_runs_everything_in_one_go_and_relion_learns_of_the_half_maps(relion):
    name = relion.new(other_args=relion.values["other_args"] + " --all-tasks", nr_epochs="1")
    assert relion.wait(name) is Status.SUCCEEDED, relion.log(name)
    assert {"backprojection/map_half1.mrc", "backprojection/map_half2.mrc"} <= relion.outputs(name)
    assert (relion.project / name / "inverse_deformations" / "inv_chkpt.pth").exists()
    assert not (relion.project / name / "visualization").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fn_map": "nowhere.mrc"}, "a file that does not exist"),
        ({"other_args": "--nonsense"}, "'--nonsense' is no option"),
        ({"gpu_id": "first"}, "GPU"),
        ({"nr_gaussians": "many"}, "nr_gaussians (Number of Gaussians:) is 'many'; it must be a whole number"),
        ({"nr_gaussians": "1000000000"}, "it must be a whole number of at most 1000000"),
        ({"nr_threads": "100000"}, "it must be a whole number of at most 1024"),
        ({"other_args": "--training-batch-size -1"}, "it must be a whole number of at least 1"),
    ],
)
def test_a_job_that_cannot_work_ends_as_failed_with_a_sentence(relion, changes, sentence):
    name = relion.new(**changes)
    assert relion.wait(name) is Status.FAILED
    assert sentence in relion.log(name)


def test_a_task_without_its_training_ends_as_failed(relion):
    name = relion.new(fn_map="nowhere.mrc")
    relion.wait(name)
    relion.again(name, do_reconstruct="Yes")
    assert relion.wait(name) is Status.FAILED
    assert "checkpoint" in relion.log(name)


@pytest.mark.parametrize("way", ["abort mark", "SIGTERM"])
def test_a_job_that_is_stopped_ends_as_aborted_and_has_a_checkpoint(relion, way):
    name = relion.new(other_args=relion.values["other_args"].replace("--n-training-epochs 1", "--n-training-epochs 900"))
    relion.wait_for_line(name, "training:")
    if way == "abort mark":
        (relion.project / name / "RELION_JOB_ABORT_NOW").touch()
    else:
        owner = Owner.find((relion.project / name / ".relion_jobs_run.owner").read_text())
        os.kill(owner.pid, signal.SIGTERM)
    assert relion.wait(name) is Status.ABORTED
    assert list((relion.project / name / "forward_deformations" / "checkpoints").glob("*.pth"))
    # so few particles bear no motion, which is worth a warning
    assert [line for line in relion.errors(name) if "Too few particles" not in line] == []
