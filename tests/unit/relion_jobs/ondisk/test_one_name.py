"""One file has one name, however it was written."""

import os

import pytest

from relion_jobs.ondisk.one_name import identities, identity, is_same, name_of, plain_name


@pytest.fixture
def project(tmp_path):
    project = tmp_path / "project"
    (project / "Extract" / "job002").mkdir(parents=True)
    (project / "Extract" / "job002" / "a.mrcs").touch()
    (project / "other").mkdir()
    return project


NAME = "Extract/job002/a.mrcs"
SPELLINGS = [
    NAME,
    f"./{NAME}",
    "Extract//job002///a.mrcs",
    "Extract/./job002/a.mrcs",
    "other/../Extract/job002/a.mrcs",
    "Extract/job002/../job002/a.mrcs",
    f"../project/{NAME}",
    f"{{project}}/{NAME}",
    f"{{project}}/../project//{NAME}",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("is_there", [True, False])
def test_every_spelling_is_one_name(project, spelling, is_there):
    if not is_there:
        (project / NAME).unlink()
    written = spelling.format(project=project)
    assert plain_name(project, written) == name_of(project, written) == identity(project, written) == NAME


@pytest.mark.parametrize(
    ("link", "target", "written"),
    [
        ("a_link.mrcs", f"{{project}}/{NAME}", "a_link.mrcs"),
        ("other/up.mrcs", f"../{NAME}", "other/up.mrcs"),
        ("Extract/my_run", "job002", "Extract/my_run/a.mrcs"),
        ("data", "Extract", "data/job002/a.mrcs"),
        ("deep", "Extract/job002", "./deep/../job002/a.mrcs"),
    ],
)
def test_links_in_the_project_are_followed_to_the_file_itself(project, link, target, written):
    (project / link).symlink_to(target.format(project=project))
    assert name_of(project, written) == identity(project, written) == NAME
    assert identities(project, [NAME, written]) == [NAME, NAME]


def test_a_plain_name_keeps_links(project):
    (project / "a_link.mrcs").symlink_to(NAME)
    assert plain_name(project, f"{project}/other/../a_link.mrcs") == "a_link.mrcs"


def test_a_project_behind_a_link_is_the_same_project(project, tmp_path):
    (tmp_path / "shortcut").symlink_to(project)
    for root, other in ((project, tmp_path / "shortcut"), (tmp_path / "shortcut", project)):
        assert plain_name(root, str(other / NAME)) == name_of(root, str(other / NAME)) == NAME


@pytest.mark.parametrize("link", ["Extract", "Extract/job005"])
def test_a_part_of_the_project_on_another_disk_keeps_its_name_in_the_project(tmp_path, link):
    project, disk = tmp_path / "project", tmp_path / "disk"
    (disk / "job005").mkdir(parents=True)
    (project / link).parent.mkdir(parents=True)
    (project / link).symlink_to(disk if link == "Extract" else disk / "job005")
    name = "Extract/job005/a.mrcs"
    assert name_of(project, name) == plain_name(project, name) == name
    assert name_of(project, str(disk / "job005" / "a.mrcs")) == name
    assert identity(project, name) == str(disk / "job005" / "a.mrcs")


def test_a_file_elsewhere_keeps_its_absolute_name_and_a_link_to_it_its_own(project, tmp_path):
    (tmp_path / "far.mrcs").touch()
    (project / "near.mrcs").symlink_to(tmp_path / "far.mrcs")
    assert name_of(project, str(tmp_path / "far.mrcs")) == str(tmp_path / "far.mrcs")
    assert name_of(project, "../far.mrcs") == str(tmp_path / "far.mrcs")
    assert name_of(project, "near.mrcs") == "near.mrcs"
    assert is_same(project, "near.mrcs", "../far.mrcs")


def test_hard_links_are_one_file_and_copies_are_not(project):
    os.link(project / NAME, project / "hard.mrcs")
    (project / "copy.mrcs").write_bytes((project / NAME).read_bytes())
    assert identities(project, ["hard.mrcs", NAME, "copy.mrcs"]) == ["hard.mrcs", "hard.mrcs", "copy.mrcs"]
    assert is_same(project, NAME, "hard.mrcs")
    assert not is_same(project, NAME, "copy.mrcs")


def test_names_that_differ_stay_apart(project):
    assert identities(project, ["Extract/a", "Extract/b", "extract/a", "Extract/a "]) == [
        "Extract/a",
        "Extract/b",
        "extract/a",
        "Extract/a ",
    ]
    assert not is_same(project, "Extract/a", "other/a")


def test_links_in_a_circle_have_a_name(project):
    (project / "one").symlink_to("two")
    (project / "two").symlink_to("one")
    assert plain_name(project, "./one") == "one"
    assert name_of(project, "./one") in ("one", "two")
