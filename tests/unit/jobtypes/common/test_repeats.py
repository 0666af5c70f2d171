from __future__ import annotations

import numpy as np
import pytest

from jobtypes.common.repeats import SAME_VIEW_DEGREES, find_repeats

BOX = 100.0
RIM = np.radians(SAME_VIEW_DEGREES) * BOX / 2


def repeats(copies: list[int], angles: list[list[float]], origins: list[list[float]] | None = None) -> list[bool]:
    where = np.zeros((len(copies), 2)) if origins is None else np.array(origins)
    return find_repeats(np.array(copies), np.array(angles, dtype=float), where, box_angstroms=BOX).tolist()


def test_the_first_of_equal_rows_counts() -> None:
    pose = [10.0, 40.0, 70.0]
    assert repeats([0, 1, 0, 0], [pose] * 4) == [False, False, True, True]


@pytest.mark.parametrize(("turn", "is_repeat"), [(0.0, True), (4.9, True), (5.1, False), (72.0, False), (180.0, False)])
@pytest.mark.parametrize("axis", [1, 2])
def test_views_within_another_refinement_are_one(turn: float, is_repeat: bool, axis: int) -> None:
    other = [20.0, 60.0, 30.0]
    other[axis] += turn
    assert repeats([0, 0], [[20.0, 60.0, 30.0], other]) == [False, is_repeat]


def test_angles_that_differ_by_a_full_turn_or_at_the_pole_are_one_view() -> None:
    assert repeats([0, 0], [[-180.0, 30.0, 5.0], [180.0, 30.0, -355.0]]) == [False, True]
    assert repeats([0, 0], [[50.0, 0.0, 0.0], [0.0, 0.0, 50.0]]) == [False, True]


@pytest.mark.parametrize(("shift", "is_repeat"), [(0.9 * RIM, True), (1.1 * RIM, False)])
def test_another_place_on_the_image_is_another_particle(shift: float, is_repeat: bool) -> None:
    assert repeats([0, 0], [[1.0, 2.0, 3.0]] * 2, [[0.0, 0.0], [0.0, shift]]) == [False, is_repeat]


def test_copies_of_a_symmetry_expansion_are_no_repeats_of_each_other_but_of_themselves() -> None:
    expanded = [[rot, 50.0, 20.0] for rot in range(0, 360, 60)]
    assert not any(repeats([0] * 6, expanded))
    assert repeats([0] * 12, expanded * 2) == [False] * 6 + [True] * 6


def test_nothing_twice_is_no_repeat() -> None:
    assert repeats([2, 0, 1], [[0.0, 0.0, 0.0]] * 3) == [False] * 3
