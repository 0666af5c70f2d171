from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jobtypes.dynamight.visualization.page.command import main
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.ondisk.project import create, edit_pipeline, read_pipeline
from relion_jobs.pipeline.graph import Process

JOB = "DynaMight/job002/"


@pytest.fixture
def job(flexible_job):
    create(flexible_job.project)
    with edit_pipeline(flexible_job.project, "test") as edit:
        edit.pipeline = replace(edit.pipeline, processes=(Process(JOB, None, "dynamight", Status.SUCCEEDED),))
    return flexible_job


def test_the_page_is_written_and_registered(job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(job.directory)  # from anywhere in the project
    assert main([".", "--n-clusters", "2"]) == 0
    path = Path(JOB) / "visualization/explore.html"
    size = (job.project / path).stat().st_size
    assert 0.5e6 < size < 3e6
    assert f"Wrote {path}" in capsys.readouterr().out
    (node,) = read_pipeline(job.project).nodes
    assert (node.path, node.label) == (str(path), "LogFile.html.relion.dynamight")


def test_a_job_that_has_learned_nothing_is_refused(job) -> None:
    (job.directory / "forward_deformations/checkpoints/checkpoint_final.pth").unlink()
    with pytest.raises(UserError, match="There is no checkpoint"):
        main([JOB])
