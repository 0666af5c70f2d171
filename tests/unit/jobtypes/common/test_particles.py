from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jobtypes.common.digests import digest_of_particles
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import held_out, read_particles, write_particles
from relion_jobs.contract.errors import UserError

from .conftest import particle_columns  # isort: skip

Write = Callable[..., Path]
N = 8


def test_columns_arrive_in_their_arrays(write_star: Write) -> None:
    path = write_star()
    table = read_particles(path)
    row = [line for line in path.read_text().splitlines() if "@" in line][5].split()
    assert table.image_name(5) == row[0] == "000002@Extract/job002/stack_b.mrcs"
    assert table.angles_degrees[5].tolist() == [float(v) for v in row[2:5]]
    assert table.origins_angstroms[5].tolist() == [float(v) for v in row[5:7]]
    assert (table.box, table.pixel_size_angstroms, len(table)) == (12, 2.5, N)
    assert table.half.tolist() == [1, 2] * 4
    assert table.half_is_given


def test_its_memory_is_that_of_its_columns_and_its_text(write_star: Write) -> None:
    path = write_star()
    table = read_particles(path)
    of_columns = sum(values.nbytes for values in (table.angles_degrees, table.origins_angstroms, *table.ctf_columns.values()))
    assert of_columns + path.stat().st_size < table.n_bytes < 3 * (of_columns + path.stat().st_size)


def test_ctf_parameters_join_optics_and_particle_columns(write_star: Write) -> None:
    table = read_particles(write_star(rlnPhaseShift=["90.0"] * N))
    parameters = table.ctf_parameters([0, 6])
    assert parameters.voltage_kilovolts.tolist() == [300, 200]
    assert parameters.spherical_aberration_millimetres.tolist() == pytest.approx([2.7, 1.4])
    assert parameters.phase_shift_degrees.tolist() == [90, 90]
    assert parameters.scale_factor.tolist() == [1, 1]
    assert parameters.bfactor.tolist() == [0, 0]
    assert parameters.premultiplied is None
    assert parameters.even_zernikes is None
    assert len(parameters) == 2


def test_premultiplied_data_and_even_zernikes_follow_their_group(write_star: Write) -> None:
    optics = {"rlnCtfDataAreCtfPremultiplied": ["0", "1"], "rlnEvenZernike": ["[0,0.5,1]", "[0,0,0]"]}
    parameters = read_particles(write_star(optics)).ctf_parameters([0, 6])
    assert parameters.premultiplied is not None
    assert parameters.premultiplied.tolist() == [False, True]
    assert parameters.even_zernikes is not None
    assert parameters.even_zernikes.tolist() == [[0, 0.5, 1], [0, 0, 0]]


def test_optional_columns_have_the_defaults_of_relion(write_star: Write) -> None:
    table = read_particles(write_star(rlnOriginXAngst=None, rlnOriginYAngst=None))
    assert not table.origins_angstroms.any()


def test_missing_halves_are_drawn_from_the_seed_with_copies_together(write_star: Write) -> None:
    names = [f"{i // 2 + 1}@Extract/a.mrcs" for i in range(N)]
    path = write_star(rlnRandomSubset=None, rlnImageName=names)
    table = read_particles(path, seed=3)
    assert not table.half_is_given
    assert table.half[0::2].tolist() == table.half[1::2].tolist()
    assert sorted(table.half.tolist()) == [1] * 4 + [2] * 4
    assert table.half.tolist() == read_particles(path, seed=3).half.tolist()
    assert any(table.half.tolist() != read_particles(path, seed=seed).half.tolist() for seed in range(4, 9))


def test_names_with_and_without_leading_zeros_are_copies_of_one_image(write_star: Write) -> None:
    names = ["1@a.mrcs", "2@a.mrcs", "000001@a.mrcs", *(f"{i}@a.mrcs" for i in range(3, 8))]
    table = read_particles(write_star(rlnImageName=names))
    assert table.copy_of[0] == table.copy_of[2] != table.copy_of[1]


def test_copies_in_both_halves_are_refused(write_star: Write) -> None:
    names = ["1@a.mrcs"] * 2 + [f"{i}@a.mrcs" for i in range(2, 8)]
    with pytest.raises(UserError, match=r"same image is in half 1 and in half 2 .*row 1 \(line \d+\) and row 2"):
        read_particles(write_star(rlnImageName=names))


NAME = "Extract/job002/stack_a.mrcs"
WAYS = [
    f"./{NAME}",
    "Extract//job002/stack_a.mrcs",
    "Extract/job003/../job002/stack_a.mrcs",
    f"{{project}}/{NAME}",
    "link.mrcs",
    "folder/stack_a.mrcs",
    "hard.mrcs",
    "shortcut/{name}",
    "{blank}",
]


