"""How the particles lie between the ends of a motion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import betaincinv, ndtri

from jobtypes.simulate.helices import Array

# two states: places, share of the particles in the first of them, standard deviation within each
FIRST_STATE, SECOND_STATE = 0.2, 0.8
FIRST_SHARE = 0.6
STATE_WIDTH = 0.04
# uneven: the density falls as exp(-FALL t), as that of a molecule in a soft well with its rest at one end
FALL = 2.0
# beta: the two parameters of its beta distribution, a hump at a third of the way
HUMP = (2.0, 3.0)


def places(uniform: Array, kind: str) -> Array:
    """Coordinates 0..1 of particles from even random numbers 0..1 (any shape): the quantiles of a distribution.

    Parameters
    ----------
    uniform
        Even random numbers; ``even`` gives them back as they are.
    kind
        ``even``, ``two_states``, ``uneven`` or ``beta``.
    """
    drawn: dict[str, Callable[[Array], Array]] = {
        "even": lambda numbers: numbers,
        "two_states": _two_states,
        "uneven": _uneven,
        "beta": lambda numbers: betaincinv(*HUMP, numbers),
    }
    return drawn[kind](uniform)


def _two_states(uniform: Array) -> Array:
    first = uniform < FIRST_SHARE
    within = np.where(first, uniform / FIRST_SHARE, (uniform - FIRST_SHARE) / (1 - FIRST_SHARE))
    # no tail reaches an end of the motion
    states: Array = np.where(first, FIRST_STATE, SECOND_STATE) + STATE_WIDTH * ndtri(np.clip(within, 1e-5, 1 - 1e-5))
    return states


def _uneven(uniform: Array) -> Array:
    states: Array = -np.log1p(-uniform * (1 - np.exp(-FALL))) / FALL
    return states
