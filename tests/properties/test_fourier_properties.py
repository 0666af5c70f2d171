from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jobtypes.common import fourier

BOXES = st.integers(2, 15)
SEEDS = st.integers(0, 2**31)
quick = settings(max_examples=40, deadline=None)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@quick
@given(BOXES, SEEDS)
def test_transforms_come_back(box: int, seed: int) -> None:
    volume = noise(seed, 2, box, box, box)
    assert torch.allclose(fourier.irfft3(fourier.rfft3(volume), box), volume)
    assert torch.allclose(fourier.irfft2(fourier.rfft2(volume), box), volume)


@quick
@given(BOXES, SEEDS, st.sampled_from([2, 3]))
def test_power_is_the_same_on_both_sides(box: int, seed: int, ndim: int) -> None:
    array = noise(seed, *(box,) * ndim)
    spectrum = fourier.rfft2(array) if ndim == 2 else fourier.rfft3(array)
    weights = fourier.half_plane_weights(box, ndim, dtype=torch.float64)
    assert weights.sum() == box**ndim
    assert torch.allclose((weights * spectrum.abs().square()).sum() / box**ndim, array.square().sum())


@quick
@given(st.integers(2, 12), st.integers(0, 6), st.integers(0, 6), SEEDS)
def test_cropping_twice_is_cropping_once(small: int, more: int, most: int, seed: int) -> None:
    box = small + more + most
    spectrum = torch.view_as_complex(noise(seed, box, box, box // 2 + 1, 2))
    once, half_way = fourier.crop_spectrum_3d(spectrum, small), fourier.crop_spectrum_3d(spectrum, small + more)
    assert torch.equal(fourier.crop_spectrum_3d(half_way, small), once)
    assert torch.equal(fourier.crop_spectrum_3d(spectrum, box), spectrum)


@quick
@given(BOXES, SEEDS, st.integers(-20, 20), st.integers(-20, 20))
def test_a_shift_by_whole_pixels_is_a_roll(box: int, seed: int, x: int, y: int) -> None:
    image = noise(seed, 1, box, box)
    shift = torch.tensor([[x * 1.7, y * 1.7]], dtype=torch.float64)
    phases = fourier.shift_phases(shift, fourier.frequencies_2d(box, 1.7, dtype=torch.float64))
    assert torch.allclose(fourier.irfft2(fourier.rfft2(image) * phases, box), torch.roll(image, (y, x), (1, 2)))


@quick
@given(BOXES, SEEDS)
def test_a_shift_and_its_negative_cancel(box: int, seed: int) -> None:
    shifts, frequencies = noise(seed, 3, 2) * 5, fourier.frequencies_2d(box, 1.0, dtype=torch.float64)
    both = fourier.shift_phases(shifts, frequencies) * fourier.shift_phases(-shifts, frequencies)
    assert torch.allclose(both, torch.ones_like(both))


@quick
@given(BOXES, SEEDS)
def test_an_fsc_lies_between_minus_one_and_one_and_is_symmetric(box: int, seed: int) -> None:
    a, b = noise(seed, 2, box, box, box)
    curve = fourier.fsc(a, b)
    assert curve.abs().max() <= 1 + 1e-12
    assert torch.allclose(curve, fourier.fsc(b, a))
    assert torch.allclose(curve, fourier.fsc(2 * a, 3 * b))


def test_transforms_have_gradients() -> None:
    volume = noise(0, 3, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: torch.view_as_real(fourier.rfft3(v)), (volume,))
    other = noise(1, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: fourier.fsc(v, noise(2, 4, 4)), (other,))
    shift = noise(3, 2, 2).requires_grad_()
    frequencies = fourier.frequencies_2d(4, 1.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: torch.view_as_real(fourier.shift_phases(s, frequencies)), (shift,))
