"""Shares in items: whoever owns them, all come together, each once and in order."""

from __future__ import annotations

import pytest
import torch

from jobtypes.common.share import Share
from jobtypes.common.team import Crew
from tests.crews import work_together

ITEMS = 11


def share_of(crew: Crew) -> Share:
    return Share(torch.arange(ITEMS) % crew.count == crew.place, crew)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_values_of_own_items_come_together_in_the_order_of_the_index(count):
    index = torch.tensor([7, 2, 2, 10, 0, 5])

    def work(crew):
        share = share_of(crew)
        return share.gathered(index, [10.0 * batch[:, None] for batch in share.batches(index, 2)])

    for found in work_together(count, work):
        assert torch.equal(found, 10.0 * index[:, None])


def test_a_process_without_own_items_hears_of_those_of_the_others():
    def work(crew):
        share = share_of(crew)
        assert crew.place == 0 or list(share.batches(torch.tensor([4, 8]), 2)) == []
        return share.gathered(torch.tensor([4, 8]), list(share.batches(torch.tensor([4, 8]), 2)))

    assert [found.tolist() for found in work_together(4, work)] == [[4, 8]] * 4


def test_where_nobody_has_values_there_are_none():
    assert work_together(2, lambda crew: len(share_of(crew).gathered(torch.arange(0), []))) == [0, 0]


@pytest.mark.parametrize("count", [1, 3])
def test_rows_of_others_are_taken_over_whatever_stood_there(count):
    def work(crew):
        share, rows = share_of(crew), torch.full((ITEMS, 2), torch.nan)
        rows[share.owned] = torch.arange(ITEMS)[share.owned, None].float()
        flags = share.owned.double()
        share.exchange_(rows, flags)
        return torch.cat((rows, flags[:, None].float()), dim=1)

    numbers = torch.arange(ITEMS).float()
    for found in work_together(count, work):
        assert torch.equal(found, torch.stack((numbers, numbers, torch.ones(ITEMS)), dim=1))


def test_a_process_tells_how_far_all_are_by_how_far_it_is():
    assert work_together(2, lambda crew: share_of(crew).of_all(int(share_of(crew).owned.sum()))) == [ITEMS, ITEMS]
