from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jobtypes.common.particle_matching import match_particles
from jobtypes.common.particles import ParticleTable, read_particles
from relion_jobs.contract.errors import UserError

HEADER = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnImagePixelSize #5
_rlnImageSize #6
1 300.0 2.7 0.1 4.0 24

data_particles

loop_
_rlnImageName #1
_rlnAngleRot #2
_rlnAngleTilt #3
_rlnAnglePsi #4
_rlnDefocusU #5
_rlnDefocusV #6
_rlnDefocusAngle #7
_rlnRandomSubset #8
_rlnOpticsGroup #9
_rlnMicrographName #10
_rlnCoordinateX #11
_rlnCoordinateY #12
"""
TURNS = np.random.default_rng(0).uniform(0, 180, 20).round(3)


def table(path: Path, particles: list[int], *, stack: str = "a/x.mrcs", places: bool = True, turn: float = 0.0) -> ParticleTable:
    """A file with some of 20 particles, each with its own orientation and place; images are numbered in the order of the file."""
    header = HEADER if places else HEADER.split("_rlnMicrographName")[0]
    rows = []
    for number, particle in enumerate(particles):
        row = f"{number + 1:06d}@{stack} {TURNS[particle] + turn} {TURNS[particle]} 0 1 1 0 {number % 2 + 1} 1"
        rows.append(row + (f" mic{particle % 3}.mrc {100.5 + particle} 7.25" if places else ""))
    path.write_text(header + "\n".join(rows) + "\n\n")
    return read_particles(path)


@pytest.fixture
def earlier(tmp_path: Path) -> ParticleTable:
    return table(tmp_path / "earlier.star", list(range(20)))


def test_the_same_images_are_found_whatever_their_order(tmp_path: Path, earlier: ParticleTable) -> None:
    lines = (tmp_path / "earlier.star").read_text().rstrip().splitlines()
    rows = [line for line in lines if "@" in line]
    (tmp_path / "now.star").write_text("\n".join([*(line for line in lines if "@" not in line), *rows[::-1], ""]))
    rows_before, how = match_particles(earlier, read_particles(tmp_path / "now.star"))
    assert rows_before.tolist() == list(range(20))[::-1]
    assert how == "_rlnImageName"


def test_particles_that_were_extracted_again_are_found_by_their_place(tmp_path: Path, earlier: ParticleTable) -> None:
    now = table(tmp_path / "now.star", [7, 3, 19, 0, 4], stack="b/x.mrcs")
    rows, how = match_particles(earlier, now)
    assert rows.tolist() == [7, 3, 19, 0, 4]
    assert "rlnMicrographName" in how


@pytest.mark.parametrize(("stack", "how"), [("b/x.mrcs", "file names"), ("b/y.mrcs", "order")])
def test_moved_stacks_are_believed_where_orientations_agree(tmp_path: Path, stack: str, how: str) -> None:
    before = table(tmp_path / "before.star", list(range(20)), places=False)
    rows, said = match_particles(before, table(tmp_path / "now.star", list(range(20)), stack=stack, places=False, turn=1.0))
    assert rows.tolist() == list(range(20))
    assert how in said
    with pytest.raises(UserError, match="in another order"):
        match_particles(before, table(tmp_path / "other.star", list(range(20))[::-1], stack=stack, places=False))


def test_copies_of_an_image_are_told_apart_by_their_order(tmp_path: Path) -> None:
    text = (table(tmp_path / "a.star", [0, 1, 2, 3]).path).read_text()
    lines = text.replace("000004@", "000002@").replace(" 2 1 mic0.mrc 103.5", " 2 1 mic1.mrc 101.5").splitlines()
    (tmp_path / "copies.star").write_text("\n".join([*lines, ""]))
    copies = read_particles(tmp_path / "copies.star")
    assert match_particles(copies, copies)[0].tolist() == [0, 1, 2, 3]


def test_other_particles_are_refused_in_words(tmp_path: Path, earlier: ParticleTable) -> None:
    lines = (tmp_path / "earlier.star").read_text().replace("000020@a/x.mrcs", "000099@a/x.mrcs").replace("mic1.mrc 119.5", "m 1")
    (tmp_path / "now.star").write_text(lines)
    with pytest.raises(
        UserError, match=r"1 of its 20 particles are not in .*earlier.star.*19 were found.*the first that was not"
    ):
        match_particles(earlier, read_particles(tmp_path / "now.star"))
    with pytest.raises(UserError, match=r"has 5 particles and .* has 20"):
        match_particles(earlier, table(tmp_path / "few.star", [1, 2, 3, 4, 5], stack="b/y.mrcs", places=False))
