"""Axes, hand, shift sign, CTF sign and scale, aberrations: against files that RELION programs make of one small scene.

The scene is a handful of Gaussian blobs without symmetry, written out analytically in the map and in our projections, so that
nothing is interpolated on our side. The same images, recorded from relion_project 3.1.3, are in tests/data/relion_conventions for
machines without it (``python tests/reference/test_relion_conventions.py`` records them anew).
"""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from torch import Tensor

from jobtypes.common.aberrations import beam_tilt_phases
from jobtypes.common.ctf import CtfParameters, ctf, wavelength_angstroms
from jobtypes.common.fourier import frequencies_2d, fsc, irfft2, rfft2, shift_phases
from jobtypes.common.masks import soft_circle
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import ParticleTable, read_particles
from jobtypes.common.rotations import euler_matrices
from jobtypes.common.volumes import read_volume, write_volume

RECORDED = Path(__file__).parents[1] / "data" / "relion_conventions" / "relion_project.npz"
BOX, PIXEL_SIZE, WIDTH = 32, 2.5, 4.0
needs_relion = [pytest.mark.relion, pytest.mark.skipif(shutil.which("relion_project") is None, reason="no RELION on PATH")]

OPTICS = {
    "rlnOpticsGroup": 1,
    "rlnOpticsGroupName": "opticsGroup1",
    "rlnVoltage": 300,
    "rlnSphericalAberration": 2.7,
    "rlnAmplitudeContrast": 0.1,
    "rlnImagePixelSize": PIXEL_SIZE,
    "rlnImageSize": BOX,
    "rlnImageDimensionality": 2,
}
# what relion_project is asked for: its flags, columns of the optics table, columns of the particles (low, high)
VARIANTS: dict[str, tuple[tuple[str, ...], dict[str, object], dict[str, tuple[float, float]]]] = {
    "projection": ((), {}, {}),
    "ctf": (("--ctf",), {}, {}),
    "ctf_squared": (("--ctf", "--ctf2"), {}, {}),
    "phase_shift": (("--ctf",), {}, {"rlnPhaseShift": (20, 120)}),
    "bfactor": (("--ctf",), {}, {"rlnCtfBfactor": (50, 300)}),
    "scale_factor": (("--ctf",), {}, {"rlnCtfScalefactor": (0.5, 1.5)}),
    "even_zernikes": (("--ctf",), {"rlnEvenZernike": "[0.4,40,-30,25,300,-900,500,700,-1000]"}, {}),
}


def blobs() -> tuple[Tensor, Tensor]:
    """Positions (n, 3) A and weights (n,)."""
    rng = np.random.default_rng(3)
    return torch.from_numpy(rng.normal(size=(12, 3)) * [5, 8, 11] + [3, -4, 2]), torch.from_numpy(rng.uniform(0.5, 2, 12))


