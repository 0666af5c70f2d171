from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from jobtypes.common.ctf import ctf
from jobtypes.common.digests import digest_of_particles
from jobtypes.common.fourier import frequencies_2d, rfft2
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particle_matching import match_particles
from jobtypes.common.particles import held_out, read_particles, write_particles
from jobtypes.common.rotations import euler_matrices
from relion_jobs.contract.errors import UserError
from tests.tilt_project import PARTICLES, SET, TOMOGRAMS, TiltSet, projection, transfer, write_tilt_project

ATOMS = np.array([[0.0, 0, 0], [9, 2, -4], [-5, 11, 6]])


@pytest.fixture
def made(tmp_path: Path) -> TiltSet:
    return write_tilt_project(tmp_path, TiltSet(ATOMS))


def read(project: Path, name: str = SET):
    return read_particles(project / name, project=project)


def of_all(made: TiltSet, name: str) -> np.ndarray:
    return np.array([image[name] for image in made.truth])


def test_every_image_has_the_rotation_shift_and_ctf_of_its_frame(tmp_path: Path, made: TiltSet) -> None:
    table = read(tmp_path)
    each = table.per_image
    assert len(table) == made.n_particles < len(each) == table.n_images == len(made.truth)
    assert table.tilts is not None
    assert table.tilts.particle.tolist() == of_all(made, "particle").tolist()
    assert euler_matrices(torch.from_numpy(each.angles_degrees)).numpy() == pytest.approx(of_all(made, "matrix"), abs=1e-9)
    assert -each.origins_angstroms == pytest.approx(of_all(made, "shift"), abs=1e-9)
    for column, name in {
        "rlnDefocusU": "u",
        "rlnDefocusV": "v",
        "rlnDefocusAngle": "angle",
        "rlnCtfScalefactor": "scale",
        "rlnMicrographPreExposure": "dose",
    }.items():
        assert each.ctf_columns[column] == pytest.approx(of_all(made, name), abs=1e-9)


