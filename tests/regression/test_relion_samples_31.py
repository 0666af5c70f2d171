"""Files that go through a real RELION 3.1 (Debian's package): it reads ours, we read its own."""

import shutil
import subprocess
from pathlib import Path

import pytest

from relion_jobs.contract.labels import Status
from relion_jobs.ondisk import job_star, pipeline_star, star
from relion_jobs.ondisk.star import Table

pytestmark = [
    pytest.mark.relion,
    pytest.mark.skipif(shutil.which("relion_pipeliner") is None, reason="needs relion_pipeliner on PATH"),
]

VALUES = {
    "fn_exe": "true",
    "other_args": "--note it's --n-epochs 3",
    "param1_label": "_under",
    "param1_value": "'q",
    "param2_label": "#hash",
    "param2_value": 'a "b"',
    "param3_label": 'a"b',
    "param3_value": "a #b",
    "param4_label": "é ü",
    "param4_value": "$$variable",
    "param5_label": " lead",
    "param5_value": "",
    "param6_label": "tab\there",
    "param7_label": '"',
}
# RELION's reader makes one blank of several, and of a tab
COLLAPSED = {"param6_label": "tab here"}


def pipeliner(project: Path, *words: str) -> None:
    done = subprocess.run(["relion_pipeliner", *words], cwd=project, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path):
    (tmp_path / "default_pipeline.star").write_text(
        "\n# version 30001\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter                       1\n \n"
    )
    return tmp_path


def test_relion_reads_the_values_that_we_write(project):
    about = Table("job", ("rlnJobType", "rlnJobIsContinue"), ((99, 0),), is_loop=False)
    options = Table("joboptions_values", ("rlnJobOptionVariable", "rlnJobOptionValue"), tuple(sorted(VALUES.items())))
    star.write_tables([about, options], project / "in.star")
    pipeliner(project, "--addJobFromStar", "in.star")
    read = job_star.read(project / "External" / "job001").values
    # a value that begins with # is quoted by us and read by RELION, which writes it bare and so loses it itself
    expected = VALUES | COLLAPSED | {"param2_label": ""}
    assert {key: read[key] for key in VALUES} == expected
    assert "param2_label      #hash " in (project / "External" / "job001" / "job.star").read_text()


def test_we_read_what_relion_writes_for_jobs_of_two_types(project):
    pipeliner(project, "--addJob", "External", "--addJobOptions", "fn_exe == true", "--setJobAlias", "inputs")
    pipeliner(project, "--addJob", "Import", "--addJobOptions", "fn_in_other == a.star")
    pipeline = pipeline_star.read(project / "default_pipeline.star")
    assert [(p.name, p.alias, p.label, p.status) for p in pipeline.processes] == [
        ("External/job001/", "External/inputs/", "relion.external", Status.SCHEDULED),
        ("Import/job002/", None, "relion.import", Status.SCHEDULED),
    ]
    assert pipeline.counter == 3
    assert pipeline.nodes[0].label == ""
    request = job_star.read(project / "External" / "job001")
    assert (request.label, request.is_continue, request.values["fn_exe"]) == ("relion.external", False, "true")
