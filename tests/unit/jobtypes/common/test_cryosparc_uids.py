from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jobtypes.common.cryosparc_uids import write_uids
from jobtypes.common.particles import read_particles
from relion_jobs.contract.errors import UserError

N = 8
EXPOSURE = "004829104850928374651"
STACKS = [f"J12/extract/{EXPOSURE}_hole_{'ab'[i // 4]}_particles.mrc" for i in range(N)]
UIDS = [18000000000000000000 + 7 * i for i in range(N)]
# the STAR file has its particles in another order than the .cs file
ORDER = [3, 1, 2, 0, 7, 6, 5, 4]


def write_cs(path: Path, *, stacks: list[str] = STACKS, before: str = ">") -> Path:
    kinds = [("uid", "<u8"), ("blob/path", "S120"), ("blob/idx", "<u4")]
    rows = [(UIDS[i], (before + stacks[i]).encode(), i % 4) for i in range(N)]
    with path.open("wb") as file:
        np.save(file, np.array(rows, dtype=kinds))
    return path


def uids(path: Path, table_path: Path, rows: list[int], source: Path | None) -> list[int]:
    write_uids(read_particles(table_path), rows, path, source)
    return [int(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("before", ["", ">"])
@pytest.mark.parametrize(
    "name",
    [
        "J12/extract/{name}.mrc",
        "/home/me/relion/patches/J12/{name}.mrcs",
        "Extract/{name}.mrcs",
        "Extract/{short}.mrc",
        "./J12/extract/{short}.mrcs",
    ],
)
def test_particles_of_pyem_and_cs2star_are_found_by_their_stacks(
    write_star: Callable[..., Path], tmp_path: Path, name: str, before: str
) -> None:
    stems = [Path(STACKS[i]).stem for i in ORDER]
    names = [name.format(name=stem, short=stem.removeprefix(f"{EXPOSURE}_")) for stem in stems]
    star = write_star(rlnImageName=[f"{i % 4 + 1:06d}@{one}" for i, one in zip(ORDER, names, strict=True)])
    found = uids(tmp_path / "uids.txt", star, [0, 1, 5], write_cs(tmp_path / "particles.cs", before=before))
    assert found == [UIDS[ORDER[row]] for row in (0, 1, 5)]


def test_a_column_of_uids_is_taken_as_it_is(write_star: Callable[..., Path], tmp_path: Path) -> None:
    assert uids(tmp_path / "u.txt", write_star(ucsfUid=[str(uid) for uid in UIDS]), [2, 6], None) == [UIDS[2], UIDS[6]]


def test_without_uids_or_for_other_particles_nothing_is_written(write_star: Callable[..., Path], tmp_path: Path) -> None:
    for source, sentence in (
        (None, r"no column _ucsfUid .* name the \.cs file"),
        (write_cs(tmp_path / "other.cs"), r"does not tell which of its particles 000001@Extract/job002/stack_a\.mrcs"),
        (tmp_path / "no.cs", "cannot be read as a .cs file"),
    ):
        with pytest.raises(UserError, match=sentence):
            uids(tmp_path / "u.txt", write_star(), [0], source)
    assert not (tmp_path / "u.txt").exists()


def test_names_that_two_stacks_share_tell_nothing(write_star: Callable[..., Path], tmp_path: Path) -> None:
    shared = [f"J{12 + i // 4}/extract/{EXPOSURE}_a.mrc" for i in range(N)]
    source = write_cs(tmp_path / "x.cs", stacks=shared)
    by_job = write_star(rlnImageName=[f"{i % 4 + 1}@patches/J{12 + i // 4}/{EXPOSURE}_a.mrcs" for i in range(N)])
    assert uids(tmp_path / "u.txt", by_job, [0, 4], source) == [UIDS[0], UIDS[4]]
    with pytest.raises(UserError, match="does not tell"):
        uids(tmp_path / "u.txt", write_star(rlnImageName=[f"{i + 1}@Extract/{EXPOSURE}_a.mrcs" for i in range(N)]), [0], source)


def test_a_file_that_is_no_cs_file_is_refused(write_star: Callable[..., Path], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(UserError, match=r"has no column uid; expected a \.cs file"):
        uids(tmp_path / "u.txt", write_star(), [0], tmp_path / "x.npy")
