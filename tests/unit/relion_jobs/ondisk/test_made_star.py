from dataclasses import replace

import pytest

from relion_jobs.ondisk import job_star, made_star
from relion_jobs.ondisk.job_star import JobRequest

MADE = JobRequest("dynamight", values={"nr_gaussians": "999", "seed": "1", "a": "", "b": "", "c": ""})


@pytest.fixture
def folder(tmp_path):
    made_star.keep(MADE, tmp_path)
    return tmp_path


def changed(folder, **values):
    job_star.write(replace(MADE, values=MADE.values | values), folder / "job.star")
    return made_star.what_changed(folder)


def test_the_job_star_that_was_made_is_none_to_speak_of_whoever_wrote_it_again(folder):
    assert changed(folder) == ""
    assert changed(folder, an_option_of_another_version="1") == ""


def test_what_another_program_put_there_is_named(folder):
    words = "is not the one that relion_jobs made: nr_gaussians was '999' and is '555'"
    assert changed(folder, nr_gaussians="555") == words
    assert changed(folder, nr_gaussians="555", seed="2", a="x", b="x", c="x").endswith("c was '' and is 'x', and 2 more")


def test_a_job_of_another_type_is_named(folder):
    job_star.write(JobRequest("relion.import"), folder / "job.star")
    assert made_star.what_changed(folder).endswith("its type was dynamight and is relion.import")


def test_options_of_a_job_that_was_continued_since_may_change(folder):
    job_star.write(JobRequest("dynamight", is_continue=True, values={"nr_gaussians": "555"}), folder / "job.star")
    assert made_star.what_changed(folder) == ""


def test_of_jobs_that_others_made_nothing_is_known(tmp_path):
    assert changed(tmp_path) == ""


def test_a_damaged_copy_is_said(folder):
    (folder / made_star.MADE).write_text("data_job\n\nloop_\n_rlnX #1\n1 2 3\n")
    assert "cannot be compared with the one that relion_jobs made: " in changed(folder)
