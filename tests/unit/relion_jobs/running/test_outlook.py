"""What a job does and how long it will take, from what it left on disk."""

import pytest

from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.owner import Owner
from relion_jobs.running.outlook import progress_sentence, running_sentences
from relion_jobs.running.progress import ProgressMeter


def progress(seconds_per_image: float) -> str:
    meter = ProgressMeter()
    meter.line("training", 0, 100, "images", now=0.0, figures={})
    return meter.line("training", 40, 100, "images", now=40 * seconds_per_image, figures={"loss": 1.5})


@pytest.mark.parametrize(
    ("seconds_per_image", "age", "left"),
    [(0.5, 0, "30 s"), (0.5, 10, "20 s"), (5, 0, "5 min 0 s"), (5, 60, "4 min 0 s"), (200, 0, "3 h 20 min")],
)
def test_what_is_left_counts_from_when_it_was_said(seconds_per_image, age, left):
    assert progress_sentence(progress(seconds_per_image), age) == f"training: 40 % done, about {left} left"


def test_a_promise_that_has_run_out_is_no_negative_time():
    assert progress_sentence(progress(1), 9999) == "training: 40 % done, about to end by its own account"


def test_a_stage_that_is_over_says_nothing():
    assert progress_sentence("training: 100/100 images (100 %), 5 images/s, took 20 s", 0) == ""


def test_the_owner_and_a_long_silence_are_told(tmp_path):
    directory = JobDirectory(tmp_path, "DynaMight/job001/")
    directory.create()
    (directory.path / ".relion_jobs_run.owner").write_text(str(Owner(1, "elsewhere", 0.0)))
    directory.run_out.write_text("hello\n")
    written = directory.run_out.stat().st_mtime
    told = running_sentences(directory, ["hello"], written + 7200)
    assert told[0].startswith("run by process 1 on elsewhere")
    assert told[1] == "its log has been silent for 2 h 0 min"


def test_status_of_a_job_names_its_task(project):
    job = project.new("toy", "-o", "fn_in=parts.star")
    assert "task: counting" in project.call("status", job).stdout
    project.call("run", job)
    assert "task: counting" in project.call("status", job).stdout
