import pytest

from relion_jobs.contract.errors import UserError
from relion_jobs.ondisk.names import check_name, entry_in_project, inside_project, job_entry


@pytest.mark.parametrize("name", ["DynaMight/job002/", "a-b_c+d.e=1@x,y:z", "é/map.mrc"])
def test_a_sound_name_comes_back(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"),
        ("my map.mrc", "holds blanks"),
        ("a\tb", "holds blanks"),
        ("a;b", "holds ;"),
        ("a$(b)", r"holds \$ \( \)"),
        ("myNone/map.mrc", "the word None"),
    ],
)
def test_a_name_that_relion_trips_over_is_refused(name, problem):
    with pytest.raises(UserError, match=problem):
        check_name(name)


@pytest.mark.parametrize("path", ["/etc/passwd", "../other/map.mrc", "a/../../b"])
def test_a_path_out_of_the_project_is_refused(tmp_path, path):
    with pytest.raises(UserError, match="leaves the project"):
        inside_project(tmp_path, path)


def test_a_link_out_of_the_project_is_refused(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "out").symlink_to(tmp_path)
    with pytest.raises(UserError, match="outside the project"):
        inside_project(tmp_path / "project", "out/map.mrc")


def test_a_link_inside_the_project_is_followed(tmp_path):
    (tmp_path / "job001").mkdir()
    (tmp_path / "alias").symlink_to("job001")
    assert inside_project(tmp_path, "alias/map.mrc") == tmp_path / "alias" / "map.mrc"


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "DynaMight/../../x", "", ".", "/"])
def test_what_is_moved_or_removed_lies_in_the_project(tmp_path, path):
    with pytest.raises(UserError):
        entry_in_project(tmp_path, path)


def test_a_link_to_elsewhere_may_be_moved_itself_but_nothing_behind_it(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "out").symlink_to(tmp_path)
    assert entry_in_project(tmp_path / "project", "out").is_symlink()
    with pytest.raises(UserError, match="outside the project"):
        entry_in_project(tmp_path / "project", "out/map.mrc")


def test_links_in_a_circle_are_no_way_out(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert inside_project(tmp_path, "a/map.mrc") == tmp_path / "a" / "map.mrc"


@pytest.mark.parametrize("name", ["DynaMight", "DynaMight/", "DynaMight/job2", "DynaMight/job002/backprojection", "../job002",
                                  "/job002", "./job002", "Trash/job002", "DynaMight/job00²"])  # fmt: skip
def test_only_a_whole_job_directory_is_moved_as_a_job(tmp_path, name):
    with pytest.raises(UserError, match="is no name of a job directory"):
        job_entry(tmp_path, name)
    assert job_entry(tmp_path, "DynaMight/job002/") == tmp_path / "DynaMight" / "job002"
