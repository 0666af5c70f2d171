from __future__ import annotations

import pytest
import torch

from jobtypes.common.fourier import frequencies_3d, rfft3
from jobtypes.dynamight.forward_deformations.seeding import NOISE_DEVIATIONS, SEED_RESOLUTION_ANGSTROMS, SMEARED_SHARE, make_seed
from relion_jobs.contract.errors import UserError

BOX, PIXEL = 32, 3.0


def ball(radius_angstroms: float) -> torch.Tensor:
    axis = (torch.arange(BOX) - BOX // 2) * PIXEL
    distance = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    return (distance <= radius_angstroms).float()


def test_the_threshold_that_is_found_encloses_the_molecule():
    seed = make_seed(ball(25.0), PIXEL, threshold=None, radius_angstroms=45.0)
    assert seed.volume_angstroms3 == pytest.approx(4 / 3 * torch.pi * 25**3, rel=0.15)


def test_nothing_finer_than_the_seed_resolution_is_left_of_the_map():
    noise = torch.randn(BOX, BOX, BOX, generator=torch.Generator().manual_seed(0)).abs()
    spectrum = rfft3(make_seed(noise, PIXEL, threshold=0.3, radius_angstroms=1000.0).density).abs()
    frequency = frequencies_3d(BOX, PIXEL).norm(dim=-1)
    before = rfft3(noise).abs()
    coarse = (frequency > 0) & (frequency < 0.2 / SEED_RESOLUTION_ANGSTROMS)
    fine = frequency > 1 / SEED_RESOLUTION_ANGSTROMS
    assert float((spectrum / before)[coarse].min()) > 0.9
    assert float((spectrum / before)[fine].max()) < 1e-3


def test_density_outside_the_particle_seeds_nothing():
    volume = ball(15.0)
    volume[2:4, 2:4, 2:4] = 50.0
    assert float(make_seed(volume, PIXEL, threshold=None, radius_angstroms=30.0).density[:6, :6, :6].abs().max()) == 0


def test_gaussians_are_placed_where_a_part_is_smeared_below_the_surface_unless_that_is_noise_or_a_threshold_was_given():
    smeared = ball(25.0) + 0.2 * ball(25.0).roll(12, dims=0)
    noise = torch.randn(smeared.shape, generator=torch.Generator().manual_seed(0))
    quiet = make_seed(smeared + 0.001 * noise, PIXEL, threshold=None, radius_angstroms=1000.0)
    dim = 0.2 * float(quiet.density.max())
    assert quiet.lowest == pytest.approx(SMEARED_SHARE * quiet.threshold)
    assert quiet.lowest < dim < quiet.threshold
    noisy = make_seed(smeared + 0.5 * noise, PIXEL, threshold=None, radius_angstroms=1000.0)
    outside = noisy.density[:, :6].std()
    assert noisy.lowest > SMEARED_SHARE * noisy.threshold
    assert noisy.lowest == pytest.approx(min(noisy.threshold, NOISE_DEVIATIONS * float(outside)), rel=0.5)
    assert make_seed(smeared, PIXEL, threshold=0.5, radius_angstroms=1000.0).lowest == 0.5


def test_a_threshold_above_every_voxel_is_refused_with_the_highest_value():
    highest = float(make_seed(ball(25.0), PIXEL, threshold=0.5, radius_angstroms=45.0).density.max())
    with pytest.raises(UserError, match=rf"lies above every voxel .* highest value is {highest:.4g}"):
        make_seed(ball(25.0), PIXEL, threshold=3.0, radius_angstroms=45.0)


def test_a_map_with_inverted_contrast_is_refused():
    with pytest.raises(UserError, match="protein must be positive"):
        make_seed(-ball(25.0) - 1, PIXEL, threshold=None, radius_angstroms=45.0)
    with pytest.raises(UserError, match="contrast of the consensus map is inverted"):  # ripples of the filter are positive
        make_seed(-ball(25.0), PIXEL, threshold=None, radius_angstroms=45.0)
