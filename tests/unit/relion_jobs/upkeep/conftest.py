"""A copy of a project that RELION 5 made, with the files that its pipeline lists."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from relion_jobs.ondisk import nodes_directory
from relion_jobs.ondisk.job_directory import JobDirectory
from relion_jobs.ondisk.project import read_pipeline

SNAPSHOTS = Path(__file__).parents[3] / "data" / "relion" / "snapshots"


@pytest.fixture
def relion_project(tmp_path: Path) -> Path:
    """Snapshot 14 (aliases set): ten jobs, their output files, links and browse entries."""
    project = tmp_path / "project"
    shutil.copytree(SNAPSHOTS / "14_alias", project)
    (project / ".gui_projectdir").touch()
    pipeline = read_pipeline(project)
    for node in pipeline.nodes:
        (project / node.path).parent.mkdir(parents=True, exist_ok=True)
        (project / node.path).write_text(node.path)
    for process in pipeline.processes:
        if process.alias:
            JobDirectory(project, process.name).link_alias(process.alias)
        nodes_directory.add_entries(project, pipeline, process.name)
    return project
