"""What follows a training that went on with another STAR file of its particles: every later task takes those, and no others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common.ctf import ctf
from jobtypes.common.fourier import frequencies_2d, frequencies_3d, irfft2, irfft3, rfft3, shift_phases
from jobtypes.common.particles import read_particles
from jobtypes.common.rotations import euler_matrices
from jobtypes.common.star_tables import read_tables
from jobtypes.dynamight.backprojection import task as backprojection
from jobtypes.dynamight.forward_deformations import task as forward_deformations
from jobtypes.dynamight.inverse_deformations import task as inverse_deformations
from jobtypes.dynamight.job import JOB_TYPE
from jobtypes.dynamight.model.result import ForwardResult, load_centred_result
from jobtypes.dynamight.visualization import animation, drawn_movie, figures, subset
from jobtypes.dynamight.visualization import task as visualization
from relion_jobs.contract.errors import UserError
from relion_jobs.contract.labels import Status
from relion_jobs.contract.options import defaults, parse_values
from relion_jobs.ondisk.project import create, edit_pipeline
from relion_jobs.pipeline.graph import Process

JOB = "DynaMight/job001/"
PARTICLES, SIGMA, NOISE = 200, 5.0, 0.3
OPTICS = "rlnOpticsGroup rlnVoltage rlnSphericalAberration rlnAmplitudeContrast rlnImagePixelSize rlnImageSize"
COLUMNS = (
    "rlnImageName rlnMicrographName rlnCoordinateX rlnCoordinateY rlnAngleRot rlnAngleTilt rlnAnglePsi rlnOriginXAngst "
    "rlnOriginYAngst rlnDefocusU rlnDefocusV rlnDefocusAngle rlnRandomSubset rlnOpticsGroup"
)
FLAGS = (
    "--n-training-epochs 10 --training-batch-size 8 --soft-edge-width 10 --n-basis-fields 4 --n-latent-dimensions 2 --headless"
)
FLAGS += " --n-motions 1 --n-frames 2 --n-clusters 2 --max-bins 6 --reconstruction-iterations 5"


def balls(swing: float) -> Tensor:
    """Centres (5, 3) A: four balls that keep their places and one that swings by an angle in radians."""
    angle = torch.tensor(swing)
    moving = torch.stack((16 * angle.cos(), 16 * angle.sin(), torch.tensor(8.0)))
    return torch.cat((torch.tensor([[-12.0, 0, 0], [0, 0, -12], [0, 10, 8], [-6, -12, 4]]), moving[None]))


@dataclass(frozen=True)
class Drawn:
    """What is true of the particles in whatever images: orientations (p, 3) degrees, swing (p,) radians, half (p,)."""

    angles: NDArray[np.float64]
    swing: NDArray[np.float64]
    half: NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """Images of the particles: STAR file and stack are ``FOLDER/particles``, the map is ``FOLDER/map.mrc``.

    `order` (p,) is the particle in each row, `origin` A the place of all particles in them, `optics` voltage and amplitude
    contrast of each group.
    """

    folder: str
    box: int
    pixel_size_angstroms: float
    order: NDArray[np.int64]
    origin: tuple[float, float]
    optics: tuple[tuple[float, float], ...]

    @property
    def star(self) -> str:
        return f"{self.folder}/particles.star"

    @property
    def map(self) -> str:
        return f"{self.folder}/map.mrc"


SHUFFLED = np.random.default_rng(9).permutation(PARTICLES)
BINNED = Images("Extract", 24, 4.0, np.arange(PARTICLES), (0.0, 0.0), ((300.0, 0.1),))
OTHERS = {
    "unbinned": Images("Unbinned", 36, 3.0, SHUFFLED, (0.0, 0.0), ((200.0, 0.15), (300.0, 0.07))),
    "moved": Images("Moved", 24, 4.0, SHUFFLED, (9.0, -7.0), ((200.0, 0.15), (300.0, 0.07))),
}


def density(images: Images, swing: float = 0.0) -> NDArray[np.float32]:
    """Map (N, N, N) of a state."""
    axis = (torch.arange(images.box) - images.box // 2) * images.pixel_size_angstroms
    profiles = torch.exp(-((axis[:, None, None] - balls(swing)) ** 2) / (2 * SIGMA**2))  # (N, balls, 3)
    return np.asarray(torch.einsum("xa,ya,za->zyx", *profiles.unbind(2)) * images.pixel_size_angstroms**3 / 60)


def write_images(images: Images, drawn: Drawn) -> None:
    """Write STAR file, stack and map: analytic projections with the images' own CTF and origins, and white noise."""
    rng = np.random.default_rng(images.box)
    Path(images.folder).mkdir()
    lines = ["data_optics", "", "loop_", *(f"_{name}" for name in OPTICS.split())]
    for group, (voltage, contrast) in enumerate(images.optics, 1):
        lines.append(f"{group} {voltage} 2.7 {contrast} {images.pixel_size_angstroms} {images.box}")
    lines += ["", "data_particles", "", "loop_", *(f"_{name}" for name in COLUMNS.split())]
    for row, particle in enumerate(images.order):
        angles = " ".join(f"{angle:.6f}" for angle in drawn.angles[particle])
        place = f"mic{particle % 7}.mrc {100 + 3 * particle}.25 {4000 - particle}"
        defocus = f"{9000 + 40 * particle} {8800 + 40 * particle} {particle}"
        lines.append(
            f"{row + 1:06d}@{images.folder}/particles.mrcs {place} {angles} {images.origin[0]} {images.origin[1]} {defocus} "
            f"{drawn.half[particle]} {row % len(images.optics) + 1}"
        )
    Path(images.star).write_text("\n".join([*lines, ""]))
    table = read_particles(images.star)
    frequencies = frequencies_2d(images.box, images.pixel_size_angstroms)
    atoms = torch.stack([balls(float(drawn.swing[particle])) for particle in images.order])
    xy = torch.einsum("bij,bnj->bni", euler_matrices(torch.from_numpy(table.angles_degrees)).float(), atoms)[..., :2]
    spectra = torch.exp(-2j * torch.pi * torch.einsum("bnd,yxd->bnyx", xy, frequencies)).sum(1)
    spectra = spectra * torch.exp(-2 * torch.pi**2 * SIGMA**2 * frequencies.square().sum(-1))
    spectra = spectra * ctf(table.ctf_parameters(), frequencies)
    pixels = irfft2(spectra * shift_phases(-torch.from_numpy(table.origins_angstroms).float(), frequencies), images.box).numpy()
    pixels = pixels / pixels.std() + NOISE * rng.standard_normal(pixels.shape)
    mrcfile.write(f"{images.folder}/particles.mrcs", pixels.astype(np.float32), voxel_size=images.pixel_size_angstroms)
    mrcfile.write(images.map, density(images).astype(np.float32), voxel_size=images.pixel_size_angstroms)


