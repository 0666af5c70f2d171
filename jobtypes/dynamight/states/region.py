"""Where the molecule is in a state, and which part of it moves."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from jobtypes.dynamight.backprojection.fsc_mask import mask_around, not_stray
from jobtypes.dynamight.outputs import rms_of_gaussians
from jobtypes.dynamight.visualization.session import Session


class Regions:
    """Masks of states, from the Gaussians of both half sets.

    A part moves where its rms displacement over the particles exceeds that of the molecule as a whole.

    Parameters
    ----------
    sessions
        Both halves.
    """

    def __init__(self, sessions: Mapping[int, Session]) -> None:
        self._sessions = sessions
        self._there = {half: not_stray(session.model.gaussians) for half, session in sessions.items()}
        self._moving = {half: self._there[half] & _moves(session) for half, session in sessions.items()}

    def molecule(self, coordinates: Mapping[int, Tensor]) -> Tensor:
        """Soft mask (N, N, N) around the molecule in the state at (D,) A of each half."""
        return self._around(coordinates, self._there)

    def moving(self, coordinates: Mapping[int, Tensor]) -> Tensor:
        """The same around what moves; the whole where nothing does."""
        nothing = not any(bool(moving.any()) for moving in self._moving.values())
        return self._around(coordinates, self._there if nothing else self._moving)

    def _around(self, coordinates: Mapping[int, Tensor], chosen: Mapping[int, Tensor]) -> Tensor:
        places = [session.state_positions(coordinates[half])[chosen[half].cpu()] for half, session in self._sessions.items()]
        session = next(iter(self._sessions.values()))
        return mask_around(places, box=session.box, pixel_size_angstroms=session.pixel_size_angstroms)


def _moves(session: Session) -> Tensor:
    rms = rms_of_gaussians(session.part)
    moves: Tensor = rms > rms.square().mean().sqrt()
    return moves
