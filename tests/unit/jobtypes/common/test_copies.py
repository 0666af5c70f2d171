from __future__ import annotations

import torch

from jobtypes.common.copies import first_copies, mean_of_copies, share_of_image


def test_an_image_has_the_mean_of_its_copies_wherever_they_stand():
    values = torch.tensor([1.0, 5.0, 3.0, 7.0, 2.0])
    assert mean_of_copies(values, torch.tensor([9, 4, 9, 6, 9])).tolist() == [5.0, 7.0, 2.0]


def test_particles_without_copies_stay_as_they_are():
    values = torch.randn(50, dtype=torch.double)
    torch.testing.assert_close(mean_of_copies(values, torch.arange(50)), values, rtol=0, atol=0)
    assert share_of_image(torch.arange(50)).tolist() == [1.0] * 50


def test_of_no_particles_there_is_no_image():
    assert len(mean_of_copies(torch.empty(0), torch.empty(0, dtype=torch.int64))) == 0


def test_copies_share_the_weight_of_one_particle():
    assert share_of_image(torch.tensor([3, 8, 3, 3, 3])).tolist() == [0.25, 1.0, 0.25, 0.25, 0.25]


def test_the_first_copy_of_each_image_is_taken_in_the_order_given() -> None:
    image_of = torch.tensor([0, 0, 2, 3, 3, 3, 6])
    assert first_copies(torch.tensor([5, 1, 6, 3, 0]), image_of).tolist() == [5, 1, 6]
    assert first_copies(torch.arange(7), image_of).tolist() == [0, 2, 3, 6]