@pytest.fixture
def drawn() -> Drawn:
    rng = np.random.default_rng(4)
    angles = rng.uniform(-180, 180, (PARTICLES, 3))
    angles[:, 1] = np.degrees(np.arccos(rng.uniform(-1, 1, PARTICLES)))
    return Drawn(angles, rng.uniform(-0.7, 0.7, PARTICLES), rng.permutation(np.arange(PARTICLES) % 2 + 1))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording_job: Any, drawn: Drawn) -> Callable[..., Any]:
    """Run a task in a project with the first images: run(task, images, **options)."""
    monkeypatch.setattr(drawn_movie, "ANIMATION_PIXELS", 100)
    monkeypatch.setattr(drawn_movie, "LEAST_PICTURES", 2)
    monkeypatch.setattr(animation, "find_spec", lambda name: None)  # no MP4
    monkeypatch.setattr(figures, "_PIXELS", 60)
    monkeypatch.setattr(inverse_deformations, "_PAIRS_PER_EPOCH", 4096)
    create(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    write_images(BINNED, drawn)
    with edit_pipeline(Path.cwd(), "test") as edit:
        edit.pipeline = replace(edit.pipeline, processes=(Process(JOB, None, "dynamight", Status.SUCCEEDED),))

    def run(task: Any, images: Images, **options: str) -> Any:
        name = task.__name__.split(".")[-2]
        texts = defaults(JOB_TYPE.options) | {"fn_star": images.star, "fn_map": images.map, "nr_gaussians": "80"} | options
        texts["other_args"] = f"{FLAGS} {options.get('other_args', '')}"
        job = recording_job(Path.cwd(), JOB, is_continue=(Path(JOB) / "forward_deformations").exists())
        task.run(parse_values(JOB_TYPE.options, texts, task=name), job)
        return job

    return run


def agreement(images: Images) -> float:
    """Correlation to 9 A of the deformed map with the state of the molecule that it agrees with best."""
    frequency = frequencies_3d(images.box, images.pixel_size_angstroms).norm(dim=-1)

    def band(volume: NDArray[np.float32]) -> NDArray[np.float32]:
        return irfft3(rfft3(torch.from_numpy(volume)) * (frequency < 1 / 9), images.box).numpy().ravel()

    found = band(mrcfile.read(f"{JOB}backprojection/map_half1.mrc") + mrcfile.read(f"{JOB}backprojection/map_half2.mrc"))
    states = [density(images, swing) for swing in np.linspace(-0.7, 0.7, 15)]
    return float(max(np.corrcoef(found, band(state))[0, 1] for state in states))


def found_swing(forward: ForwardResult, images: Images) -> NDArray[np.float64]:
    """Displacement (p, 3) A of the ball that swings in every particle, by the model of its half."""
    found = np.full((PARTICLES, 3), np.nan)
    for part in forward.halves.values():
        nearest = (part.model.gaussians.positions - balls(0.0)[4]).norm(dim=1).argsort()[:5]
        found[images.order[part.rows]] = part.model.displacement(part.latent_mean)[:, nearest].mean(1).numpy()
    return found


def correlation_with_truth(found: NDArray[np.float64], swing: NDArray[np.float64]) -> float:
    """Of the displacement (n, 3) along its main direction."""
    centred = found - found.mean(0)
    main = np.linalg.svd(centred, full_matrices=False)[2][0]
    return float(abs(np.corrcoef(centred @ main, swing)[0, 1]))


def halves_in(name: str, images: Images) -> dict[int, int]:
    """rlnRandomSubset of each particle that a file of the job holds, by the particle's number."""
    source = read_tables(f"{JOB}{name}")["particles"]
    columns = source.read(numbers=("rlnRandomSubset",), texts=("rlnImageName",))
    assert {str(text).partition("@")[2] for text in columns["rlnImageName"]} == {f"{images.folder}/particles.mrcs"}
    rows = [int(str(text).partition("@")[0]) - 1 for text in columns["rlnImageName"]]
    return dict(zip(images.order[rows].tolist(), columns["rlnRandomSubset"].astype(int).tolist(), strict=True))


@pytest.mark.parametrize("name", OTHERS)
def test_every_later_task_takes_the_particles_that_the_training_went_on_with(run, drawn, name: str) -> None:
    run(forward_deformations, BINNED)
    run(backprojection, BINNED)
    first, before = agreement(BINNED), load_centred_result(Path(JOB))
    images = OTHERS[name]
    write_images(images, drawn)
    run(forward_deformations, images)
    shutil.rmtree(BINNED.folder)  # nothing may need them any more

    forward, table = load_centred_result(Path(JOB)), read_particles(images.star)
    assert (forward.box, forward.pixel_size_angstroms) == (images.box, images.pixel_size_angstroms)
    assert forward.star_file == images.star
    for half, part in forward.halves.items():
        assert np.array_equal(part.rows, np.flatnonzero(table.half == half))
        held_out = before.halves[half].rows[before.halves[half].held_out]
        assert np.array_equal(np.sort(images.order[part.rows[part.held_out]]), held_out)
        given = euler_matrices(torch.from_numpy(table.angles_degrees[part.rows])).float()
        assert float((part.angles_matrices - given).abs().max()) < 0.15
        assert float((part.shifts_angstroms + torch.tensor(images.origin)).abs().max()) < 3
        mine = drawn.half == half
        learned = correlation_with_truth(found_swing(before, BINNED)[mine], drawn.swing[mine])
        assert correlation_with_truth(found_swing(forward, images)[mine], drawn.swing[mine]) > max(learned - 0.05, 0.8)

    job = run(backprojection, images)
    assert agreement(images) > max(first - 0.02, 0.9), job.reports
    run(inverse_deformations, images, nr_epochs="2")
    run(backprojection, images, other_args="--backprojection-field inverse")
    assert agreement(images) > max(first - 0.02, 0.9)
    for half in "01":
        run(visualization, images, halfset=half)
    assert mrcfile.read(f"{JOB}maps/map001_half1.mrc").shape == 3 * (images.box,)
    assert subset.main([JOB, "--displacement", "0", "max"]) == 0
    for file in ("forward_deformations/particles.star", "visualization/particles_half1.star", "subsets/subset_001.star"):
        found = halves_in(file, images)
        assert found == {particle: drawn.half[particle] for particle in found}


def test_half_sets_that_the_other_file_has_drawn_anew_do_not_count(run, drawn) -> None:
    run(forward_deformations, BINNED, other_args="--n-training-epochs 2")
    images = OTHERS["moved"]
    write_images(images, replace(drawn, half=3 - drawn.half))
    job = run(forward_deformations, images, other_args="--n-training-epochs 2")
    said = " ".join(job.reports)
    assert f"{PARTICLES} particles are in the other half set there (_rlnRandomSubset)" in said
    assert "half sets of 100 and 100, those of the earlier training" in said
    run(visualization, images, halfset="0")
    run(visualization, images, halfset="2")
    assert subset.main([JOB, "--displacement", "0", "max"]) == 0
    names = ("forward_deformations/particles.star", "visualization/particles_half0.star", "visualization/particles_half2.star")
    for file in (*names, "subsets/subset_001.star"):
        found = halves_in(file, images)
        assert found == {particle: drawn.half[particle] for particle in found}, file


@pytest.mark.parametrize(("task", "options"), [(backprojection, {}), (visualization, {"halfset": "1"})])
def test_a_file_that_changed_since_is_not_mixed_with_what_was_learned(run, drawn, task: Any, options: dict[str, str]) -> None:
    run(forward_deformations, BINNED, other_args="--n-training-epochs 1")
    shutil.rmtree(BINNED.folder)
    write_images(replace(BINNED, order=SHUFFLED), drawn)
    with pytest.raises(UserError, match=r"particles\.star does not hold what the checkpoint .* put the STAR file back"):
        run(task, BINNED, **options)
    assert not (Path(JOB) / "maps").exists()
