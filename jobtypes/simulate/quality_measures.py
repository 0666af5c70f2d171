"""How well a quality between 0 and 1 tells particles from junk. Pure: arrays in, numbers out.

Judged are images of our molecule at its pose, whole or not, against junk: empty images, another molecule, wrong poses. Images
that are spoiled but show the molecule at its pose (a neighbour, a speck) are neither; only their mean quality is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from jobtypes.simulate.nuisances import GOOD, KIND_NAMES
from jobtypes.simulate.truth import Truth

Array = NDArray[np.floating]
Rows = NDArray[np.integer]

# narrow where it matters: those at 0.9 or so, and those that are taken for certain
BIN_EDGES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.85, 0.95, 1.0)


@dataclass(frozen=True)
class QualityBin:
    """Particles of like quality.

    Parameters
    ----------
    low, high
        Ends of the bin; the last one holds its upper end.
    particles
        How many lie in it.
    mean_quality
        Of these; what a calibrated quality says of the share that is good.
    good_share
        Share of these that is good.
    """

    low: float
    high: float
    particles: int
    mean_quality: float
    good_share: float


@dataclass(frozen=True)
class QualityAgreement:
    """Agreement of a quality with what the particles are.

    Parameters
    ----------
    particles, junk
        How many were judged, and how many of them are junk.
    auc
        Area under the curve: probability that a good particle has a higher quality than a piece of junk; NaN without both.
    calibration
        Bins that hold particles, from low to high.
    calibration_error
        |mean quality - share that is good|, mean over the particles of all bins.
    mean_by_kind
        Mean quality of each kind of particle there is.
    """

    particles: int
    junk: int
    auc: float
    calibration: tuple[QualityBin, ...]
    calibration_error: float
    mean_by_kind: dict[str, float]


def score_quality(truth: Truth, quality: Array, particles: Rows) -> QualityAgreement:
    """Judge the quality (n,) of particles (n,), rows of the particle STAR file."""
    kind, is_junk = truth.kind[particles], truth.is_junk[particles]
    judged = is_junk | (kind == GOOD)
    values, good = np.asarray(quality, float)[judged], ~is_junk[judged]
    bins = calibration(values, good)
    return QualityAgreement(
        particles=len(values),
        junk=int((~good).sum()),
        auc=area_under_curve(values, good),
        calibration=bins,
        calibration_error=calibration_error(bins),
        mean_by_kind={KIND_NAMES[k]: float(np.mean(quality[kind == k])) for k in np.unique(kind)},
    )


def area_under_curve(values: Array, positive: NDArray[np.bool_]) -> float:
    """Probability that a positive has a higher value (n,) than a negative, ties counted half; NaN without both.

    Source: the statistic of Mann and Whitney (1947) Ann. Math. Stat. 18, 50, over the number of pairs.
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = rankdata(values)
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def calibration(values: Array, good: NDArray[np.bool_]) -> tuple[QualityBin, ...]:
    """Compare what the values (n,) promise with what is good (n,), bin by bin; empty bins are left out."""
    place = np.clip(np.searchsorted(BIN_EDGES, values, side="right") - 1, 0, len(BIN_EDGES) - 2)
    bins = []
    for number, (low, high) in enumerate(pairwise(BIN_EDGES)):
        mine = place == number
        if mine.any():
            bins.append(QualityBin(low, high, int(mine.sum()), float(values[mine].mean()), float(good[mine].mean())))
    return tuple(bins)


def calibration_error(bins: tuple[QualityBin, ...]) -> float:
    """|mean value - share that is good|, mean over the particles of all bins."""
    particles = sum(one.particles for one in bins)
    return float(sum(one.particles * abs(one.mean_quality - one.good_share) for one in bins) / max(particles, 1))
