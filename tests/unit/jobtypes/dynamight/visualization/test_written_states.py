from __future__ import annotations

from pathlib import Path

import pytest
import starfile
import torch

from jobtypes.dynamight.visualization.written_states import WrittenState, read_states, remove_listed, write_list
from relion_jobs.contract.errors import UserError

STATES = [
    WrittenState(Path("maps/map001_half1.mrc"), "cluster 1", torch.tensor([1.256, -2.0]), 1.5, False),
    WrittenState(Path("movies/movie01_half1/volume000.mrc"), "main motion 1, 1 of 2", torch.tensor([0.0, 9.0]), 4.25, True),
]
OF_VERSION_0_1 = (
    "file\tstate\toutside_data\trms_A\tmotion1_A\n"
    "maps/map001_half1.mrc\tcluster 1\tno\t1.50\t1.26\n"
    "movies/movie01_half1/volume000.mrc\tmain motion 1, 1 of 2\tyes\t4.25\t0.00\n"
)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job directory with listed files, one saved by hand, and one that no list may name."""
    for name in ("maps/map001_half1.mrc", "maps/map002_half1.mrc", "movies/movie01_half1/volume000.mrc", "job.star"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def left(job: Path) -> set[str]:
    return {str(path.relative_to(job)) for path in job.rglob("*") if path.is_file()}


def test_the_list_is_a_table_that_starfile_reads(job: Path) -> None:
    write_list(job / "states.star", STATES)
    table = starfile.read(job / "states.star")
    assert table.columns.tolist() == ["file", "state", "outside_data", "rms_A", "motion1_A", "motion2_A"]
    assert table["state"].tolist() == ["cluster 1", "main motion 1, 1 of 2"]
    assert table["outside_data"].tolist() == ["no", "yes"]
    assert table["motion1_A"].tolist() == [1.26, 0.0]


def test_what_is_listed_is_removed_and_nothing_else(job: Path) -> None:
    write_list(job / "states.star", [*STATES, WrittenState(Path("job.star"), "no state", torch.zeros(2), 0.0, False)])
    remove_listed(job / "states.star", job)
    assert left(job) == {"maps/map002_half1.mrc", "job.star"}


def test_an_empty_list_removes_nothing(job: Path) -> None:
    before = left(job)
    write_list(job / "states.star", [])
    remove_listed(job / "states.star", job)
    assert left(job) == before


def test_the_list_of_version_0_1_is_understood(job: Path) -> None:
    (job / "states.tsv").write_text(OF_VERSION_0_1)
    remove_listed(job / "states.star", job)
    assert left(job) == {"maps/map002_half1.mrc", "job.star"}


def test_a_damaged_list_removes_nothing_and_is_named(job: Path) -> None:
    write_list(job / "states.star", STATES)
    before = left(job)
    text = (job / "states.star").read_text().rstrip()
    (job / "states.star").write_text(text[: text.rindex("\t")])
    with pytest.raises(UserError, match=r"states\.star: row 2 of data_states .* has 5 values; expected 6"):
        remove_listed(job / "states.star", job)
    assert left(job) == before


def test_the_states_of_a_list_come_back(job: Path) -> None:
    write_list(job / "states.star", STATES)
    for count in (2, 1):
        write_list(job / "states.star", STATES[:count])
        found = read_states(job / "states.star", 2)
        assert [name for name, _ in found] == [state.name for state in STATES[:count]]
        torch.testing.assert_close(torch.stack([at for _, at in found])[0], torch.tensor([1.26, -2.0]))


@pytest.mark.parametrize(("n_motions", "sentence"), [(1, "_motion2_A, but the half set has 1"), (3, "no column _motion3_A")])
def test_states_of_another_half_set_are_refused(job: Path, n_motions: int, sentence: str) -> None:
    write_list(job / "states.star", STATES)
    with pytest.raises(UserError, match=sentence):
        read_states(job / "states.star", n_motions)
