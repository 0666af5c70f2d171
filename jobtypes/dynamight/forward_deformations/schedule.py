"""What each epoch of the forward training does, as a pure function of its number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

# An epoch of many particles takes more steps, so it takes fewer epochs: about this many particle visits train a half set.
VISITS_OF_A_HALF = 100_000
FEWEST_EPOCHS, MOST_EPOCHS = 12, 36
# How often as long as planned a training may last where motions are found slowly.
LONGEST = 2.5
# Of the Kullback-Leibler term.
FIRST_KL_WEIGHT, FULL_KL_WEIGHT = 0.005, 1.0
# Of the strain, against its full weight.
FIRST_STIFFNESS = 0.25
# Twelfths of the epochs after which the consensus is made anew where motions are large: from when they are found until they are
# sharp.
REMADE_AFTER = range(2, 9)
# Twelfths of the epochs after which parts that some particles lack are looked for: once the larger motions are found, when all
# should be, and once more when the latents must be as few as the evidence allows.
PARTS_AFTER = (4, 6, 8)
# Progress at which motions should be found: all resolution, the prior still weak.
HOLD_AT = 0.5


@dataclass(frozen=True)
class EpochPlan:
    """One epoch.

    Attributes
    ----------
    deforms
        False during the warm-up, when only the consensus is fitted.
    resolution_angstroms
        Fourier terms beyond it are left out.
    kl_weight
        Weight of the Kullback-Leibler term.
    learning_rate
        Factor on all learning rates.
    stiffness
        Factor on the weight of the strain.
    learns_stiffness
        Whether it ends with a look at how stiff the molecule is, where that is learned.
    remakes_consensus
        Whether it begins with a look at where the particles are, and makes a state there the consensus if it lies far away.
    looks_for_parts
        Whether it begins with a search for parts that some particles lack.
    judges_held_out
        Whether qualities of held-out particles are worked out anew; else they stay, so that epochs compare.
    """

    deforms: bool
    resolution_angstroms: float
    kl_weight: float
    learning_rate: float
    stiffness: float = 1.0
    learns_stiffness: bool = False
    remakes_consensus: bool = False
    looks_for_parts: bool = False
    judges_held_out: bool = True


def numbers_of_epochs(n_training: int, most: int | None = None) -> tuple[int, int]:
    """Epochs for a half set of `n_training` particles, as planned and at most; `most`: what the user allows."""
    planned = max(FEWEST_EPOCHS, min(MOST_EPOCHS, math.ceil(VISITS_OF_A_HALF / n_training)))
    most = math.ceil(LONGEST * planned) if most is None else most
    return min(planned, most), most


def hold_epoch(n_epochs: int) -> int:
    """The epoch of the plan that is done again until motions are found; see `pace`."""
    return int(HOLD_AT * (n_epochs - 1))


def plan_epoch(epoch: int, n_epochs: int, highest_resolution_angstroms: float) -> EpochPlan:
    """Plan of epoch 0 .. n_epochs - 1.

    The consensus alone is fitted in the first twentieth. Resolution stays at 16 A for a tenth and grows until nearly half, so
    that every large motion is found before fine detail can trap it; at low signal the weaker of two motions takes that long.
    The weight of the prior stays low until a half, then grows to its full value, that of the evidence, at three quarters: with
    the full weight from the start the latents collapse, with a low one to the end they learn noise. The strain too weighs less
    at first, since a motion must be found before it is known where the molecule is soft. The learning rate falls in the last
    quarter.
    """
    progress = epoch / max(1, n_epochs - 1) if n_epochs > 1 else 1.0
    first_that_deforms = max(1, round(0.05 * n_epochs)) if n_epochs >= 3 else 0
    coarse = max(16.0, highest_resolution_angstroms)
    growth = _ramp(progress, 0.1, 0.45)
    # evenly in frequency, not in wavelength
    resolution = 1 / ((1 - growth) / coarse + growth / highest_resolution_angstroms)
    return EpochPlan(
        deforms=epoch >= first_that_deforms,
        resolution_angstroms=resolution,
        kl_weight=FIRST_KL_WEIGHT + (FULL_KL_WEIGHT - FIRST_KL_WEIGHT) * _ramp(progress, 0.5, 0.75),
        learning_rate=0.1 ** _ramp(progress, 0.75, 1.0),
        remakes_consensus=_is_after(REMADE_AFTER, epoch, n_epochs),
        # what moves must be known a little, and what is found be trained
        looks_for_parts=first_that_deforms < epoch < n_epochs - 1 and _is_after(PARTS_AFTER, epoch, n_epochs),
        learns_stiffness=HOLD_AT < progress < 1,  # when motions are found, for epochs to come
        stiffness=FIRST_STIFFNESS + (1 - FIRST_STIFFNESS) * _ramp(progress, 0.3, 0.6),
    )


def _is_after(twelfths: Iterable[int], epoch: int, n_epochs: int) -> bool:
    return epoch in {round(twelfth * n_epochs / 12) for twelfth in twelfths}


def _ramp(x: float, start: float, end: float) -> float:
    return min(1.0, max(0.0, (x - start) / (end - start)))
