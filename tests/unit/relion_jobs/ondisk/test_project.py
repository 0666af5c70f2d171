import os
import shutil
from pathlib import Path

import pytest

from relion_jobs.contract.errors import BadStarFile, UserError
from relion_jobs.contract.labels import Status
from relion_jobs.contract.nodes import Node
from relion_jobs.ondisk import pipeline_star, project
from relion_jobs.pipeline import graph
from relion_jobs.pipeline.graph import Pipeline, Process

ALIAS = "DynaMight/flex_run/"
JOB = "DynaMight/job002/"


@pytest.fixture
def root(tmp_path):
    """A project with External/job001/ and DynaMight/job002/ (alias flex_run), as RELION leaves one."""
    root = project.create(tmp_path / "project")
    with project.edit_pipeline(root, "test") as edit:
        made = graph.add_process(edit.pipeline, Process("External/job001/", None, "relion.external", Status.SUCCEEDED))
        made = graph.add_process(
            made, Process(JOB, ALIAS, "dynamight", Status.RUNNING), [Node("External/job001/map.mrc", "DensityMap.mrc")]
        )
        edit.pipeline = made
    for name in ("External/job001", JOB):
        (root / name / "sub").mkdir(parents=True)
        (root / name / "job.star").write_text("")
        shutil.copy(root / "default_pipeline.star", root / name)
    (root / ALIAS.rstrip("/")).symlink_to("../DynaMight/job002/")
    return root


def test_a_new_project_has_the_mark_and_the_fresh_pipeline(tmp_path):
    root = project.create(tmp_path / "a" / "b")
    assert (root / ".gui_projectdir").read_bytes() == b""
    assert (root / "default_pipeline.star").stat().st_size == 90
    assert not (root / ".relion_lock").exists()


def test_a_project_that_is_there_is_left_as_it_is(root):
    before = (root / "default_pipeline.star").read_bytes()
    assert project.create(root) == root
    assert (root / "default_pipeline.star").read_bytes() == before


