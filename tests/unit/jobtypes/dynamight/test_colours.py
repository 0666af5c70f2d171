from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import rgb_to_hsv, to_hex, to_rgb

from jobtypes.dynamight.colours import DISPLACEMENT_COLOURS, DISPLACEMENT_COLOURS_ON_DARK, HALF_COLOURS, STATE_COLOUR, on_dark


@pytest.mark.parametrize("colour", [*HALF_COLOURS.values(), STATE_COLOUR, "#7d0a23"])
def test_on_dark_ground_a_dark_colour_becomes_bright_and_keeps_its_hue(colour: str) -> None:
    before, after = (rgb_to_hsv(to_rgb(one)) for one in (colour, on_dark(colour)))
    assert before[2] < 0.8 < after[2]
    assert np.allclose(before[:2], after[:2], atol=0.02)


def test_on_dark_ground_a_bright_colour_stays_as_it_is() -> None:
    assert on_dark("#f5c27a") == "#f5c27a"


def test_displacement_is_grey_at_rest_and_red_at_its_largest_on_both_grounds() -> None:
    for colours in (DISPLACEMENT_COLOURS, DISPLACEMENT_COLOURS_ON_DARK):
        rest, largest = colours(0.0)[:3], colours(1.0)[:3]
        assert len(set(rest)) == 1
        assert largest[0] > 3 * max(largest[1:])


def test_displacement_on_white_ground_darkens_all_the_way() -> None:
    luminance = DISPLACEMENT_COLOURS(np.linspace(0, 1, 50))[:, :3] @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luminance) < 0).all()


def test_the_scale_of_figures_is_what_it_was() -> None:
    assert [to_hex(DISPLACEMENT_COLOURS(share)) for share in (0.0, 1.0)] == ["#d4d4d4", "#7d0a23"]
