from __future__ import annotations

import math
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from jobtypes.common.fourier import frequencies_2d, irfft2, rfft2
from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import read_particles
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.model.observations import Band, Observations, ObservedBatch, ScratchFile, image_mask
from relion_jobs.contract.errors import UserError


@pytest.mark.parametrize("box", [32, 33])
def test_the_weights_of_a_band_count_every_independent_term_once(box: int):
    band = Band(box, 2.0, 6.0)
    harmonics = [tuple(pair) for pair in band.harmonics.tolist()]
    seen: dict[tuple[int, int], float] = {}
    for (kx, ky), weight in zip(harmonics, band.weights.tolist(), strict=True):
        mate = max((kx, ky), (-kx, -ky))
        seen[mate] = seen.get(mate, 0.0) + weight
    assert set(seen.values()) == {1.0}


def test_a_coarser_resolution_is_a_prefix_of_the_band():
    band, coarse = Band(32, 2.0, 6.0), Band(32, 2.0, 12.0)
    assert torch.equal(band.harmonics[: band.n_terms(12.0)], coarse.harmonics)
    assert band.resolution(band.n_terms(12.0)) >= 12.0


def test_a_band_keeps_off_the_nyquist_frequency_and_off_zero():
    band = Band(32, 2.0, 1.0)
    assert int(band.harmonics.abs().max()) == 15
    assert float(band.radius.min()) > 0


def test_a_mask_without_diameter_is_as_large_as_the_box_allows():
    mask, diameter = image_mask(64, 2.0, None, 10.0)
    assert diameter == 64 * 2.0 - 2 * 10.0
    assert float(mask[32, 32]) == 1.0
    assert float(mask[0, 0]) == 0.0


def test_a_mask_never_leaves_the_box():
    assert image_mask(64, 2.0, 500.0, 10.0)[1] == 108.0
    assert image_mask(64, 2.0, 60.0, 10.0)[1] == 60.0
    assert image_mask(64, 2.0, 500.0, 10.0, within_angstroms=100.0)[1] == 80.0  # images of a smaller box were brought to this one


BOX, PIXEL, DEFOCI = 25, 4.0, (15000.0, 24000.0)
HALF = 2.0**-11  # relative error of a number in half precision
STAR = f"""
data_optics

loop_
_rlnOpticsGroup
_rlnVoltage
_rlnSphericalAberration
_rlnAmplitudeContrast
_rlnImagePixelSize
_rlnImageSize
_rlnImageDimensionality
_rlnCtfDataAreCtfPremultiplied
1 300 2.7 0.1 {PIXEL} {BOX} 2 0
2 200 2.0 0.07 {PIXEL} {BOX} 2 1

data_particles

loop_
_rlnImageName
_rlnOpticsGroup
_rlnRandomSubset
_rlnAngleRot
_rlnAngleTilt
_rlnAnglePsi
_rlnOriginXAngst
_rlnOriginYAngst
_rlnDefocusU
_rlnDefocusV
_rlnDefocusAngle
000001@stack.mrcs 1 1 10 20 30 6.5 -2 {DEFOCI[0]} {DEFOCI[0]} 0
000002@stack.mrcs 2 2 10 20 30 6.5 -2 {DEFOCI[1]} {DEFOCI[1]} 0
"""


def transfer(voltage: float, cs: float, contrast: float, defocus: float) -> torch.Tensor:
    """(N, N // 2 + 1) CTF of underfocus, written out in float64."""
    k = frequencies_2d(BOX, PIXEL, dtype=torch.float64).norm(dim=-1)
    volts = voltage * 1e3
    wavelength = 12.2643247 / (volts * (1 + 0.978466e-6 * volts)) ** 0.5
    phase = math.pi * wavelength * defocus * k**2 - 0.5 * math.pi * cs * 1e7 * wavelength**3 * k**4
    return torch.sin(phase + math.asin(contrast))


@pytest.fixture
def factors() -> torch.Tensor:
    """CTFs (2, N, N // 2 + 1) of the two particles of STAR."""
    return torch.stack((transfer(300, 2.7, 0.1, DEFOCI[0]), transfer(200, 2.0, 0.07, DEFOCI[1])))


