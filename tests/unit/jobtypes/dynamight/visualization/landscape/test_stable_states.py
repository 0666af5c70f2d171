from __future__ import annotations

import numpy as np
import pytest

from jobtypes.dynamight.visualization.landscape.stable_states import basins_of, hills_of, stable_states


def test_two_states_are_counted_within_their_errors(crowd) -> None:
    made = crowd("two_states")
    states, basins = stable_states(made.landscape)
    assert len(states) == 2
    truth = np.mean([(made.states[half] < 0).mean() for half in (1, 2)])
    first, second = states
    assert first.share == pytest.approx(truth, abs=2.5 * first.share_error)
    assert 0.003 < first.share_error < 0.03
    assert first.share + second.share == pytest.approx(1)
    assert first.place[0] == pytest.approx(-3.6, abs=0.5)
    assert second.place[0] == pytest.approx(3.6, abs=0.5)
    assert basins[0] == 0
    assert basins[-1] == 1


@pytest.mark.parametrize("kind", ["even", "beta", "uneven"])
def test_noise_makes_no_states(crowd, kind: str) -> None:
    states, basins = stable_states(crowd(kind).landscape)
    assert [state.share for state in states] == [pytest.approx(1)]
    assert not basins.any()


def test_a_hill_joins_the_higher_one_at_the_highest_way() -> None:
    density = np.array([0.0, 3.0, 1.0, 5.0, 2.0, 4.0, 0.5])
    hills, slopes = hills_of(density)
    assert [(hill.top, hill.saddle, hill.joins) for hill in hills] == [(3, None, 0), (5, 4, 0), (1, 2, 0)]
    assert slopes.tolist() == [2, 2, 0, 0, 0, 1, 1] or slopes.tolist() == [2, 2, 0, 0, 0, 1, 1]
    assert basins_of(hills, slopes, [0, 2]).tolist() == [1, 1, 0, 0, 0, 0, 0]


def test_hills_of_a_plane_meet_at_the_pass() -> None:
    x, y = np.meshgrid(np.arange(21) - 10, np.arange(11) - 5, indexing="ij")
    density = np.exp(-(((x - 6) ** 2 + y**2) / 8)) + 0.6 * np.exp(-(((x + 6) ** 2 + y**2) / 8))
    hills, slopes = hills_of(density)
    assert len(hills) == 2
    assert np.unravel_index(hills[1].saddle, density.shape)[1] == 5
    assert (slopes[:8] == 1).all()
    assert (slopes[-8:] == 0).all()
