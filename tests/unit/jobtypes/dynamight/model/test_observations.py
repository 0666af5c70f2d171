from __future__ import annotations

import pytest
import torch

from jobtypes.dynamight.model.observations import Band, image_mask


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
