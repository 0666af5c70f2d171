"""What plain maps show of the change that models draw."""

from __future__ import annotations

from math import nan

import pytest
import torch

from jobtypes.dynamight.backprojection.bins import Binning
from jobtypes.dynamight.backprojection.half_problem import bins_of
from jobtypes.dynamight.states.agreement import (
    DrawnMixtures,
    PlainChange,
    Shown,
    agreement_with_models,
    correlation,
    low_passed,
    shown,
)

BOX = 16
ONES = torch.ones(BOX, BOX, BOX)


def volume(seed: int) -> torch.Tensor:
    return low_passed(torch.randn(BOX, BOX, BOX, generator=torch.Generator().manual_seed(seed)), 4)


def change(share: float, noise_seed: int) -> PlainChange:
    """A half whose images show a share of the change, at twice the model's scale, with noise of its own."""
    everywhere, moved = volume(1) + 5.0, volume(2)
    return PlainChange(
        2 * (everywhere + share * moved) + 0.1 * volume(noise_seed), 2 * everywhere, everywhere + moved, everywhere
    )


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_share_is_found_whatever_the_scale(share):
    found = shown({1: change(share, 3), 2: change(share, 4)}, ONES, 4)
    assert found.share == pytest.approx(share, abs=0.05)
    assert found.error < 0.05


def test_a_half_is_compared_with_the_model_of_the_other():
    own, other = change(1.0, 3), change(0.0, 4)
    turned = PlainChange(other.here, other.everywhere, other.drawn_everywhere + volume(9), other.drawn_everywhere)
    assert shown({1: own, 2: turned}, ONES, 4).share == pytest.approx(0.0, abs=0.1)


def test_what_does_not_change_has_no_share():
    still = PlainChange(volume(1), volume(1), volume(2), volume(2))
    assert shown({1: still, 2: still}, ONES, 4).share != shown({1: still, 2: still}, ONES, 4).share
    assert not Shown(nan, nan).is_doubtful


def test_a_share_is_doubtful_where_it_is_surely_less_than_half():
    assert Shown(0.2, 0.1).is_doubtful
    assert not Shown(0.2, 0.2).is_doubtful
    assert not Shown(0.9, 0.1).is_doubtful


def test_maps_are_compared_with_the_model_that_has_not_seen_their_images():
    maps, drawn = {1: volume(1), 2: volume(2)}, {1: volume(2), 2: volume(1)}
    assert agreement_with_models(maps, drawn, ONES, 4) == pytest.approx(1.0, abs=1e-4)
    assert agreement_with_models(maps, maps, ONES, 4) == pytest.approx(correlation(volume(1), volume(2), ONES), abs=1e-4)


def test_a_mixture_is_drawn_of_the_particles_that_count(swinging):
    session = swinging.session(1)
    bins = bins_of(session.part, Binning(0.05, 12, 1), session.pixel_size_angstroms)
    only = torch.zeros(2, len(session.coefficients), dtype=torch.float64)
    only[0, 7], only[1] = 1.0, 1.0
    one, mean = DrawnMixtures(session, bins).of(only)
    alone, everywhere = session.gaussians.state(session.coefficients[7]), torch.ones_like(one)
    assert correlation(one, alone, everywhere) > 0.98
    assert correlation(mean, alone, everywhere) < 0.95
