"""RELION takes the number of a new job before it locks the project, so that it may write its job.star over one of ours."""

from relion_jobs.contract.labels import Status
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.project import edit_pipeline, read_pipeline
from relion_jobs.pipeline.graph import Process, add_process

WARNING = "job.star is not the one that relion_jobs made: mood was 'warn' and is 'good'"


def overwritten(project):
    """A job of ours whose number RELION had taken before we did, and whose settings it writes once the lock is free."""
    counter = read_pipeline(project.path).counter
    ours = project.new("trouble", "-o", "mood=warn")
    name = f"External/job{counter:03d}/"
    assert name == ours
    request = job_star.read(project.path / ours)
    with edit_pipeline(project.path, "addJob by RELION") as edit:
        request.values["mood"] = "good"
        job_star.write(request, project.path / name / "job.star")
        edit.pipeline = add_process(edit.pipeline, Process(name, None, request.label, Status.SCHEDULED), [])
    return name


def test_verify_and_run_say_that_a_job_is_not_the_one_that_was_made_and_run_goes_on(project):
    job = overwritten(project)
    said = project.call("verify")
    assert f"{job}{WARNING}" in said.stdout
    assert "make yours anew" in said.stdout
    done = project.call("run", job)
    assert done.returncode == 0
    assert f"Warning: {job}{WARNING}" in done.stderr
    assert f"Warning: {job}{WARNING}" in project.text(f"{job}run.err")
    assert "mood good" in project.text(f"{job}run.out")


def test_what_was_said_once_is_taken_for_what_is_wanted(project):
    job = overwritten(project)
    assert WARNING in project.call("run", job).stderr
    assert WARNING not in project.call("run", job).stderr
    assert WARNING not in project.call("verify").stdout


def test_a_schedule_says_so_too(project):
    job = overwritten(project)
    assert WARNING in project.call("schedule").stderr
    assert WARNING in project.text(f"{job}run.err")


def test_a_job_that_nobody_overwrote_is_run_without_a_word(project):
    job = project.new("trouble")
    assert project.call("run", job).stderr == ""
    assert project.text(f"{job}run.err") == ""
