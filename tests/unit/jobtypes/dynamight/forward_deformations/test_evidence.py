from __future__ import annotations

import pytest
import torch

from jobtypes.dynamight.forward_deformations.evidence import Evidence, MotionFinding


def test_the_error_of_a_mean_falls_with_the_root_of_the_particles():
    values = torch.tensor([1.0, 3.0] * 50)
    evidence = Evidence.of(values)
    assert evidence.mean == pytest.approx(2)
    assert evidence.error == pytest.approx((100 / 99) ** 0.5 / 10)
    assert evidence.is_sure


@pytest.mark.parametrize("values", [torch.zeros(0), torch.ones(1)])
def test_of_fewer_than_two_particles_nothing_is_sure(values):
    assert Evidence.of(values) == Evidence(0.0, 0.0)
    assert not Evidence.of(values).is_sure


@pytest.mark.parametrize(
    ("own", "of_other", "claimed"),
    [
        (Evidence(5.0, 1.0), Evidence(4.0, 1.0), True),
        (Evidence(5.0, 1.0), Evidence(2.9, 1.0), False),
        (Evidence(2.9, 1.0), Evidence(5.0, 1.0), False),
        (Evidence(5.0, 1.0), Evidence(-4.0, 1.0), False),
        (Evidence(0.0, 0.0), Evidence(5.0, 1.0), False),
    ],
)
def test_motion_is_claimed_where_particles_of_both_half_sets_are_sure_of_it(own, of_other, claimed):
    finding = MotionFinding(1, 1.5, 3.0, own, of_other)
    assert finding.has_motion == claimed
    assert ("no motion was found" in finding.sentence()) != claimed
    assert f"by {own}" in finding.sentence()
    assert f"half set by {of_other}" in finding.sentence()
