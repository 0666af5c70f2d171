"""The Trash, and what must never be moved or erased."""

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk import trash


@pytest.fixture
def job(tmp_path):
    """A project with one job."""
    folder = tmp_path / "project" / "DynaMight" / "job002"
    (folder / "sub").mkdir(parents=True)
    (folder / "job.star").write_text("new")
    (folder / "sub" / "map.mrc").write_text("map")
    return folder


def test_a_job_goes_and_comes_back(job):
    project = job.parents[1]
    trash.move_job_to_trash(project, "DynaMight/job002/")
    assert not job.exists()
    assert trash.deleted_jobs(project) == ["DynaMight/job002/"]
    assert trash.contents(project).n_files == 2
    trash.bring_back_job(project, "DynaMight/job002/")
    assert (job / "sub" / "map.mrc").read_text() == "map"


def test_an_older_one_in_the_trash_is_replaced_whole(job):
    old = job.parents[1] / "Trash" / "DynaMight" / "job002"
    old.mkdir(parents=True)
    (old / "old.txt").touch()
    trash.move_job_to_trash(job.parents[1], "DynaMight/job002/")
    assert sorted(path.name for path in old.iterdir()) == ["job.star", "sub"]


def test_a_job_does_not_come_back_over_another(job):
    trash.move_job_to_trash(job.parents[1], "DynaMight/job002/")
    job.mkdir()
    with pytest.raises(UserError, match="cannot take its place"):
        trash.bring_back_job(job.parents[1], "DynaMight/job002/")


def test_a_trash_that_is_a_link_out_of_the_project_takes_and_erases_nothing(job, tmp_path):
    project = job.parents[1]
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "data").touch()
    (project / "Trash").symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="outside the project"):
        trash.move_job_to_trash(project, "DynaMight/job002/")
    with pytest.raises(UserError, match="is a link"):
        trash.erase(project)
    assert (tmp_path / "precious" / "data").exists()
    assert job.exists()


def test_a_job_that_is_a_link_is_moved_as_a_link(job, tmp_path):
    project = job.parents[1]
    (tmp_path / "precious").mkdir()
    (project / "DynaMight" / "job003").symlink_to(tmp_path / "precious")
    trash.move_job_to_trash(project, "DynaMight/job003/")
    trash.erase(project)
    assert (tmp_path / "precious").is_dir()


def test_a_type_directory_that_is_a_link_out_of_the_project_is_not_touched(job, tmp_path):
    project = job.parents[1]
    (tmp_path / "elsewhere" / "job005").mkdir(parents=True)
    (project / "Class3D").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="outside the project"):
        trash.move_job_to_trash(project, "Class3D/job005/")
    assert (tmp_path / "elsewhere" / "job005").is_dir()


def test_cleaned_files_alone_make_no_deleted_job(job):
    project = job.parents[1]
    trash.move_file_to_trash(project, "DynaMight/job002/sub/map.mrc")
    assert trash.deleted_jobs(project) == []
    assert trash.bring_back_file(project, "DynaMight/job002/sub/map.mrc")
    assert not trash.bring_back_file(project, "DynaMight/job002/sub/map.mrc")