def blob_map() -> Tensor:
    """The scene as a map (N, N, N)."""
    positions, weights = blobs()
    axis = (torch.arange(BOX, dtype=torch.float64) - BOX // 2) * PIXEL_SIZE
    x, y, z = (torch.exp(-((axis[:, None] - positions[:, i]) ** 2) / (2 * WIDTH**2)) for i in range(3))
    return torch.einsum("zn,yn,xn,n->zyx", z, y, x, weights)


def blob_projections(table: ParticleTable, *, mirrored: bool = False, frequencies: Tensor | None = None) -> Tensor:
    """Spectra (b, N, N // 2 + 1) of the scene's projections, at other frequencies too, from our conventions alone."""
    positions, weights = blobs()
    if mirrored:
        positions = positions * torch.tensor([1, 1, -1])
    seen = (euler_matrices(torch.from_numpy(table.angles_degrees)) @ positions.T).transpose(1, 2)[..., :2]  # (b, n, 2)
    frequencies = frequencies_2d(BOX, PIXEL_SIZE, dtype=torch.float64) if frequencies is None else frequencies
    waves = torch.exp(-2j * math.pi * torch.einsum("bnc,yxc->bnyx", seen, frequencies))
    envelope = (
        (2 * math.pi) ** 1.5 * (WIDTH / PIXEL_SIZE) ** 3 * torch.exp(-2 * (math.pi * WIDTH) ** 2 * frequencies.square().sum(-1))
    )
    shifts = shift_phases(-torch.from_numpy(table.origins_angstroms), frequencies)
    return torch.einsum("n,bnyx->byx", weights.to(waves.dtype), waves) * envelope * shifts


def write_particle_star(path: Path, n: int, optics: dict[str, object], extra: dict[str, tuple[float, float]]) -> Path:
    """Write n particles with random poses and defocus (seeded)."""
    rng = np.random.default_rng(11)
    view = {"rlnAngleRot": rng.uniform(-180, 180, n), "rlnAngleTilt": np.degrees(np.arccos(rng.uniform(-1, 1, n)))}
    columns = {
        **view,
        "rlnAnglePsi": rng.uniform(-180, 180, n),
        **{f"rlnOrigin{axis}Angst": rng.uniform(-8, 8, n) for axis in "XY"},
        **{f"rlnDefocus{axis}": rng.uniform(8000, 20000, n) for axis in "UV"},
        "rlnDefocusAngle": rng.uniform(0, 180, n),
        **{name: rng.uniform(*limits, n) for name, limits in extra.items()},
    }
    optics = {**OPTICS, **optics}
    names = "".join(f"_{name}\n" for name in optics)
    text = f"# version 30001\n\ndata_optics\n\nloop_\n{names}{' '.join(map(str, optics.values()))}\n\n\n# version 30001\n\n"
    names = "".join(f"_{name}\n" for name in ("rlnImageName", "rlnOpticsGroup", "rlnRandomSubset", *columns))
    rows = (f"{i + 1:06d}@p.mrcs 1 {i % 2 + 1} " + " ".join(f"{values[i]:.6f}" for values in columns.values()) for i in range(n))
    path.write_text(f"{text}data_particles\n\nloop_\n{names}" + "\n".join(rows) + "\n")
    return path


def run(*command: str, directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-1000:]


def project_with_relion(variant: str, directory: Path) -> np.ndarray:
    """Run relion_project on the scene: (n, N, N) images."""
    flags, optics, extra = VARIANTS[variant]
    write_volume(directory / "scene.mrc", blob_map(), PIXEL_SIZE)
    write_particle_star(directory / "particles.star", 6, optics, extra)
    command = ("relion_project", "--i", "scene.mrc", "--o", "out", "--ang", "particles.star", "--angpix", str(PIXEL_SIZE))
    run(*command, *flags, directory=directory)
    return np.array(mrcfile.read(directory / "out.mrcs"))


def expected_images(variant: str, directory: Path) -> Tensor:
    """What our conventions say that relion_project makes: (n, N, N)."""
    flags, optics, extra = VARIANTS[variant]
    table = read_particles(write_particle_star(directory / "ours.star", 6, optics, extra))
    spectra = blob_projections(table)
    if "--ctf" in flags:
        spectra = spectra * table_ctf(table, premultiplied="--ctf2" in flags)
    return irfft2(spectra, BOX)


def table_ctf(table: ParticleTable, *, premultiplied: bool = False) -> Tensor:
    parameters: CtfParameters = table.ctf_parameters(dtype=torch.float64)
    if premultiplied:
        parameters = replace(parameters, premultiplied=torch.ones(len(table), dtype=torch.bool))
    return ctf(parameters, frequencies_2d(BOX, PIXEL_SIZE, dtype=torch.float64))


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1])


def assert_same_images(relion: np.ndarray, ours: Tensor) -> None:
    theirs = torch.from_numpy(relion).double()
    for a, b in zip(theirs, ours, strict=True):
        assert correlation(a, b) > 0.999
    assert float((theirs * ours).sum() / ours.square().sum()) == pytest.approx(1, abs=0.01)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_are_those_recorded_from_relion(variant: str, tmp_path: Path) -> None:
    with np.load(RECORDED) as recorded:
        assert_same_images(recorded[variant], expected_images(variant, tmp_path))


@pytest.mark.parametrize("variant", [pytest.param(variant, marks=needs_relion) for variant in VARIANTS])
def test_images_are_those_of_relion_project(variant: str, tmp_path: Path) -> None:
    assert_same_images(project_with_relion(variant, tmp_path), expected_images(variant, tmp_path))


@pytest.mark.parametrize("wrong", ["hand", "shift", "transposed", "sign", "astigmatism"])
def test_a_wrong_convention_would_be_seen(wrong: str, tmp_path: Path) -> None:
    with np.load(RECORDED) as recorded:
        theirs = torch.from_numpy(recorded["ctf"]).double()
    table = read_particles(write_particle_star(tmp_path / "ours.star", 6, {}, {}))
    if wrong == "shift":
        table = replace(table, origins_angstroms=-table.origins_angstroms)
    if wrong == "astigmatism":
        table = replace(table, ctf_columns={**table.ctf_columns, "rlnDefocusAngle": -table.ctf_columns["rlnDefocusAngle"]})
    ours = irfft2(blob_projections(table, mirrored=wrong == "hand") * table_ctf(table), BOX)
    ours = {"transposed": ours.transpose(1, 2), "sign": -ours}.get(wrong, ours)
    assert correlation(theirs, ours) < 0.98


