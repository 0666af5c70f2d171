import subprocess

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.running.queue_script import filled_template, placeholders, read_template

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


def test_processes_times_threads_are_the_cores():
    texts = placeholders({"nr_mpi": 5, "nr_threads": 4, "min_dedicated": 8}, "X/job001/")
    assert [texts[f"XXX{name}XXX"] for name in ("mpinodes", "cores", "nodes")] == ["5", "20", "3"]


def test_a_value_that_looks_like_a_placeholder_stays_a_value():
    texts = placeholders({"queuename": "XXXcommandXXX"}, "X/job001/")
    assert filled_template("#q XXXqueueXXX\n", texts, "relion_x") == "#q XXXcommandXXX\n\n"


NASTY = [
    "x; touch stolen",
    "$(touch stolen)",
    "`touch stolen`",
    "x' ; touch stolen '",
    'x"; touch stolen "',
    "a b",
    "*",
    "x\\",
    "x & y",
    "~",
]


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize(
    "line", ["sbatch -q XXXqueueXXX", "echo 'XXXqueueXXX'", 'echo "XXXqueueXXX"', "XXXqueueXXX", "x=1 # XXXqueueXXX"]
)
def test_a_value_that_a_shell_would_interpret_is_refused(text, line):
    with pytest.raises(UserError, match=r"line 1 of the template would give its blanks or special characters to a shell"):
        filled_template(line, {"XXXqueueXXX": text}, "relion_x")


@pytest.mark.parametrize("text", NASTY)
def test_in_a_comment_it_does_no_harm(text, tmp_path):
    script = filled_template(
        "#!/bin/sh\n#SBATCH -q XXXqueueXXX\n  #PBS XXXqueueXXX\necho well\n", {"XXXqueueXXX": text}, "relion_x"
    )
    (tmp_path / "script").write_text(script)
    done = subprocess.run(["sh", "script"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "well\n"
    assert [path.name for path in tmp_path.iterdir()] == ["script"]


@pytest.mark.parametrize("text", ["a\ntouch stolen", "a\rtouch stolen", "a\x0btouch stolen", "a\u2028b", "a\x00b", "a\x1b[2J"])
@pytest.mark.parametrize("line", ["#SBATCH -q XXXqueueXXX", "srun -q XXXqueueXXX"])
def test_a_line_break_is_refused_everywhere(text, line):
    with pytest.raises(UserError, match="with a control character in it"):
        filled_template(line, {"XXXqueueXXX": text}, "relion_x")


@pytest.mark.parametrize("name", ["gpu", "gpu@server", "a,b", "gpu-2.long_queue", "main:1", ""])
def test_ordinary_values_go_where_they_are_put(name):
    assert (
        filled_template("srun -p XXXqueueXXX XXXcommandXXX", {"XXXqueueXXX": name}, "relion_x") == f"srun -p {name} relion_x\n\n"
    )


def test_a_template_that_cannot_be_read_or_trusted_is_named(tmp_path):
    path = tmp_path / "template.sh"
    with pytest.raises(UserError, match=r"template.sh: there is no such file. Name one in qsubscript or RELION_QSUB_TEMPLATE"):
        read_template(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is no text file"):
        read_template(path)
    path.write_text("XXXcommandXXX\n")
    assert read_template(path) == "XXXcommandXXX\n"
    path.chmod(0o666)
    with pytest.raises(UserError, match="chmod o-w"):
        read_template(path)
