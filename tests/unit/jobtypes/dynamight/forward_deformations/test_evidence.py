from __future__ import annotations

import pytest
import torch

from jobtypes.dynamight.forward_deformations.evidence import Evidence, MotionFinding
from jobtypes.dynamight.model.disagreement import AgreementOfMotions


def test_the_error_of_a_mean_falls_with_the_root_of_the_particles():
    values = torch.tensor([1.0, 3.0] * 50)
    evidence = Evidence.of(values, torch.arange(100))
    assert evidence.mean == pytest.approx(2)
    assert evidence.error == pytest.approx((100 / 99) ** 0.5 / 10)
    assert evidence.is_sure


def test_copies_of_an_image_make_nothing_surer():
    values, image = torch.tensor([1.0, 3.0] * 50), torch.arange(100)
    once, eight = Evidence.of(values, image), Evidence.of(values.repeat(8), image.repeat(8))
    assert (eight.mean, eight.error) == pytest.approx((once.mean, once.error))


def test_without_motion_evidence_is_sure_no_more_often_than_three_standard_errors_say():
    generator = torch.Generator().manual_seed(1)
    image = torch.arange(100).repeat_interleave(8)
    of_images = torch.randn(4000, 100, generator=generator)
    sure = [Evidence.of(values[image], image).is_sure for values in of_images]
    # 0.17 % of Student's t with 99 degrees of freedom lie above 3: 7 of 4000, with a deviation of 2.6
    assert sum(sure) <= 17


@pytest.mark.parametrize("values", [torch.zeros(0), torch.ones(1), torch.ones(8)])
def test_of_fewer_than_two_images_nothing_is_sure(values):
    image = torch.zeros(len(values), dtype=torch.int64)
    assert Evidence.of(values, image) == Evidence(0.0, 0.0)
    assert not Evidence.of(values, image).is_sure


ALIKE, UNLIKE = AgreementOfMotions(0.5, 0.1), AgreementOfMotions(0.2, 0.1)


@pytest.mark.parametrize(
    ("own", "of_other", "agreements", "claimed"),
    [
        (Evidence(5.0, 1.0), Evidence(4.0, 1.0), (ALIKE, ALIKE), True),
        (Evidence(5.0, 1.0), Evidence(2.9, 1.0), (ALIKE, ALIKE), False),
        (Evidence(2.9, 1.0), Evidence(5.0, 1.0), (ALIKE, ALIKE), False),
        (Evidence(5.0, 1.0), Evidence(-4.0, 1.0), (ALIKE, ALIKE), False),
        (Evidence(0.0, 0.0), Evidence(5.0, 1.0), (ALIKE, ALIKE), False),
        (Evidence(5.0, 1.0), Evidence(4.0, 1.0), (ALIKE, UNLIKE), False),
        (Evidence(5.0, 1.0), Evidence(4.0, 1.0), (UNLIKE, ALIKE), False),
        (Evidence(5.0, 1.0), Evidence(4.0, 1.0), (AgreementOfMotions(0.07, 0.01), ALIKE), False),
        (Evidence(5.0, 1.0), Evidence(4.0, 1.0), (AgreementOfMotions(-0.5, 0.1), ALIKE), False),
        (Evidence(5.0, 1.0), Evidence(4.0, 1.0), (AgreementOfMotions(0.0, 0.0), ALIKE), False),
    ],
)
def test_motion_is_claimed_where_particles_of_both_half_sets_are_sure_of_it_and_both_models_agree(
    own, of_other, agreements, claimed
):
    finding = MotionFinding(1, 1.5, 3.0, own, of_other, agreements)
    assert finding.has_motion == claimed
    assert ("no motion was found" in finding.sentence()) != claimed
    assert f"by {own}" in finding.sentence()
    assert f"half set by {of_other}" in finding.sentence()
    assert f"by {agreements[0]} and {agreements[1]}" in finding.sentence()
