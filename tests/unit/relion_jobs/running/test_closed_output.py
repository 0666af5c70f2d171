import os
import signal
import subprocess
import sys

import pytest

from relion_jobs.ondisk import pipeline_star
from relion_jobs.pipeline.graph import Pipeline, Process, add_process

CLOSED = 128 + signal.SIGPIPE


def end_of(project, *words, module="relion_jobs", reads=0):
    """Exit code and standard error of a command whose reader goes after some bytes."""
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", module, *words],
        cwd=project.path,
        env=os.environ | project.environment | {"PYTHONUNBUFFERED": ""},
        stdout=writer,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(writer)
        if reads:
            os.read(reader, reads)
        os.close(reader)
        _, said = process.communicate(timeout=60)
    return process.returncode, said.decode()


def many_jobs(project):
    pipeline = Pipeline()
    for number in range(1, 2000):
        pipeline = add_process(pipeline, Process(f"External/job{number:03d}/", None, "relion.external.toy", "Failed"), [])
    pipeline_star.write(pipeline, project.path / "default_pipeline.star")


@pytest.mark.parametrize("words", [["options", "dynamight"], ["types"], ["status"], ["verify"]])
def test_a_command_whose_reader_has_gone_ends_without_a_word(project, words):
    assert end_of(project, *words) == (CLOSED, "")


def test_a_long_output_that_is_left_in_its_midst_ends_so_too(project):
    many_jobs(project)
    assert end_of(project, "status", reads=100) == (CLOSED, "")


def test_help_texts_end_so_too(project):
    # what is written at once has been said when the reader is missed
    assert end_of(project, "--help") in [(CLOSED, ""), (0, "")]
    assert end_of(project, "dynamight", "optimize-deformations", "--help", module="relion_jobs.dropin") == (0, "")


def test_a_tool_that_had_ended_has_its_own_exit_code(project):
    assert end_of(project, "shout", "loud") == (7, "")


def test_a_job_whose_follower_has_gone_goes_on_to_its_end(project):
    job = project.new("trouble")
    assert end_of(project, "run", job) == (CLOSED, "")
    project.wait_for(f"{job}RELION_JOB_EXIT_SUCCESS")
