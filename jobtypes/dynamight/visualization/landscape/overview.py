"""Everything about the landscape of a job, seen along the main motions of one half set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.dynamight.visualization.landscape.density_path import path_between
from jobtypes.dynamight.visualization.landscape.likelihoods import likelihoods_of
from jobtypes.dynamight.visualization.landscape.populations import Landscape, landscape_of
from jobtypes.dynamight.visualization.landscape.stable_states import StableState, stable_states
from jobtypes.dynamight.visualization.session import Session
from relion_jobs.contract.errors import UserError

_LINES = 2  # main motions whose densities are shown one by one
_TOLD_APART = 2.0  # spread of the particles along a motion, over the uncertainty of one, from which on it counts beside the first


@dataclass(frozen=True)
class Overview:
    """Densities along main motions one by one, in their plane where there are two, and the stable states in it.

    Attributes
    ----------
    landscapes
        Along each of the first main motions, and along two.
    states
        Stable states, most populated first.
    """

    landscapes: tuple[Landscape, ...]
    states: tuple[StableState, ...]

    @property
    def widest(self) -> Landscape:
        """Of most coordinates, in which the stable states lie."""
        return max(self.landscapes, key=lambda one: len(one.motions))

    def energies_kt(self, coordinates: Tensor) -> NDArray[np.float64]:
        """(P,) along the first main motion, of states at (P, D) A; nan where hardly any particles are."""
        first = self.landscapes[0]
        (middles,) = first.grid.middles
        return np.asarray(np.interp(coordinates[:, 0].numpy(), middles, first.energy_kt, left=np.nan, right=np.nan))

    def path(self, first: int, last: int, n_states: int) -> NDArray[np.float64]:
        """States (n_states, c) A on the densest way between two stable states, counted from 1.

        Raises
        ------
        UserError
            There is no such state, or the two are one.
        """
        for number in (first, last):
            if not 1 <= number <= len(self.states):
                raise UserError(f"There is no stable state {number}; {len(self.states)} were found, numbered from 1.")
        if first == last:
            raise UserError(f"A path from stable state {first} to itself has no length; name two.")
        ends = (self.states[first - 1].place, self.states[last - 1].place)
        return path_between(self.widest.mean, self.widest.grid, ends, n_states)

    def sentence(self) -> str:
        """What was found, in words."""
        if len(self.states) == 1:
            return "Populations: no maximum stands out from another by more than its error, so that the states are one continuum."
        said = [
            f"{number} at {', '.join(f'{value:+.1f}' for value in state.place)} A with {state.in_words().replace('±', '+-')}"
            for number, state in enumerate(self.states, start=1)
        ]
        return f"Populations: {len(self.states)} stable states along the main motions: {'; '.join(said)} of the particles."


def overview_of(sessions: Mapping[int, Session], shown: int, *, seed: int) -> Overview:
    """Of both half sets, along the main motions of the one that is shown."""
    first = range(min(_LINES, len(sessions[shown].motions)))
    lines = [motion for motion in first if motion == 0 or _tells_apart(sessions, shown, motion)]
    chosen: list[tuple[int, ...]] = [(motion,) for motion in lines]
    if len(lines) > 1:
        chosen.append((0, 1))
    landscapes = tuple(landscape_of(sessions, shown, motions, seed=seed) for motions in chosen)
    states, _ = stable_states(max(landscapes, key=lambda one: len(one.motions)))
    return Overview(landscapes, tuple(states))


def _tells_apart(sessions: Mapping[int, Session], shown: int, motion: int) -> bool:
    """Whether the particles of both half sets differ along a motion by more than is uncertain about each."""
    for session in sessions.values():
        found = likelihoods_of(session, (motion,), sessions[shown])
        uncertain = float(found.posterior_covariances[:, 0, 0].median().sqrt())
        if not float(found.posterior_means.std()) > _TOLD_APART * uncertain:
            return False
    return True
