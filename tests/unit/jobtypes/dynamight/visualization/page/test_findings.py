from __future__ import annotations

import pytest

from jobtypes.dynamight.visualization.held_out import held_out_particles
from jobtypes.dynamight.visualization.page import findings
from jobtypes.dynamight.visualization.session import Session

FIGURES = {"rlnDynamightLikelihoodGain": 40.06, "rlnDynamightLikelihoodGainError": 2.4, "rlnFinalResolution": 5.0,
           "rlnDynamightRigidResolution": 6.0}  # fmt: skip


@pytest.fixture
def sessions(flexible_job, forward) -> dict[int, Session]:
    return {half: Session(flexible_job.directory, forward, half) for half in (1, 2)}


def test_no_motion_is_said_first(sessions) -> None:
    words = findings.headline({1: "Half 1: no motion was found; ..."}, sessions, None)
    assert words.startswith("No motion was found")


def test_without_held_out_particles_the_training_has_not_ended(sessions) -> None:
    assert findings.headline({}, sessions, None).startswith("The training has not ended")


def test_half_sets_that_disagree_are_said_to(sessions, forward) -> None:
    # the other half's latents of the held-out particles are random ones
    assert "do not agree" in findings.headline({}, sessions, held_out_particles(forward))


def test_half_sets_that_agree_are_said_to_with_the_size(sessions, forward) -> None:
    held_out = held_out_particles(forward)
    for found in held_out.disagreements.values():
        found.particle_error.mul_(0.01)
    words = findings.headline({}, sessions, held_out)
    assert words.startswith("The molecule moves by ")
    assert "agree about it to 0.0 Å (correlation 1.00)" in words


@pytest.mark.parametrize(
    ("verdict", "words"), [("better", "is better than"), ("worse", "use the rigid maps"), ("unknown", "could not be judged")]
)
def test_the_paragraph_tells_place_motions_maps_and_particles(sessions, forward, verdict: str, words: str) -> None:
    reconstruction = {"figures": FIGURES | {"rlnDynamightVerdict": verdict}}
    text = " ".join(findings.paragraph(forward, sessions, reconstruction))
    assert words in text
    assert "+40.1 ± 2.4" in text
    assert "reaches 5.0 Å" in text
    assert "Of 60 particles 100.0 %" in text
    assert "main motion makes up" in text
