"""Times to come, in words."""

from __future__ import annotations

import pytest

from jobtypes.common.durations import duration_in_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.123, "0.12 s"),
        (45.2, "45 s"),
        (80.0, "80 s"),
        (100.0, "1.7 min"),
        (750.0, "12 min"),
        (5000.0, "83 min"),
        (12600.0, "3.5 h"),
    ],
)
def test_a_time_has_two_figures_in_a_unit_that_fits(seconds, words):
    assert duration_in_words(seconds) == words
