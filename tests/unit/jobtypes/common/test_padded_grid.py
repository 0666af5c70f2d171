from __future__ import annotations

import pytest
import torch

from jobtypes.common.fourier import rfft3
from jobtypes.common.padded_grid import attenuation, padded_spectrum


@pytest.mark.parametrize("box", [6, 7, 18])
def test_a_padded_spectrum_is_the_whole_transform_of_the_padded_map(box):
    volume = torch.randn(box, box, box, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    padded = torch.zeros(2 * box, 2 * box, 2 * box, dtype=torch.float64)
    inner = slice(box - box // 2, 2 * box - box // 2)
    padded[inner, inner, inner] = volume / attenuation(box, "cpu")
    expected = rfft3(padded).flatten()
    torch.testing.assert_close(padded_spectrum(volume), expected, rtol=1e-12, atol=1e-12)
