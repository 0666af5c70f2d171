from __future__ import annotations

import numpy as np
import pytest

from jobtypes.dynamight.visualization.page.packing import pack, pack_floats
from relion_jobs.contract.errors import UserError
from tests.packed import unpacked


@pytest.mark.parametrize("neighbours", [False, True])
@pytest.mark.parametrize("shape", [(7,), (5, 3), (4, 6, 3), (0, 3)])
def test_numbers_come_back_to_half_a_step(shape: tuple[int, ...], neighbours: bool) -> None:
    values = 40 * np.random.default_rng(1).standard_normal(shape)
    found = unpacked(pack(values, step=0.03, neighbours=neighbours))
    assert found.shape == shape
    assert np.abs(found - values).max(initial=0) <= 0.0150001


def test_large_numbers_take_more_bytes_and_small_ones_one() -> None:
    assert [pack([value])["width"] for value in (100, 30_000, 3_000_000)] == [1, 2, 4]
    assert unpacked(pack([3_000_000, -3_000_000])).tolist() == [3_000_000, -3_000_000]


def test_differences_of_neighbours_are_shorter() -> None:
    smooth = np.cumsum(np.random.default_rng(1).integers(-3, 4, (4000, 3)), axis=0)
    assert len(pack(smooth, neighbours=True)["data"]) < 0.6 * len(pack(smooth)["data"])


def test_single_precision_is_kept_as_it_is() -> None:
    values = np.float32([[1.1, -2e-9], [3e12, 0]])
    assert np.array_equal(unpacked(pack_floats(values)), values)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e12])
def test_what_no_number_can_show_is_said(value: float) -> None:
    with pytest.raises(UserError, match=r"cannot be shown in steps of 0\.01"):
        pack([1.0, value], step=0.01)