@pytest.mark.parametrize("premultiplied", [True, False])
def test_an_image_is_its_transfer_times_its_projection(tmp_path: Path, premultiplied: bool) -> None:
    made = write_tilt_project(tmp_path, TiltSet(ATOMS, premultiplied=premultiplied))
    table = read(tmp_path)
    images = ParticleImages(table, tmp_path)
    images.verify()
    found = rfft2(images.read(np.arange(len(images)))).numpy()
    ours = ctf(table.per_image.ctf_parameters(dtype=torch.float64), frequencies_2d(made.box, made.pixel)).numpy()
    for row, image in enumerate(made.truth):
        contrast = table.optics.amplitude_contrast[table.per_image.optics_group[row]]
        c = transfer(made.box, made.pixel, image, contrast)[:, : made.box // 2 + 1]
        expected = projection(ATOMS, image["matrix"], image["shift"], box=made.box, pixel=made.pixel, width=made.width)
        model = (c**2 if premultiplied else c) * expected[:, : made.box // 2 + 1]
        inside = np.s_[:, : made.box // 2]  # the column at Nyquist holds two frequencies
        inside_rows = np.r_[: made.box // 2, made.box // 2 + 1 : made.box]
        assert ours[row][inside] == pytest.approx((c**2 if premultiplied else c)[inside], abs=1e-9)
        assert found[row][inside][inside_rows] == pytest.approx(model[inside][inside_rows], abs=1e-4)


def test_particles_with_their_images_are_chosen_together(tmp_path: Path, made: TiltSet) -> None:
    table = read(tmp_path)
    some = table.select([4, 1])
    assert some.tilts is not None
    assert some.tilts.particle.tolist() == [0] * int((of_all(made, "particle") == 4).sum()) + [1] * int(
        (of_all(made, "particle") == 1).sum()
    )
    images, place = table.images_of(np.array([4, 1]))
    assert some.per_image.angles_degrees.tolist() == table.per_image.angles_degrees[images].tolist()
    assert place.tolist() == some.tilts.particle.tolist()


def test_half_sets_and_held_out_are_of_particles(tmp_path: Path, made: TiltSet) -> None:
    table = read(tmp_path)
    assert table.half.tolist() == made.half
    out = held_out(table, 0.3, 1)
    assert len(out) == made.n_particles
    assert out.sum() == 2


def test_the_particle_file_finds_its_set_beside_it(tmp_path: Path, made: TiltSet) -> None:
    assert digest_of_particles(read(tmp_path, PARTICLES)) == digest_of_particles(read(tmp_path))
    (tmp_path / SET).unlink()
    with pytest.raises(UserError, match=r"no run_optimisation_set\.star beside it .* give the run_optimisation_set\.star"):
        read(tmp_path, PARTICLES)


def test_another_hand_changes_the_digest(tmp_path: Path, made: TiltSet) -> None:
    before = digest_of_particles(read(tmp_path))
    path = tmp_path / TOMOGRAMS
    path.write_text(path.read_text().replace(" -1 ", " 1 "))
    assert digest_of_particles(read(tmp_path)) != before


def test_a_subset_is_written_with_a_set_of_its_own(tmp_path: Path, made: TiltSet) -> None:
    table = read(tmp_path)
    (tmp_path / "Select").mkdir()
    write_particles(table, tmp_path / "Select/few.star", rows=[1, 3], rlnDynamightLatent1=np.array([0.5, -1.5]))
    text = (tmp_path / "Select/few.star").read_text()
    assert "data_general\n\n_rlnTomoSubTomosAre2DStacks 1\n" in text
    for name in ("Select/few.star", "Select/few_optimisation_set.star"):
        few = read_particles(tmp_path / name, project=tmp_path)
        assert few.per_image.angles_degrees.tolist() == table.select([1, 3]).per_image.angles_degrees.tolist()
        assert few.source["particles"].read(numbers=("rlnDynamightLatent1",))["rlnDynamightLatent1"].tolist() == [0.5, -1.5]


def test_particles_extracted_again_are_told_by_their_names_in_the_tomograms(tmp_path: Path, made: TiltSet) -> None:
    earlier, path = read(tmp_path), tmp_path / PARTICLES
    head, rows = path.read_text().split("_rlnRandomSubset #18\n")
    again = "\n".join(reversed(rows.strip().splitlines())).replace("Extract/job002", "Extract/job009")
    path.write_text(f"{head}_rlnRandomSubset #18\n{again}\n\n")
    places, how = match_particles(earlier, read(tmp_path))
    assert places.tolist() == list(reversed(range(made.n_particles)))
    assert how == "_rlnTomoParticleName"


def test_coordinates_in_pixels_from_the_corner_are_understood(tmp_path: Path, made: TiltSet) -> None:
    expected = read(tmp_path).per_image.ctf_columns["rlnDefocusU"]
    table, path = read(tmp_path), tmp_path / PARTICLES
    names = [f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]
    values = table.source["particles"].read(numbers=tuple(names))
    text = path.read_text()
    for axis, name, size in zip("XYZ", names, (464, 480, 400), strict=True):
        text = text.replace(f"_{name} ", f"_rlnCoordinate{axis} ")
        for value in values[name]:
            text = text.replace(f" {value:.6f} ", f" {value / (made.pixel / 2) + size / 2:.9f} ")
    path.write_text(text)
    assert read(tmp_path).per_image.ctf_columns["rlnDefocusU"] == pytest.approx(expected, abs=1e-5)


def test_a_bfactor_per_dose_takes_the_place_of_the_curve(tmp_path: Path, made: TiltSet) -> None:
    path = tmp_path / TOMOGRAMS
    text = path.read_text().replace("_rlnTomoSizeX", "_rlnCtfBfactorPerElectronDose").replace(" 464 ", " 4.0 ")
    path.write_text(text)
    parameters = read(tmp_path).per_image.ctf_parameters()
    assert parameters.bfactor.tolist() == pytest.approx([4 * float(image["dose"]) for image in made.truth])
    assert parameters.dose is not None
    assert not parameters.dose.any()


def changed(project: Path, name: str, pattern: str, by: str) -> None:
    text = (project / name).read_text()
    new = re.sub(pattern, by, text, count=1)
    assert new != text
    (project / name).write_text(new)


@pytest.mark.parametrize(
    ("name", "pattern", "by", "sentence"),
    [
        (PARTICLES, "_rlnTomoSubTomosAre2DStacks 1", "_rlnTomoSubTomosAre2DStacks 0", r"3D subtomograms .* extract them again"),
        (PARTICLES, r"\[1,", "[1,1,", r"_rlnTomoVisibleFrames .* each of the 4 frames of tomo1"),
        (PARTICLES, r"\[1(,[01])*\]", "[0,0,0,0]", r"shows no frame in row 1"),
        (PARTICLES, "_rlnTomoVisibleFrames", "_rlnTomoOther", r"has no column _rlnTomoVisibleFrames"),
        (PARTICLES, "_rlnTomoSubtomogramTilt", "_rlnTomoOther", r"no column _rlnTomoSubtomogramTilt; .* three of these angles"),
        (PARTICLES, "\ntomo1 ", "\ntomo9 ", r"no tomogram tomo9, of which there are particles"),
        (PARTICLES, " Extract", " 1@Extract", r"without NUMBER@"),
        (PARTICLES, "_rlnTomoSubtomogramBinning", "_rlnCtfDataAreCtfCorrected", r"without --real_subtomo"),
        (PARTICLES, "300.0", "200.0", r"_rlnVoltage of data_optics is 200 .* says 300 for tomo1"),
        (TOMOGRAMS, " -1 ", " 0 ", r"_rlnTomoHand of data_global is 0"),
        (TOMOGRAMS, "_rlnTomoHand", "_rlnTomoFoot", r"no column _rlnTomoHand"),
        (TOMOGRAMS, "_rlnTomoTiltSeriesStarFile", "_rlnTomoFrameCount", r"RELION 4 wrote it"),
        (TOMOGRAMS, "data_global", "data_other", r"no table data_global"),
        (SET, "_rlnTomoTomogramsFile", "_rlnTomoOther", r"no column _rlnTomoTomogramsFile"),
        (SET, f"_rlnTomoTomogramsFile {TOMOGRAMS}", '_rlnTomoTomogramsFile ""', r"names no file as _rlnTomoTomogramsFile"),
        ("Tomograms/job001/tilt_series/7.star", "data_7", "data_8", r"no table data_7"),
        ("Tomograms/job001/tilt_series/7.star", "_rlnMicrographPreExposure", "_rlnDose", r"no column _rlnMicrographPreExposure"),
        ("Tomograms/job001/tilt_series/7.star", "\n0.0 ", "\n-1.0 ", r"expected a dose"),
    ],
)
def test_what_cannot_be_used_is_said_with_a_remedy(
    tmp_path: Path, made: TiltSet, name: str, pattern: str, by: str, sentence: str
) -> None:
    changed(tmp_path, name, pattern, by)
    with pytest.raises(UserError, match=sentence):
        read(tmp_path)


def test_a_stack_of_another_extraction_is_refused(tmp_path: Path, made: TiltSet) -> None:
    changed(tmp_path, PARTICLES, r"\[1,1,1", "[1,1,0")
    with pytest.raises(UserError, match=r"is seen in \d frames .* but Extract/.* has \d images"):
        ParticleImages(read(tmp_path), tmp_path).verify()