def observe(folder: Path, spectra: torch.Tensor, *, scratch: Path | None = None) -> ObservedBatch:
    """Both particles as the training sees them, from stored images with these spectra (2, N, N // 2 + 1)."""
    with mrcfile.new(folder / "stack.mrcs", overwrite=True) as file:
        file.set_data(irfft2(spectra, BOX).float().numpy())
    (folder / "particles.star").write_text(STAR)
    table = read_particles(folder / "particles.star")
    band, mask = Band(BOX, PIXEL, 9.0), torch.ones(BOX, BOX)
    observations = Observations(table, np.arange(2), band, mask, device=torch.device("cpu"), scratch=scratch)
    observations.read(ParticleImages(table, folder), lambda count: None)
    return observations.batch(torch.arange(2))


def test_an_image_is_its_factor_times_the_projection_premultiplied_or_not(tmp_path, factors):
    projection = rfft2(torch.randn(2, BOX, BOX, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    stored = torch.stack((factors[0] * projection[0], factors[1] ** 2 * projection[1]))
    batch = observe(tmp_path, stored)
    index = Band(BOX, PIXEL, 9.0).index
    assert torch.allclose(batch.spectra, (batch.ctf * projection.flatten(1)[:, index]).to(torch.complex64), atol=2e-4, rtol=HALF)
    assert torch.allclose(batch.ctf[0], factors[0].flatten()[index].float(), atol=1e-4)
    # of premultiplied data the modulus is left, where it was large enough to divide by
    modulus = factors[1].flatten()[index].abs().float()
    expected = torch.where(modulus > Observations.SMALLEST_CTF, modulus, modulus**2 / Observations.SMALLEST_CTF)
    assert torch.allclose(batch.ctf[1], expected, atol=1e-4)


def test_the_noise_of_premultiplied_data_is_as_white_as_it_was(tmp_path, factors):
    noise = rfft2(torch.randn(2, BOX, BOX, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    batch = observe(tmp_path, torch.stack((noise[0], factors[1] * noise[1])))
    index = Band(BOX, PIXEL, 9.0).index
    modulus = factors[1].flatten()[index].abs()
    found, expected = batch.spectra.abs().double(), noise.flatten(1)[:, index].abs()
    assert torch.allclose(found[0], expected[0], atol=1e-3, rtol=HALF)
    large = modulus > Observations.SMALLEST_CTF
    assert torch.allclose(found[1][large], expected[1][large], atol=1e-3, rtol=HALF)
    assert bool((found[1][~large] <= (1 + HALF) * expected[1][~large] + 1e-3).all())


def test_poses_and_optics_groups_are_those_of_the_star_file(tmp_path, factors):
    batch = observe(tmp_path, factors.to(torch.complex128))
    assert batch.shifts.tolist() == [[-6.5, 2.0]] * 2
    assert torch.allclose(batch.matrices[0], euler_matrices(torch.tensor([10.0, 20.0, 30.0])), atol=1e-6)
    assert batch.group.tolist() == [0, 1]


def test_spectra_in_a_scratch_file_are_those_in_memory(tmp_path, factors):
    spectra = factors.to(torch.complex128)
    kept = observe(tmp_path, spectra)
    scratch = observe(tmp_path, spectra, scratch=tmp_path / "spectra.tmp")
    assert torch.equal(scratch.spectra, kept.spectra)


def test_terms_are_as_exact_as_half_precision_whatever_the_grey_scale(tmp_path, factors):
    spectra = factors.to(torch.complex128)
    usual = observe(tmp_path, spectra).spectra
    for factor in (1e-6, 1e6):
        found = observe(tmp_path, factor * spectra).spectra / factor
        assert torch.allclose(found, usual, rtol=2 * HALF, atol=1e-4)


def test_a_scratch_file_keeps_what_was_written_when_its_memory_is_given_back(tmp_path):
    scratch = ScratchFile(tmp_path / "numbers.tmp", (1000, 300, 2))
    expected = torch.randn(1000, 300, 2, generator=torch.Generator().manual_seed(0)).half()
    scratch.numbers.copy_(expected)
    for _ in range(2 * ScratchFile.MOST_USES):
        scratch.forget()
    assert torch.equal(scratch.numbers, expected)


def test_a_scratch_file_that_the_disk_has_no_room_for_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"numbers\.tmp of 2000000.0 GB cannot be made: .*; make room"):
        ScratchFile(tmp_path / "numbers.tmp", (10**9, 10**6))
    assert not (tmp_path / "numbers.tmp").exists()
