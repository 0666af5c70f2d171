"""Files that the operators of a scheme touch, copy, move and delete: inside the project only."""

from __future__ import annotations

from pathlib import Path

import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.schemes.project_files import copy, delete, matching, move, touch


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "dir").mkdir(parents=True)
    for name in ("a.txt", "b.txt"):
        (root / name).write_text(name)
    (root / "default_pipeline.star").write_text("pipeline")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.txt").write_text("secret")
    (root / "way_out").symlink_to(tmp_path / "outside")
    (root / "secret_link").symlink_to(tmp_path / "outside/secret.txt")
    return root


def names(project: Path) -> set[str]:
    return {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file() and not path.is_symlink()}


def test_files_are_copied_and_moved_as_by_cp_and_mv(project):
    assert copy(project, "a.txt", "new/deep/c.txt") == []
    assert copy(project, "*.txt", "dir") == []
    assert move(project, "a.txt", "moved/") == []
    assert names(project) == {"b.txt", "default_pipeline.star", "dir/a.txt", "dir/b.txt", "moved/a.txt", "new/deep/c.txt"}
    assert (project / "new/deep/c.txt").read_text() == "a.txt"


def test_what_is_not_there_is_said_and_is_no_error_as_in_relion(project):
    assert copy(project, "nix.txt", "dir") == ["'nix.txt' is not there; nothing was copied."]
    assert move(project, "nix*", "dir") == ["'nix*' is not there; nothing was moved."]
    assert delete(project, "nix.txt") == []


def test_patterns_delete_files_and_a_link_itself(project):
    assert delete(project, "?.txt") == ["a.txt", "b.txt"]
    assert delete(project, "secret_link") == ["secret_link"]
    assert (project.parent / "outside/secret.txt").read_text() == "secret"
    assert names(project) == {"default_pipeline.star"}


def test_a_touched_file_keeps_its_content(project):
    touch(project, "a.txt")
    touch(project, "new/mark")
    assert (project / "a.txt").read_text() == "a.txt"
    assert (project / "new/mark").read_bytes() == b""


def test_patterns_are_sorted(project):
    assert matching(project, "*.txt") == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    "place", ["../outside/secret.txt", "/etc/hostname", "way_out/secret.txt", "dir/../../outside/secret.txt", "way_out/*"]
)
def test_nothing_outside_the_project_is_read_written_or_deleted(project, place):
    before = {path: path.read_text() for path in (project.parent / "outside").iterdir()}
    for act in (
        lambda: touch(project, place),
        lambda: delete(project, place),
        lambda: copy(project, "a.txt", place),
        lambda: move(project, "a.txt", place),
        lambda: copy(project, place, "stolen.txt"),
        lambda: move(project, place, "stolen.txt"),
    ):
        with pytest.raises(UserError):
            act()
    assert {path: path.read_text() for path in (project.parent / "outside").iterdir()} == before
    assert "stolen.txt" not in names(project)


def test_a_link_to_the_outside_is_neither_copied_nor_written_through(project):
    with pytest.raises(UserError, match="outside the project"):
        copy(project, "secret_link", "stolen.txt")
    with pytest.raises(UserError, match="outside the project"):
        copy(project, "a.txt", "secret_link")
    assert (project.parent / "outside/secret.txt").read_text() == "secret"


@pytest.mark.parametrize("name", ["default_pipeline.star", "./default_pipeline.star", ".", "", "dir"])
def test_the_pipeline_the_project_and_directories_are_left_alone(project, name):
    with pytest.raises(UserError):
        delete(project, name)
    with pytest.raises(UserError):
        move(project, name, "elsewhere")
    assert (project / "default_pipeline.star").exists()


def test_several_files_do_not_become_one(project):
    with pytest.raises(UserError, match="2 files, which cannot all become 'c'; end it with a slash"):
        move(project, "?.txt", "c")
    assert {"a.txt", "b.txt"} <= names(project)
