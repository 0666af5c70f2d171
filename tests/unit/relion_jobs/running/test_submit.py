import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.running.submit import _start_here, filled_template, placeholders

VALUES = {"nr_threads": 6, "min_dedicated": 4, "queuename": "gpuq", "qsub_extra1": "24:00", "qsub_extra2": "acct"}


def test_placeholders_are_filled_as_relion_fills_them():
    texts = placeholders(VALUES, "DynaMight/job007/")
    template = "XXXcoresXXX XXXdedicatedXXX XXXnodesXXX XXXextra1XXX XXXextra2XXX XXXextra3XXX XXXmpinodesXXX XXXerrfileXXX\n"
    assert filled_template(template, texts, "relion_x") == "6 4 2 24:00 acct XXXextra3XXX 1 DynaMight/job007/run.err\n\n"


@pytest.mark.parametrize(
    ("command", "line"), [("relion_x -i 1", "srun relion_x -i 1 # relion_x -i 1"), ("/opt/x/dynamight", "/opt/x/dynamight")]
)
def test_the_command_keeps_its_line_only_if_it_is_relions(command, line):
    assert filled_template("srun XXXcommandXXX # XXXcommandXXX\n", {}, command) == f"{line}\n\n"


def test_a_template_of_relion_comes_out_byte_for_byte():
    template = """#!/bin/bash
#SBATCH --ntasks=XXXmpinodesXXX
#SBATCH --cpus-per-task=XXXthreadsXXX
#SBATCH --error=XXXerrfileXXX
#SBATCH --output=XXXoutfileXXX
#SBATCH -p XXXqueueXXX -J XXXnameXXX
srun XXXcommandXXX
"""
    # run_submit.script of RELION 5.0.1 for this template
    expected = """#!/bin/bash
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=6
#SBATCH --error=DynaMight/job007/run.err
#SBATCH --output=DynaMight/job007/run.out
#SBATCH -p gpuq -J DynaMight/job007/
srun /opt/stub/relion_dynamight_stub.sh DynaMight/job007/

"""
    command = "/opt/stub/relion_dynamight_stub.sh DynaMight/job007/"
    assert filled_template(template, placeholders(VALUES, "DynaMight/job007/"), command) == expected


def test_threads_that_are_not_given_count_as_one():
    assert placeholders({}, "X/job001/")["XXXnodesXXX"] == "1"


def test_a_program_that_cannot_be_started_is_named(tmp_path):
    job = tmp_path / "External/job001"
    job.mkdir(parents=True)
    with pytest.raises(UserError, match="The program /no/python cannot be started: No such file"):
        _start_here(JobDirectory(tmp_path, "External/job001/"), ["/no/python", "-m", "x"])