ODD = {
    "none": {},
    "beam_tilt": {"rlnBeamTiltX": 12.0, "rlnBeamTiltY": -8.0},
    "odd_zernikes": {"rlnOddZernike": "[8,-6,500,300,-200,-400]"},
}


def write_images(directory: Path, images: Tensor) -> None:
    """Write the stack of a particle STAR file (n, N, N)."""
    with mrcfile.new(directory / "p.mrcs", overwrite=True) as file:
        file.set_data(images.float().numpy())
        file.set_image_stack()
        file.voxel_size = PIXEL_SIZE


def reconstruct(images: Tensor, star: Path) -> Tensor:
    """Run relion_reconstruct --ctf on images (n, N, N): the map (N, N, N)."""
    write_images(star.parent, images)
    run("relion_reconstruct", "--i", star.name, "--o", "map.mrc", "--ctf", directory=star.parent)
    volume = read_volume(star.parent / "map.mrc")
    assert volume.pixel_size_angstroms == pytest.approx(PIXEL_SIZE)
    return volume.data.double()


def aberrated(spectra: Tensor, table: ParticleTable, directory: Path) -> Tensor:
    """Images that ParticleImages would bring back to `spectra`: the inverse of what it does to a delta."""
    delta = torch.zeros(1, BOX, BOX)
    delta[0, BOX // 2, BOX // 2] = 1
    with mrcfile.new(directory / "p.mrcs", overwrite=True) as file:
        file.set_data(delta.expand(len(table), -1, -1).numpy())
        file.set_image_stack()
    taken_out = rfft2(ParticleImages(table, directory).read([0]).double())[0]  # (N, N // 2 + 1), conjugate of the aberration
    return irfft2(spectra * taken_out.conj(), BOX)


@pytest.mark.parametrize("odd", [pytest.param(odd, marks=needs_relion) for odd in ODD])
def test_relion_reconstruct_makes_the_map_from_our_images(odd: str, tmp_path: Path) -> None:
    table = read_particles(write_particle_star(tmp_path / "particles.star", 300, ODD[odd], {}))
    images = aberrated(blob_projections(table) * table_ctf(table), table, tmp_path)
    truth = blob_map()
    made = reconstruct(images, tmp_path / "particles.star")
    assert correlation(made, truth) > 0.998
    assert fsc(made, truth)[: BOX // 3].min() > 0.99
    assert float((made * truth).sum() / truth.square().sum()) == pytest.approx(1, abs=0.05)
    if odd != "none":  # and RELION needs the columns to do so: the aberrations are not too small to see
        plain = write_particle_star(tmp_path / "particles.star", 300, {}, {})
        assert fsc(reconstruct(images, plain), truth)[: BOX // 3].min() < 0.95


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_reconstruct") is None, reason="no RELION on PATH")
def test_relion_takes_premultiplied_images_as_we_do(tmp_path: Path) -> None:
    table = read_particles(write_particle_star(tmp_path / "particles.star", 300, {"rlnCtfDataAreCtfPremultiplied": 1}, {}))
    frequencies = frequencies_2d(BOX, PIXEL_SIZE, dtype=torch.float64)
    images = irfft2(blob_projections(table) * ctf(table.ctf_parameters(dtype=torch.float64), frequencies), BOX)
    made = reconstruct(images, tmp_path / "particles.star")
    assert correlation(made, blob_map()) > 0.998
    assert float((made * blob_map()).sum() / blob_map().square().sum()) == pytest.approx(1, abs=0.05)


MAGNIFICATION = torch.tensor([[1.06, 0.07], [-0.05, 0.95]], dtype=torch.float64)
MAGNIFIED = {f"rlnMagMat{i}{j}": float(MAGNIFICATION[i, j]) for i in (0, 1) for j in (0, 1)}


def magnified_images(table: ParticleTable) -> Tensor:
    """Images whose spectra at k are those of the scene at M k: projection, CTF and odd aberrations; origins are of the image."""
    magnified = frequencies_2d(BOX, PIXEL_SIZE, dtype=torch.float64) @ MAGNIFICATION.T
    spectra = blob_projections(table, frequencies=magnified) * ctf(table.ctf_parameters(dtype=torch.float64), magnified)
    optics = table.optics
    phases = beam_tilt_phases(
        torch.from_numpy(optics.beam_tilt_milliradians),
        wavelength_angstroms=wavelength_angstroms(torch.from_numpy(optics.voltage_kilovolts)),
        spherical_aberration_millimetres=torch.from_numpy(optics.spherical_aberration_millimetres),
        frequencies=magnified,
    )
    return irfft2(spectra * torch.polar(torch.ones_like(phases), phases), BOX)


@pytest.mark.parametrize("odd", ["none", "beam_tilt"])
def test_a_magnification_is_taken_out_of_images(odd: str, tmp_path: Path) -> None:
    table = read_particles(write_particle_star(tmp_path / "particles.star", 6, {**ODD[odd], **MAGNIFIED}, {}))
    write_images(tmp_path, magnified_images(table))
    found = ParticleImages(table, tmp_path).read(range(6)).double()
    inside = soft_circle(BOX, BOX / 4, BOX / 8)  # the scene is periodic, and at the border of the box it is another
    expected = irfft2(blob_projections(table) * table_ctf(table), BOX)
    assert float(((found - expected) * inside).norm() / (expected * inside).norm()) < 0.02
    assert float(((magnified_images(table) - expected) * inside).norm() / (expected * inside).norm()) > 0.1
    origins = np.loadtxt([line for line in (tmp_path / "particles.star").read_text().splitlines() if "@" in line], usecols=(6, 7))
    np.testing.assert_allclose(table.origins_angstroms @ MAGNIFICATION.numpy(), origins)


@pytest.mark.parametrize("odd", [pytest.param(odd, marks=needs_relion) for odd in ("none", "beam_tilt")])
def test_relion_reconstruct_takes_a_magnification_as_we_do(odd: str, tmp_path: Path) -> None:
    optics = {**ODD[odd], **MAGNIFIED}
    table = read_particles(write_particle_star(tmp_path / "particles.star", 300, optics, {}))
    images = magnified_images(table)
    made, truth = reconstruct(images, tmp_path / "particles.star"), blob_map()
    assert fsc(made, truth)[: BOX // 3].min() > 0.99
    transposed = optics | {"rlnMagMat01": MAGNIFIED["rlnMagMat10"], "rlnMagMat10": MAGNIFIED["rlnMagMat01"]}
    for other in (ODD[odd], transposed):  # the sense of the matrix can be seen
        plain = write_particle_star(tmp_path / "particles.star", 300, other, {})
        assert fsc(reconstruct(images, plain), truth)[: BOX // 3].min() < 0.97


@pytest.mark.relion
@pytest.mark.skipif(shutil.which("relion_refine") is None, reason="no RELION on PATH")
def test_norm_corrections_have_the_sense_of_relion_refine(tmp_path: Path) -> None:
    star = write_particle_star(tmp_path / "particles.star", 300, {}, {})
    table = read_particles(star)
    rng = np.random.default_rng(4)
    scales = torch.from_numpy(np.exp(rng.uniform(-1, 1, 300)))
    images = irfft2(blob_projections(table) * table_ctf(table), BOX)
    images = scales[:, None, None] * (images / images.std() + 8 * torch.from_numpy(rng.normal(size=images.shape)))
    write_images(tmp_path, images)
    write_volume(tmp_path / "scene.mrc", blob_map(), PIXEL_SIZE)
    flags = "--ctf --norm --skip_align --iter 12 --K 1 --particle_diameter 70 --pad 1 --j 1"
    run("relion_refine", "--i", star.name, "--o", "./run", "--ref", "scene.mrc", *flags.split(), directory=tmp_path)
    refined = ParticleImages(read_particles(tmp_path / "run_it012_data.star", project=tmp_path), tmp_path)
    said = torch.from_numpy(refined.table.norm_correction).log()
    assert correlation(said, scales.log()) > 0.97  # bright images have a large one
    brought = refined.read(range(300)).std((1, 2)).log()  # and are made darker by it
    assert float(brought.std()) < 0.2 * float(images.std((1, 2)).log().std())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        made = {variant: project_with_relion(variant, Path(scratch)).astype(np.float16) for variant in VARIANTS}
    np.savez_compressed(RECORDED, **made)
    sys.exit(0)