def test_a_file_cannot_become_a_project(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(UserError, match="is a file"):
        project.create(tmp_path / "a")


@pytest.mark.parametrize(
    "inside",
    [".", "DynaMight", "DynaMight/job002", "DynaMight/job002/sub", "DynaMight/flex_run/sub", "DynaMight/job002/job.star"],
)
@pytest.mark.parametrize("mark", [True, False])
def test_the_project_is_found_from_anywhere_inside(root, inside, mark):
    if not mark:
        (root / ".gui_projectdir").unlink()
    assert project.locate(root / inside) == root


def test_a_job_that_lies_on_another_disk_still_belongs_to_its_project(root, tmp_path):
    shutil.move(root / "DynaMight" / "job002", tmp_path / "job002")
    (root / "DynaMight" / "job002").symlink_to(tmp_path / "job002")
    assert project.locate(root / "DynaMight" / "job002" / "sub") == root


def test_a_copy_of_a_job_directory_under_another_name_is_no_project(root):
    shutil.copytree(root / "DynaMight" / "job002", root / "DynaMight" / "backup")
    (root / ".gui_projectdir").unlink()
    assert project.locate(root / "DynaMight" / "backup") == root


def test_a_project_inside_a_job_directory_is_found_first(root):
    inner = project.create(root / "External" / "job001" / "simulated")
    assert project.locate(inner) == inner


def test_a_deleted_job_lies_in_the_project_of_its_trash(root):
    shutil.copytree(root / "DynaMight" / "job002", root / "Trash" / "DynaMight" / "job002")
    assert project.locate(root / "Trash" / "DynaMight" / "job002") == root


def test_a_project_may_be_called_job001(tmp_path):
    root = project.create(tmp_path / "job001")
    assert project.locate(root) == root


def test_outside_of_a_project_the_remedy_is_named(tmp_path):
    with pytest.raises(UserError, match=r"lies in no RELION project.*relion_jobs init"):
        project.locate(tmp_path)


@pytest.mark.parametrize(
    ("text", "cwd"),
    [
        (JOB, "."),
        ("DynaMight/job002", "."),
        (ALIAS, "."),
        ("DynaMight/flex_run", "External"),
        ("DynaMight/job002", "External/job001"),
        ("job002/", "DynaMight"),
        ("flex_run", "DynaMight"),
        (".", "DynaMight/job002"),
        (".", "DynaMight/flex_run"),
        ("..", "DynaMight/job002/sub"),
        ("../../DynaMight/job002", "External/job001"),
        ("DynaMight/job002/job.star", "."),
        ("sub", "DynaMight/job002"),
        ("job002", "."),
    ],
)
def test_a_job_is_found_by_whatever_a_person_types(root, text, cwd):
    assert project.resolve_job(root, text, root / cwd) == JOB


@pytest.mark.parametrize("name", ["DynaMight/job002", "DynaMight/flex_run/"])
def test_an_absolute_path_is_a_job_from_anywhere(root, tmp_path, name):
    assert project.resolve_job(root, f"{root}/{name}", tmp_path) == JOB


@pytest.mark.parametrize("text", ["DynaMight/job009", "/etc", "..", ""])
def test_what_is_no_job_is_refused_with_those_that_are(root, text):
    with pytest.raises(UserError, match=r"is no job of the project .*External/job001/, DynaMight/job002/"):
        project.resolve_job(root, text, root)


def test_a_number_that_two_jobs_share_is_refused(root):
    with project.edit_pipeline(root, "test") as edit:
        edit.pipeline = graph.add_process(
            edit.pipeline, Process("PostProcess/job002/", None, "relion.postprocess", Status.SCHEDULED)
        )
    with pytest.raises(UserError, match="DynaMight/job002/ or PostProcess/job002/"):
        project.resolve_job(root, "job002", root)


def test_a_change_is_written_and_announced(root):
    (root / ".pipeline_has_changed").unlink()
    with project.edit_pipeline(root, "test") as edit:
        edit.pipeline = graph.with_status(edit.pipeline, JOB, Status.SUCCEEDED)
        assert (root / ".relion_lock" / "lock_default_pipeline.star").exists()
        assert not (root / ".pipeline_has_changed").exists()
    assert project.read_pipeline(root).process(JOB).status is Status.SUCCEEDED
    assert (root / ".pipeline_has_changed").read_bytes() == b""
    assert not (root / ".relion_lock").exists()


def test_nothing_is_written_where_nothing_changed(root):
    (root / ".pipeline_has_changed").unlink()
    before = (root / "default_pipeline.star").stat()
    with project.edit_pipeline(root, "test"):
        pass
    assert (root / "default_pipeline.star").stat().st_ino == before.st_ino
    assert not (root / ".pipeline_has_changed").exists()


def test_an_exception_leaves_the_pipeline_as_it_was(root):
    before = (root / "default_pipeline.star").read_bytes()
    with pytest.raises(KeyError), project.edit_pipeline(root, "test") as edit:
        edit.pipeline = {}["a pipeline"]
    assert (root / "default_pipeline.star").read_bytes() == before
    assert not (root / ".relion_lock").exists()


def test_a_lock_that_was_taken_away_means_no_write(root):
    before = (root / "default_pipeline.star").read_bytes()

    def take_lock_away():
        shutil.rmtree(root / ".relion_lock")
        return Pipeline()

    with pytest.raises(UserError, match="nothing was written"), project.edit_pipeline(root, "test") as edit:
        edit.pipeline = take_lock_away()
    assert (root / "default_pipeline.star").read_bytes() == before


def test_a_damaged_pipeline_leaves_no_lock(root):
    (root / "default_pipeline.star").write_text("data_pipeline_general\n_rlnPipeLineJobCounter x\n")
    with pytest.raises(BadStarFile, match="line 2"), project.edit_pipeline(root, "test"):
        pass
    assert not (root / ".relion_lock").exists()


def test_a_project_without_pipeline_is_told_so(tmp_path):
    for call in (project.read_pipeline, lambda root: project.edit_pipeline(root, "test").__enter__()):
        with pytest.raises(UserError, match=r"has no default_pipeline\.star; 'relion_jobs init' makes one"):
            call(tmp_path)


def test_a_half_written_pipeline_is_read_again(root, monkeypatch):
    whole = (root / "default_pipeline.star").read_text()
    (root / "default_pipeline.star").write_text("\n# version 50001\n")
    monkeypatch.setattr(project.time, "sleep", lambda _: (root / "default_pipeline.star").write_text(whole))
    assert project.read_pipeline(root).counter == 3


def test_a_pipeline_under_a_lock_that_stays_is_read_all_the_same(root, monkeypatch):
    (root / ".relion_lock").mkdir()
    monkeypatch.setattr(project.time, "sleep", lambda _: None)
    assert project.read_pipeline(root).counter == 3


def test_the_project_may_lie_behind_a_link(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    link = tmp_path / "link"
    assert project.locate(link / "DynaMight") == link
    assert project.resolve_job(link, ".", Path(os.path.realpath(link / JOB))) == JOB


def test_the_copy_in_a_job_is_never_changed(root):
    before = pipeline_star.read(root / JOB / "default_pipeline.star")
    with project.edit_pipeline(project.locate(root / JOB), "test") as edit:
        edit.pipeline = graph.with_status(edit.pipeline, JOB, Status.FAILED)
    assert pipeline_star.read(root / JOB / "default_pipeline.star") == before
