import os
import time

import pytest

from relion_jobs.contract.labels import Status
from relion_jobs.ondisk import job_star
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.locks import job_lock
from relion_jobs.ondisk.project import edit_pipeline
from relion_jobs.pipeline.graph import with_status
from relion_jobs.running.unbegun import BEGIN_SECONDS, unbegun_sentence

NOT_FOUND = "sh: 1: relion_jobs_dynamight: not found\n"


def launched_by_relion(project, *, seconds_ago=2 * BEGIN_SECONDS, program="relion_jobs_dynamight"):
    """A DynaMight job that RELION has started in vain: Running, a new job.star, and what its shell said."""
    (project.path / "map.mrc").touch()
    name = project.new("dynamight", "-o", "fn_star=parts.star", "-o", "fn_map=map.mrc")
    directory = JobDirectory(project.path, name)
    request = job_star.read(directory.path)
    request.values["fn_dynamight_exe"] = program
    job_star.write(request, directory.path / "job.star")
    then = time.time() - seconds_ago
    os.utime(directory.path / "job.star", (then, then))
    directory.run_out.touch()
    directory.run_err.write_text(NOT_FOUND)
    with edit_pipeline(project.path, "runJob") as edit:
        edit.pipeline = with_status(edit.pipeline, name, Status.RUNNING)
    return directory


def test_status_and_verify_say_that_a_job_never_began_and_what_to_do(project):
    directory = launched_by_relion(project)
    words = (
        f"{directory.name} never began: it was started 1 minute ago, but relion_jobs_dynamight did not come up "
        f"({NOT_FOUND.strip()}); 'relion_jobs run {directory.name}' runs it"
    )
    assert words in project.call("status").stdout
    assert words in project.call("status", directory.name).stdout
    done = project.call("verify")
    assert words in done.stdout
    assert done.returncode == 1


def test_a_launch_has_a_moment_to_begin(project):
    assert not unbegun_sentence(launched_by_relion(project, seconds_ago=1), time.time())


def test_a_job_that_is_run_or_has_written_to_its_log_since_has_begun(project):
    directory = launched_by_relion(project)
    with job_lock(directory.path):
        assert not unbegun_sentence(directory, time.time())
    directory.run_out.write_text("Training.\n")
    assert not unbegun_sentence(directory, time.time())


def test_what_an_earlier_task_of_the_job_wrote_does_not_count(project):
    directory = launched_by_relion(project)
    directory.run_out.write_text("Training.\n")
    os.utime(directory.run_out, (0, 0))
    assert unbegun_sentence(directory, time.time())


@pytest.mark.parametrize("program", ["relion_python_dynamight", ""])
def test_of_a_program_that_is_not_ours_nothing_is_known(project, program):
    assert not unbegun_sentence(launched_by_relion(project, program=program), time.time())
