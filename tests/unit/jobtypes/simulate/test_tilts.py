"""Simulated tilt series, read by the product's own reader: two ways to write the same formulas down must agree."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from jobtypes.common.ctf import ctf
from jobtypes.common.fourier import frequencies_2d, rfft2
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import ParticleTable, read_particles, write_particles
from jobtypes.common.rotations import euler_matrices
from jobtypes.common.star_tables import read_tables
from jobtypes.common.tilt_stacks import optimisation_set_beside
from jobtypes.simulate import dataset
from jobtypes.simulate.job import JOB_TYPE
from jobtypes.simulate.options import SimulationOptions, read_values
from jobtypes.simulate.results import find_star
from jobtypes.simulate.tilts import SET_STAR
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.options import parse_values

CHANGES = {
    "geometry": "tilt_series",
    "nr_particles": "56",
    "nr_tilts": "5",
    "largest_tilt": "40",
    "total_dose": "60",
    "pose_error_angle": "1",
    "missing_arm_share": "0.2",
    "wrong_pose_share": "0.1",
}
TINY = {"box_size": "32", "angpix": "5", "core_mass": "20", "arm_share": "0.3", "amplitude": "20", "snr": "4", "shift_range": "2"}


@pytest.fixture(scope="module")
def tilt_set(tmp_path_factory: pytest.TempPathFactory, make_set) -> Path:
    return make_set(tmp_path_factory.mktemp("tilts"), **CHANGES, snr="4")


@pytest.fixture(scope="module")
def table(tilt_set: Path) -> ParticleTable:
    return read_particles(tilt_set / SET_STAR, project=tilt_set.parents[1])


@pytest.fixture(scope="module")
def made() -> tuple[SimulationOptions, dataset.ImageMaker]:
    options = read_values(parse_values(JOB_TYPE.options, TINY | CHANGES))
    particles, series = dataset.draw_particles(options), dataset.draw_series(options)
    assert series is not None
    maker = dataset.ImageMaker(options, dataset.draw_model(options), particles.in_tilts(series))
    maker.calibrate()
    return options, maker


def test_the_reader_finds_the_images_that_were_drawn(table: ParticleTable, made) -> None:
    _, maker = made
    observed, optics = maker.particles.observed, maker.particles.observed_optics
    each = table.per_image
    assert len(each) == len(maker.particles.half) < 5 * len(table)  # some frames do not show a particle
    assert each.half.tolist() == maker.particles.half.tolist()
    assert euler_matrices(torch.from_numpy(each.angles_degrees)).numpy() == pytest.approx(observed.matrices, abs=1e-6)
    assert each.origins_angstroms == pytest.approx(observed.origins_angstroms, abs=1e-5)
    assert each.ctf_columns["rlnDefocusU"] == pytest.approx(optics.defocus_u_angstroms, abs=1e-4)
    assert each.ctf_columns["rlnDefocusV"] == pytest.approx(optics.defocus_v_angstroms, abs=1e-4)
    assert sorted(set(each.ctf_columns["rlnMicrographPreExposure"])) == [0, 12, 24, 36, 48]


def test_both_work_out_the_same_transfer(table: ParticleTable, made) -> None:
    options, maker = made
    from jobtypes.simulate.optics import ctf as drawn_with

    theirs = drawn_with(maker.particles.observed_optics, slice(0, 40), options.box_size, options.angpix)
    parameters = table.per_image.ctf_parameters(slice(0, 40), dtype=torch.float64)
    ours = ctf(parameters, frequencies_2d(options.box_size, options.angpix, dtype=torch.float64))
    torch.testing.assert_close(ours.float(), theirs.square(), atol=1e-5, rtol=0)  # of premultiplied images


def test_stacks_hold_the_images_multiplied_by_their_transfer_once_more(tilt_set: Path, table: ParticleTable, made) -> None:
    options, maker = made
    from jobtypes.simulate.optics import ctf as drawn_with

    rows = slice(0, 5)
    images = ParticleImages(table, tilt_set.parents[1])
    images.verify()
    stored = rfft2(images.read(np.arange(5)))
    signal, _ = maker.signals(rows)
    expected = signal * drawn_with(maker.particles.observed_optics, rows, options.box_size, options.angpix)
    agreement = (stored.conj() * expected).real.sum((1, 2)) / (
        stored.abs().square().sum((1, 2)) * expected.abs().square().sum((1, 2))
    ).sqrt()
    assert float(agreement.min()) > 0.5


def test_what_is_known_is_of_particles(tilt_set: Path) -> None:
    for name in ("t", "half", "kind", "has_arm", "poses"):
        assert len(np.load(tilt_set / "truth" / f"{name}.npy")) == 56


# What RELION 5.0.1 stops without when it reads particles of tilt series (refinement, and reconstruction of particles).
OF_OPTICS = ("rlnOpticsGroup", "rlnOpticsGroupName", "rlnTomoTiltSeriesPixelSize", "rlnImagePixelSize", "rlnImageSize")
OF_OPTICS += ("rlnImageDimensionality", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
OF_PARTICLES = ("rlnTomoName", "rlnTomoParticleName", "rlnImageName", "rlnTomoVisibleFrames", "rlnOpticsGroup")
OF_TOMOGRAMS = ("rlnTomoTiltSeriesPixelSize", "rlnTomoHand", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
OF_FRAMES = ("rlnMicrographPreExposure", "rlnTomoYTilt", "rlnTomoZRot", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")


@pytest.fixture(params=["set", "subset"])
def optimisation_set(request: pytest.FixtureRequest, tilt_set: Path, table: ParticleTable) -> Path:
    if request.param == "set":
        return tilt_set / SET_STAR
    write_particles(table, tilt_set / "few.star", rows=[50, 3, 55])
    return optimisation_set_beside(tilt_set / "few.star")


def test_a_set_and_its_subsets_have_what_relion_asks_for(tilt_set: Path, optimisation_set: Path) -> None:
    project, (of_set,) = tilt_set.parents[1], read_tables(optimisation_set).values()
    assert not of_set.is_loop
    files = of_set.read(texts=("rlnTomoParticlesFile", "rlnTomoTomogramsFile"))
    tables = read_tables(project / files["rlnTomoParticlesFile"][0])
    assert list(tables) == ["general", "optics", "particles"]
    assert tables["general"].read(numbers=("rlnTomoSubTomosAre2DStacks",))["rlnTomoSubTomosAre2DStacks"] == [1]
    assert set(OF_OPTICS) <= set(tables["optics"].columns)
    assert set(OF_PARTICLES) <= set(tables["particles"].columns)
    tomograms = read_tables(project / files["rlnTomoTomogramsFile"][0])["global"]
    assert set(OF_TOMOGRAMS) <= set(tomograms.columns)
    names = ("rlnTomoName", "rlnTomoTiltSeriesStarFile")
    values = tomograms.read(numbers=("rlnTomoSizeX", "rlnTomoSizeY"), texts=names)
    for place, (name, series) in enumerate(zip(*(values[column] for column in names), strict=True)):
        frames = read_tables(project / series)[name]  # the table of a tilt series has the name of its tomogram
        assert set(OF_FRAMES) <= set(frames.columns)
        (image,) = set(frames.read(texts=("rlnMicrographName",))["rlnMicrographName"])  # is opened, though only for its size
        with mrcfile.open(project / image, header_only=True) as file:
            assert (file.header.nx, file.header.ny) == (values["rlnTomoSizeX"][place], values["rlnTomoSizeY"][place])


def test_a_job_on_an_optimisation_set_is_scored_by_its_particles(tilt_set: Path) -> None:
    project = tilt_set.parents[1]
    job = project / "DynaMight/job009"
    job.mkdir(parents=True)
    (job / "job.star").write_text(f"loop_\n_a\n_b\nfn_star {tilt_set.relative_to(project) / SET_STAR}\n")
    assert find_star(job) == tilt_set / "particles.star"


def test_all_frames_together_have_the_signal_that_was_asked_for(made) -> None:
    options, maker = made
    whole = np.flatnonzero((maker.particles.optics.dose == 0) & maker.particles.plan.is_clean)
    signals = [torch.fft.irfft2(maker.signals(slice(int(row), int(row) + 1))[0]).var() for row in whole[:20]]
    assert float(torch.stack(signals).mean()) * options.nr_tilts == pytest.approx(options.snr, rel=0.15)


@pytest.mark.parametrize("name", ["neighbour_share", "speck_share", "side_view_share"])
def test_faults_of_single_images_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is 0.1, which is made for single images only"):
        read_values(parse_values(JOB_TYPE.options, TINY | {"geometry": "tilt_series", name: "0.1"}))
