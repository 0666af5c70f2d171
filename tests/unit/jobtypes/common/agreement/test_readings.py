from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from jobtypes.common.agreement.comparison import certainty, compare
from jobtypes.common.agreement.displacement import displacement
from jobtypes.common.agreement.readings import MapSlices, Reading
from jobtypes.common.agreement.samples import Sample, draw_sample


def opened(made) -> tuple[Sample, MapSlices, Reading]:
    sample = draw_sample(made, 1)
    return sample, MapSlices(made.volume, sample.terms), Reading.of_rows(sample, sample.rows)


def correlation(sample: Sample, slices: MapSlices, reading: Reading) -> float:
    """Of noiseless images, whitened, and predictions, over all terms."""
    predicted = slices.predict(reading, sample, slice(None))
    cross = (predicted.conj() * sample.spectra).real.sum(1)
    return float((cross / (predicted.norm(dim=1) * sample.spectra.norm(dim=1))).mean())


def moved(values: Tensor) -> Tensor:
    return values.roll((-3, 2), (0, 2))


# how the inputs are changed, and the reading that takes them for what they were
UNDONE = {
    "nothing": (lambda made: made, {}),
    "mirrored map": (
        lambda made: made.with_volume(lambda v: v.flip(0).roll(1, 0)),
        {"map_axes": torch.diag(torch.tensor([1.0, 1, -1]))},
    ),
    "map at its corner": (lambda made: made.with_volume(lambda v: v.roll((16,) * 3, (0, 1, 2))), {"centre_at_corner": True}),
    "moved map": (lambda made: made.with_volume(moved), {"map_shift_angstroms": torch.tensor([-8.0, 0, 12])}),
    "mirrored images": (
        lambda made: made.with_images(lambda i: i.flip(2).roll(1, 2)),
        {"image_axes": torch.diag(torch.tensor([-1.0, 1]))},
    ),
    "inverted images": (lambda made: made.with_images(torch.neg), {"contrast": -1.0}),
    "phase-flipped images": (lambda made: made.filtered(torch.sign), {"transfer": torch.abs}),
    "premultiplied images": (lambda made: made.filtered(lambda c: c), {"transfer": torch.square}),
}


@pytest.mark.parametrize(("change", "reading"), UNDONE.values(), ids=UNDONE)
def test_predictions_are_the_images_that_were_written_down_in_fourier_space(make_set, change, reading):
    sample, slices, given = opened(change(make_set(24, noise=0.0)))
    assert correlation(sample, slices, replace(given, **reading)) > 0.97
    if reading:
        assert correlation(sample, slices, given) < 0.9


def test_a_prediction_does_not_depend_on_the_grey_scale_of_images_or_map(make_set):
    made = make_set(24)
    brighter = made.with_images(lambda images: 7 * images + 3).with_volume(lambda values: 0.01 * values)
    gains = [compare(*opened(one)).gains() for one in (made, brighter)]
    assert torch.allclose(*gains, rtol=1e-3, atol=1e-2)


def test_the_place_of_a_map_is_found(make_set):
    sample, slices, given = opened(make_set(40).with_volume(moved))
    assert (displacement(sample, slices, given) - torch.tensor([-8.0, 0, 12])).abs().max() < 3
    there = replace(given, map_shift_angstroms=torch.tensor([-8.0, 0, 12]))
    assert (displacement(sample, slices, there) - torch.tensor([-8.0, 0, 12])).abs().max() < 3


def test_noise_gains_nothing(make_set):
    generator = torch.Generator().manual_seed(3)
    sample, slices, given = opened(make_set(40).with_images(lambda images: torch.randn(images.shape, generator=generator)))
    found = compare(sample, slices, given)
    assert float(found.gains().sum()) < sample.terms.n_shells
    assert float(found.deviations()[1:].square().mean()) == pytest.approx(1, abs=0.8)


def test_certainty_is_the_mean_difference_over_its_scatter():
    assert certainty(torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3)) == pytest.approx(2 * 3**0.5)
    assert certainty(torch.ones(1), torch.zeros(1)) == 0