def in_another_way(tmp_path: Path, way: str) -> str:
    """Write another name of stack_a, making the links that it needs."""
    if not (tmp_path / "link.mrcs").exists():
        (tmp_path / "link.mrcs").symlink_to(NAME)
        (tmp_path / "folder").symlink_to("Extract/job002")
        (tmp_path / "shortcut").symlink_to(tmp_path)
        (tmp_path / "hard.mrcs").hardlink_to(tmp_path / NAME)
    return f'"000001@{NAME} "' if way == "{blank}" else "000001@" + way.format(project=tmp_path, name=NAME)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("stacks")
def test_one_image_under_two_names_never_gets_into_both_halves(write_star: Write, tmp_path: Path, way: str) -> None:
    names = [f"000001@{NAME}", in_another_way(tmp_path, way), *(f"{i}@Extract/job002/stack_b.mrcs" for i in range(1, 7))]
    with pytest.raises(UserError, match=r"same image is in half 1 and in half 2 .*row 1 \(line \d+\) and row 2"):
        read_particles(write_star(rlnImageName=names), project=tmp_path)
    for seed in range(8):
        drawn = read_particles(write_star(rlnImageName=names, rlnRandomSubset=None), project=tmp_path, seed=seed)
        assert drawn.half[0] == drawn.half[1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("stacks")
def test_one_image_twice_in_one_half_is_said_and_counts_once(write_star: Write, tmp_path: Path, way: str) -> None:
    columns = {name: [texts[0], texts[0], *texts[2:]] for name, texts in particle_columns().items()}
    names = [f"000001@{NAME}", in_another_way(tmp_path, way), *(f"{i}@Extract/job002/stack_b.mrcs" for i in range(1, 7))]
    table = read_particles(write_star(**columns | {"rlnImageName": names}), project=tmp_path)
    assert table.is_repeat.tolist() == [False, True] + [False] * 6
    assert table.rows_of_half(1).tolist() == [0, 2, 4, 6]
    (sentence,) = table.sentences_of_copies()
    assert re.search(
        r"1 particle\(s\) a second time.* \(as row 1 \(line \d+\) and row 2 \(line \d+\)\); each counts once", sentence
    )
    assert not held_out(table, 0.5, seed=3)[1]
    assert len(table.select(~table.is_repeat)) == 7


def test_an_image_of_a_symmetry_expansion_is_said_and_all_its_views_count(write_star: Write) -> None:
    table = read_particles(write_star(rlnImageName=["1@a.mrcs", "9@a.mrcs"] * 2 + [f"{i}@a.mrcs" for i in range(2, 6)]))
    assert not table.is_repeat.any()
    assert table.sentences_of_copies() == [
        "2 particle(s) are further views of images that other rows show (symmetry expansion); all views of an image are in one "
        "half set, and on one side of training and held out."
    ]


def test_a_file_without_copies_says_nothing_of_them(write_star: Write) -> None:
    assert read_particles(write_star()).sentences_of_copies() == []


@pytest.mark.parametrize(
    "column",
    [
        {"rlnImageSize": None},
        {"rlnImageSize": None, "rlnBoxSize": ["7", "7"]},
        {"rlnImageSize": None, "rlnImageDimensionality": None},
    ],
)
@pytest.mark.usefixtures("stacks")
def test_an_image_size_that_is_missing_is_read_from_the_stacks_and_written(
    write_star: Write, tmp_path: Path, column: dict[str, list[str] | None]
) -> None:
    table = read_particles(write_star(column), project=tmp_path)
    assert table.box == 12
    write_particles(table, tmp_path / "again.star", rows=[0, 1])
    again = read_particles(tmp_path / "again.star", project="/nowhere")
    assert again.optics.boxes.tolist() == [12, 12]


def test_an_image_size_that_is_missing_with_its_stacks_is_refused(write_star: Write, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"image stack Extract/job002/stack_a\.mrcs does not exist"):
        read_particles(write_star({"rlnImageSize": None}), project=tmp_path)


@pytest.mark.usefixtures("stacks")
def test_an_optics_group_without_particles_needs_no_stack_for_its_image_size(write_star: Write, tmp_path: Path) -> None:
    table = read_particles(write_star({"rlnImageSize": None}, rlnOpticsGroup=["1"] * N), project=tmp_path)
    assert table.box == 12


@pytest.mark.usefixtures("stacks")
def test_stacks_that_have_moved_are_read_where_they_are(write_star: Write, tmp_path: Path) -> None:
    (tmp_path / "Extract" / "job002").rename(tmp_path / "elsewhere")
    path = write_star()
    table = read_particles(path, project=tmp_path, path_prefix="Extract/job002=elsewhere")
    assert table.stack_places == table.stack_files == ("elsewhere/stack_a.mrcs", "elsewhere/stack_b.mrcs")
    assert table.stack_paths == ("Extract/job002/stack_a.mrcs", "Extract/job002/stack_b.mrcs")
    ParticleImages(table, tmp_path).verify()
    assert digest_of_particles(table) == digest_of_particles(read_particles(path, project=tmp_path))
    with pytest.raises(UserError, match=r"stack_a\.mrcs does not exist .*particle_path_prefix"):
        ParticleImages(read_particles(path, project=tmp_path), tmp_path).verify()


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("rlnAngleRot", "nan", r"_rlnAngleRot of data_particles is 'nan' in row 3 \(line 39\); expected a number"),
        ("rlnDefocusU", "inf", r"_rlnDefocusU of data_particles is 'inf' in row 3.*: correct the row or take it out"),
        ("rlnDefocusV", "1e30", r"_rlnDefocusV of data_particles is 1e\+30 in row 3 .*expected a defocus in A"),
        ("rlnOriginYAngst", "-4000", r"_rlnOriginYAngst of data_particles is -4000 in row 3 .*within the box of"),
        ("rlnAnglePsi", "1e40", r"_rlnAnglePsi of data_particles is '1e40' in row 3 .*a number of at most 3.40282e\+38"),
        ("rlnAngleTilt", "abc", r"_rlnAngleTilt of data_particles is 'abc' in row 3"),
        ("rlnImageName", "stack.mrcs", r"_rlnImageName of data_particles is 'stack.mrcs' in row 3 .*expected NUMBER@STACK"),
        ("rlnImageName", "0@stack.mrcs", r"'0@stack.mrcs' in row 3"),
        ("rlnRandomSubset", "0", r"_rlnRandomSubset of data_particles is 0 in row 3 .*expected 1 or 2"),
        ("rlnOpticsGroup", "7", r"_rlnOpticsGroup of data_particles is 7 in row 3 .*expected a group of data_optics \(1, 2\)"),
    ],
)
def test_a_bad_value_is_named_with_its_row_and_line(write_star: Write, column: str, value: str, sentence: str) -> None:
    path = write_star()
    texts = [line.split() for line in path.read_text().splitlines() if "@" in line]
    names = [line.split()[0][1:] for line in path.read_text().split("data_particles")[1].splitlines() if line.startswith("_")]
    values = [row[names.index(column)] for row in texts]
    values[2] = value
    with pytest.raises(UserError, match=sentence):
        read_particles(write_star(**{column: values}))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rlnImageName": None}, "no column _rlnImageName; give the run_data.star of a Refine3D job"),
        ({"rlnAnglePsi": None}, "no column _rlnAnglePsi"),
        ({"rlnDefocusV": None}, "no column _rlnDefocusV; run CtfFind"),
        ({"rlnOpticsGroup": None}, "no column _rlnOpticsGroup; convert it with relion_convert_star"),
        ({"rlnRandomSubset": ["2"] * N}, "no particle is in half 1"),
        ({"rlnHelicalTubeID": ["1"] * N}, "helical segments"),
        ({"rlnTomoParticleName": ["TS/1"] * N}, "3D subtomograms or particles of RELION 4"),
        ({"rlnOriginXAngst": None, "rlnOriginYAngst": None, "rlnOriginX": ["0"] * N}, "origins are in pixels"),
    ],
)
def test_data_of_another_kind_are_refused_in_one_sentence(write_star: Write, change: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        read_particles(write_star(**change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("optics", "sentence"),
    [
        ({"rlnVoltage": None}, "data_optics has no column _rlnVoltage"),
        ({"rlnImagePixelSize": ["0", "0"]}, "_rlnImagePixelSize of data_optics is 0 in row 1"),
        ({"rlnImageDimensionality": ["3", "3"]}, "3D subtomograms"),
        (
            {"rlnMagMat00": ["1", "1.3"]},
            "_rlnMagMat00 .. _rlnMagMat11 of data_optics are 1.3 0 0 1 in row 2 .*; expected a magnification within 20 % of none",
        ),
        ({"rlnOddZernike": ["[0,x]", "[0]"]}, r"_rlnOddZernike of data_optics is '\[0,x\]' in row 1"),
        ({"rlnOddZernike": ["[0]", "[0,-inf]"]}, r"_rlnOddZernike of data_optics is '\[0,-inf\]' in row 2 .*a list of numbers"),
        ({"rlnEvenZernike": ["[0]", "[0,nan]"]}, r"_rlnEvenZernike of data_optics is '\[0,nan\]' in row 2 .*a list of numbers"),
        ({"rlnEvenZernike": ["[1e300]", "[0]"]}, r"_rlnEvenZernike of data_optics is '\[1e300\]' in row 1 .*a list of numbers"),
        ({"rlnBeamTiltX": ["0", "nan"]}, "_rlnBeamTiltX of data_optics is 'nan' in row 2 .*expected a number: correct the row"),
        ({"rlnBeamTiltY": ["0", "inf"]}, "_rlnBeamTiltY of data_optics is 'inf' in row 2 .*expected a number"),
        ({"rlnMagMat01": ["nan", "0"]}, "_rlnMagMat01 of data_optics is 'nan' in row 1 .*expected a number"),
        ({"rlnMagMat11": ["1", "-inf"]}, "_rlnMagMat11 of data_optics is '-inf' in row 2 .*expected a number"),
        ({"rlnSphericalAberration": ["1e300", "2"]}, r"_rlnSphericalAberration of data_optics is '1e300' in row 1.*at most 3\.4"),
    ],
)
def test_optics_that_cannot_be_used_are_refused(write_star: Write, optics: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_particles(write_star(optics))


def test_a_group_without_particles_may_have_any_size(write_star: Write) -> None:
    table = read_particles(write_star({"rlnImageSize": ["14", "12"]}, rlnOpticsGroup=["2"] * N))
    assert table.box == 12


def test_a_file_of_relion_3_0_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "old.star"
    path.write_text("data_images\n\nloop_\n_rlnImageName #1\n_rlnOriginX #2\n1@a.mrcs 0.5\n")
    with pytest.raises(UserError, match=r"RELION before 3\.1 wrote it; convert it with relion_convert_star"):
        read_particles(path)


def test_a_written_table_keeps_every_text_and_adds_columns(write_star: Write, tmp_path: Path) -> None:
    path = write_star()
    table = read_particles(path)
    write_particles(table, tmp_path / "out.star", rows=[6, 1], rlnNew=np.array([1 / 3, 1e-9]), rlnAngleRot=np.float32([0.1, 2]))
    before = [line.split() for line in path.read_text().splitlines() if "@" in line]
    after = [line.split() for line in (tmp_path / "out.star").read_text().splitlines() if "@" in line]
    assert after[0] == [*before[6][:2], "0.1", *before[6][3:], "0.3333333333333333"]
    assert after[1] == [*before[1][:2], "2.0", *before[1][3:], "1e-09"]
    again = read_particles(tmp_path / "out.star")
    assert again.image_name(0) == table.image_name(6)
    assert again.ctf_parameters().voltage_kilovolts.tolist() == [200, 300]


def test_drawn_halves_are_written_out(write_star: Write, tmp_path: Path) -> None:
    table = read_particles(write_star(rlnRandomSubset=None))
    write_particles(table, tmp_path / "out.star")
    again = read_particles(tmp_path / "out.star", seed=99)
    assert again.half_is_given
    assert again.half.tolist() == table.half.tolist()


def test_starfile_reads_what_is_written(write_star: Write, tmp_path: Path) -> None:
    starfile = pytest.importorskip("starfile")
    table = read_particles(write_star())
    write_particles(table, tmp_path / "out.star", rlnDynaMightLatent=np.arange(N) / 7)
    read = starfile.read(tmp_path / "out.star")
    assert read["particles"]["rlnDynaMightLatent"].to_numpy() == pytest.approx(np.arange(N) / 7, rel=1e-15)
    assert read["particles"]["rlnAngleRot"].to_numpy() == pytest.approx(table.angles_degrees[:, 0])


def test_held_out_images_are_the_same_share_of_each_half(write_star: Write) -> None:
    table = read_particles(write_star())
    out = held_out(table, 0.25, 1)
    assert [int(out[table.half == half].sum()) for half in (1, 2)] == [1, 1]
    assert out.tolist() == held_out(table, 0.25, 1).tolist()
    assert not held_out(table, 0, 1).any()


def test_held_out_draws_all_copies_of_an_image(write_star: Write) -> None:
    names = [f"{i % 4 + 1}@a.mrcs" for i in range(N)]
    table = read_particles(write_star(rlnImageName=names))
    out = held_out(table, 0.5, 0)
    assert out[:4].tolist() == out[4:].tolist()
    assert out.sum() == 4


def test_drawing_in_one_half_does_not_depend_on_the_other(write_star: Write) -> None:
    table = read_particles(write_star())
    first = table.select(table.half == 1)
    assert held_out(first, 0.5, 7).tolist() == held_out(table, 0.5, 7)[table.half == 1].tolist()


def test_a_selection_keeps_rows_of_the_file(write_star: Write) -> None:
    table = read_particles(write_star())
    chosen = table.select([5, 2])
    assert chosen.rows.tolist() == [5, 2]
    assert chosen.select([1]).image_name(0) == table.image_name(2)
    assert chosen.ctf_columns["rlnDefocusU"][0] == table.ctf_columns["rlnDefocusU"][5]


def test_a_text_that_star_cannot_hold_is_refused(write_star: Write, tmp_path: Path) -> None:
    table = read_particles(write_star())
    with pytest.raises(UserError, match=re.escape("""'a"b'""")):
        write_particles(table, tmp_path / "out.star", rlnNote=['a"b'] * N)
    assert not (tmp_path / "out.star").exists()


def test_phase_flipped_data_follow_their_group_and_have_a_name_of_their_own(write_star: Write) -> None:
    raw = read_particles(write_star({"rlnCtfDataArePhaseFlipped": ["0", "0"]}))
    without = read_particles(write_star())
    flipped = read_particles(write_star({"rlnCtfDataArePhaseFlipped": ["0", "1"]}))
    assert raw.ctf_parameters().phase_flipped is None
    assert digest_of_particles(raw) == digest_of_particles(without) != digest_of_particles(flipped)
    of_particles = flipped.ctf_parameters().phase_flipped
    assert of_particles is not None
    assert of_particles.tolist() == (flipped.optics_group == 1).tolist()
    assert flipped.with_phase_flipped(np.array([True, False])).optics.phase_flipped.tolist() == [True, False]


@pytest.mark.parametrize(
    ("optics", "box", "smallest_box", "coarsest_pixel"),
    [
        ({}, 12, 30.0, 2.5),
        ({"rlnImagePixelSize": ["2.5", "2.0"], "rlnImageSize": ["12", "20"]}, 12, 30.0, 2.5),
        ({"rlnImagePixelSize": ["2.5", "3.0"], "rlnImageSize": ["12", "9"]}, 12, 27.0, 3.0),
        ({"rlnImagePixelSize": ["2.5", "2.500001"], "rlnImageSize": ["12", "12"]}, 12, 30.0, 2.5),
        ({"rlnMagMat00": ["1", "1.02"], "rlnMagMat11": ["1", "0.96"]}, 12, 30.0, 2.5 / 0.96),
    ],
)
def test_joined_groups_say_what_all_of_their_images_hold(
    write_star: Write, optics: dict, box: int, smallest_box: float, coarsest_pixel: float
) -> None:
    table = read_particles(write_star(optics))
    assert (table.box, table.pixel_size_angstroms) == (box, 2.5)
    assert table.smallest_box_angstroms == pytest.approx(smallest_box)
    assert table.coarsest_pixel_angstroms == pytest.approx(coarsest_pixel)


def test_origins_are_those_of_images_without_magnification(write_star: Write) -> None:
    plain = read_particles(write_star()).origins_angstroms
    matrix = np.array([[1.02, 0.01], [-0.03, 0.97]])
    columns = {f"rlnMagMat{i}{j}": ["1" if i == j else "0", str(matrix[i, j])] for i in (0, 1) for j in (0, 1)}
    table = read_particles(write_star(columns))
    np.testing.assert_allclose(table.origins_angstroms[:4], plain[:4])
    np.testing.assert_allclose(table.stored_origins(np.arange(8), table.origins_angstroms), plain)
    frequency = np.array([0.03, -0.05])  # of the image as it is: its phase stays that of the origin
    np.testing.assert_allclose(table.origins_angstroms[4:] @ (matrix @ frequency), plain[4:] @ frequency)


@pytest.mark.parametrize(
    "change",
    [
        {"optics": {"rlnImagePixelSize": ["2.5", "2.0"]}},
        {"optics": {"rlnImageSize": ["12", "16"]}},
        {"optics": {"rlnMagMat00": ["1", "1.01"]}},
        {"rlnNormCorrection": ["1", "2"] * 4},
    ],
)
def test_grids_and_grey_scales_are_part_of_what_is_trained_on(write_star: Write, change: dict) -> None:
    without = digest_of_particles(read_particles(write_star()))
    assert digest_of_particles(read_particles(write_star(**change))) != without
    assert digest_of_particles(read_particles(write_star(rlnNormCorrection=["0.8"] * 8))) == without
