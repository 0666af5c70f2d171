from __future__ import annotations

from pathlib import Path

import pytest

from jobtypes.common.moved_stacks import moved
from relion_jobs.contract.errors import UserError

STAR = Path("run_data.star")
PATHS = ("Extract/job002/a.mrcs", "./Extract/job002/b.mrcs", "Extract2/c.mrcs", "/old/disk/d.mrcs")


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", PATHS),
        ("Extract/job002=/new", ("/new/a.mrcs", "/new/b.mrcs", *PATHS[2:])),
        ("Extract/=/new/", ("/new/job002/a.mrcs", "/new/job002/b.mrcs", *PATHS[2:])),
        ("./Extract//job002=Polish/job009", ("Polish/job009/a.mrcs", "Polish/job009/b.mrcs", *PATHS[2:])),
        ("/old=/new", (*PATHS[:3], "/new/disk/d.mrcs")),
        ("/=/mnt", (*PATHS[:3], "/mnt/old/disk/d.mrcs")),
        ("=/new", ("/new/Extract/job002/a.mrcs", "/new/Extract/job002/b.mrcs", "/new/Extract2/c.mrcs", "/old/disk/d.mrcs")),
        ("Extract2/c.mrcs=c.mrcs", (*PATHS[:2], "c.mrcs", PATHS[3])),
    ],
)
def test_what_begins_with_the_old_directories_lies_in_the_new_ones(prefix: str, expected: tuple[str, ...]) -> None:
    assert moved(STAR, PATHS, prefix) == expected


@pytest.mark.parametrize("prefix", ["Extract/job002", "Extract=", "Extract= "])
def test_another_form_is_refused(prefix: str) -> None:
    with pytest.raises(UserError, match=r"particle_path_prefix is .*; expected OLD=NEW"):
        moved(STAR, PATHS, prefix)


@pytest.mark.parametrize("prefix", ["extract=/new", "Extr=/new", "job002=/new", "/other=/new"])
def test_a_prefix_that_no_path_has_is_refused_with_the_first_path(prefix: str) -> None:
    with pytest.raises(UserError, match=r"no image stack has a path that begins with .* the first is Extract/job002/a\.mrcs"):
        moved(STAR, PATHS, prefix)
