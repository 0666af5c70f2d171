"""The executable that RELION calls, with RELION's argument lists and in RELION's way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from relion_jobs import dropin
from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.running.registry import registry

FAILURE, ABORTED, SUCCESS = "RELION_JOB_EXIT_FAILURE", "RELION_JOB_EXIT_ABORTED", "RELION_JOB_EXIT_SUCCESS"
D = "DynaMight/job002/"

TRAINING = f"""optimize-deformations --refinement-star-file parts.star --output-directory {D} --initial-model map.mrc
--n-gaussians
10000 --initial-threshold 0.012 --regularization-factor 1 --n-threads 4 --preload-images --gpu-id 0 --n-epochs 3
--pipeline-control {D}"""
VIEWER = f"explore-latent-space {D} --half-set 2 --checkpoint-file c.pth --gpu-id 0 --n-epochs 3 --pipeline-control {D}"
INVERSE = f"""optimize-inverse-deformations {D} --n-epochs 150 --save-deformations --preload-images --gpu-id 0 --n-epochs 3
--pipeline-control {D}"""
BACKPROJECTION = f"deformable-backprojection {D} --batch-size 10 --checkpoint-file c.pth --preload-images --pipeline_control {D}"


@pytest.fixture
def dynamight(tmp_path, monkeypatch):
    """The job type and a project with a DynaMight job as RELION leaves it before it calls us."""
    monkeypatch.chdir(tmp_path)
    for name in ("parts.star", "map.mrc", "c.pth", "default_pipeline.star"):
        Path(name).touch()
    Path(D).mkdir(parents=True)
    job_type = registry(environment={}).load("dynamight")
    values = {"fn_star": "parts.star", "fn_map": "map.mrc", "do_preload": "Yes", "other_args": "--n-epochs 3"}
    job_star.write(job_star.JobRequest("dynamight", False, False, values), Path(D) / "job.star")
    return job_type


def settings(job_type, words: str):
    command, *rest = words.split()
    task = next(task for task in job_type.tasks if task.command == command)
    return dropin.settings_of(job_type, task, rest, JobDirectory(Path.cwd(), D.rstrip("/")))


def test_the_training_call_of_relion_is_understood(dynamight):
    found = settings(dynamight, TRAINING)
    expected = {
        "fn_star": "parts.star",
        "fn_map": "map.mrc",
        "nr_gaussians": 10000,
        "initial_threshold": 0.012,
        "reg_factor": 1.0,
        "nr_threads": 4,
        "do_preload": True,
        "gpu_id": "0",
        "n_training_epochs": 3,
        "nr_epochs": 200,
    }
    assert found.task.name == "forward_deformations"
    assert not found.is_continue
    assert {name: found.values[name] for name in expected} == expected


def test_the_inverse_call_of_relion_takes_the_last_of_repeated_options(dynamight):
    found = settings(dynamight, INVERSE)
    assert found.is_continue
    assert (found.values["nr_epochs"], found.values["n_training_epochs"], found.values["do_store_deform"]) == (3, None, True)


def test_the_backprojection_call_of_relion_is_understood(dynamight):
    found = settings(dynamight, BACKPROJECTION)
    assert (found.values["backproject_batchsize"], found.values["training_batch_size"]) == (10, 32)
    assert found.values["fn_checkpoint"] == "c.pth"


def test_options_of_another_task_are_ignored_and_that_is_said(dynamight):
    found = settings(dynamight, VIEWER)
    assert found.values["halfset"] == 2
    assert any("--n-" in remark and "ignores" in remark for remark in found.remarks)


def test_an_argument_beats_the_same_one_in_job_star(dynamight):
    assert settings(dynamight, f"optimize-inverse-deformations {D} --n-epochs 7").values["nr_epochs"] == 7
    assert settings(dynamight, f"optimize-deformations {D}").values["do_preload"] is True


def test_all_tasks_follow_the_training_each_with_the_options_that_it_reads(dynamight):
    found = settings(dynamight, TRAINING.replace("--n-epochs 3", "--n-epochs 3 --all-tasks --max-bins 7"))
    assert [one.task.name for one in found.then] == ["inverse_deformations", "backprojection"]
    inverse, backprojection = found.then
    assert (found.values["n_training_epochs"], inverse.values["nr_epochs"]) == (3, 3)
    assert (backprojection.values["max_bins"], backprojection.values["do_preload"]) == (7, True)
    assert inverse.is_continue
    assert found.remarks == ()


@pytest.mark.parametrize("words", [VIEWER, INVERSE, BACKPROJECTION])
def test_all_tasks_in_additional_arguments_does_nothing_to_a_later_task(dynamight, words):
    found = settings(dynamight, words + " --all-tasks")
    assert found.then == ()
    assert any(remark.startswith("--all-tasks belongs to forward_deformations") for remark in found.remarks)


def test_an_unknown_option_is_refused_in_one_sentence(dynamight):
    with pytest.raises(UserError, match="'--nonsense' is no option of deformable-backprojection"):
        settings(dynamight, BACKPROJECTION + " --nonsense 3")


@pytest.mark.parametrize(
    "words", [f"{D} --gpu-id 0", f"--output-directory {D}", f"--output-directory={D}", f"--pipeline_control {D}"]
)
def test_the_job_directory_comes_in_any_of_its_ways(dynamight, words):
    assert dropin.sort_words(dynamight.options, words.split(), task="visualization").directory == D.rstrip("/")


def test_no_job_directory_is_refused(dynamight):
    with pytest.raises(UserError, match="No job directory"):
        dropin.sort_words(dynamight.options, ["--gpu-id", "0"], task="visualization")


@pytest.mark.parametrize("command", ["", "count", "report"])
def test_each_subcommand_has_a_help_text(project, command):
    done = project.call("toy", *([command] if command else []), "-h", module="relion_jobs.dropin")
    assert done.returncode == 0
    assert "usage: relion_jobs_toy" in done.stdout
    assert ("--rows-per-second" in done.stdout) == bool(command)


def test_without_a_command_it_tells_them(project):
    done = project.call("toy", module="relion_jobs.dropin")
    assert done.returncode == 2
    assert "count" in done.stderr


def launch(project, job: str, command: str) -> None:
    """Start a command as RELION does."""
    program = f"{sys.executable} -m relion_jobs.dropin {command}"
    line = f"{program} --pipeline-control {job} >> {job}run.out 2>> {job}run.err &"
    subprocess.run(["sh", "-c", line], cwd=project.path, env=os.environ | project.environment, check=True)


def test_relions_way_of_launching_ends_with_a_mark_and_the_flag(project):
    job = project.new("toy", "-o", "fn_in=parts.star")
    (project.path / ".pipeline_has_changed").unlink()
    launch(project, job, f"toy count --i parts.star {job}")
    project.wait_for(f"{job}{SUCCESS}")
    project.wait_for(".pipeline_has_changed")
    assert project.text(f"{job}count.txt") == "20\n"
    assert project.text(f"{job}run.out").count("Counting 20 particles") == 1
    assert project.text(f"{job}run.err") == ""


def test_a_nonsensical_call_by_relion_ends_with_a_failure_mark(project):
    job = project.new("toy", "-o", "fn_in=parts.star")
    launch(project, job, f"toy count {job} --nonsense")
    project.wait_for(f"{job}{FAILURE}")
    assert "Traceback" in project.text(f"{job}run.err")
    assert "'--nonsense' is no option" in project.text(f"{job}run.out")


def test_an_unknown_command_by_relion_ends_with_a_failure_mark(project):
    job = project.new("toy", "-o", "fn_in=parts.star")
    done = project.call("toy", "cuont", job, "--pipeline-control", job, module="relion_jobs.dropin")
    assert done.returncode == 1
    assert "'cuont' is no command of relion_jobs_toy; its tasks are count" in done.stderr
    assert project.marks(job) == [FAILURE]


def test_a_call_by_relion_stops_on_sigterm_and_on_the_abort_mark(project):
    for stop in ("signal", "mark"):
        job = project.new("trouble", "-o", "mood=slow")
        launch(project, job, f"trouble first {job}")
        project.wait_for(f"{job}started")
        if stop == "signal":
            from relion_jobs.running.finish import owner_of

            os.kill(owner_of(JobDirectory(project.path, job)).pid, signal.SIGTERM)
        else:
            (project.path / job / "RELION_JOB_ABORT_NOW").touch()
        project.wait_for(f"{job}{ABORTED}")
        assert (project.path / job / "checkpoint").exists()


def test_without_the_control_flag_a_mark_is_written_too(project):
    job = project.new("toy", "-o", "fn_in=parts.star")
    assert project.call("toy", "count", job, module="relion_jobs.dropin").returncode == 0
    assert project.marks(job) == [SUCCESS]


def test_called_by_hand_it_makes_a_job_of_a_fresh_directory(project):
    words = ["toy", "count", "--i", "parts.star", "--output-directory", "by_hand/", "--report-word", "ducks"]
    done = project.call(*words, module="relion_jobs.dropin")
    assert done.returncode == 0, done.stderr
    request = job_star.read(project.path / "by_hand")
    assert (request.label, request.values["fn_in"]) == ("relion.external.toy", "parts.star")
    assert request.values["other_args"] == "--report-word ducks"
    assert "Counting 20" in done.stdout
    assert "Counting 20" in project.text("by_hand/run.out")


def test_called_by_hand_the_traceback_stays_in_run_err(project):
    done = project.call("trouble", "first", "by_hand", "--mood", "bug", module="relion_jobs.dropin")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "Traceback" in project.text("by_hand/run.err")


def test_a_directory_of_another_job_type_is_refused(project):
    job = project.new("toy", "-o", "fn_in=parts.star")
    done = project.call("trouble", "first", job, module="relion_jobs.dropin")
    assert done.returncode == 1
    assert "is a job of type 'relion.external.toy'" in done.stderr


def test_a_stale_abort_mark_does_not_stop_the_next_run(project):
    job = project.new("trouble")
    for mark in (ABORTED, "RELION_JOB_ABORT_NOW"):
        (project.path / job / mark).touch()
    assert project.call("trouble", "first", job, module="relion_jobs.dropin").returncode == 0
    assert project.marks(job) == [SUCCESS]


def test_the_tools_of_the_job_type_are_commands(project):
    done = project.call("trouble", "shout", "--x", module="relion_jobs.dropin")
    assert (done.returncode, done.stdout) == (7, "SHOUT --x\n")
