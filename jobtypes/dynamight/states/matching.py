"""The same state in both half sets: each has latents and fields of its own, so what is compared is where the density goes.

The mean deformation of many particles is the same in both, whichever conformation each calls its consensus. So Gaussians of one
half are brought to its mean state, from there to the consensus of the other, and the state sought is that in which the other
half's main motions bring them, about its own mean, where this half does. It is a handful of numbers; no image is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jobtypes.dynamight.model.displacement import before_displacement
from jobtypes.dynamight.visualization.session import Session


@dataclass(frozen=True)
class MatchedState:
    """A state in both half sets.

    Attributes
    ----------
    coordinates
        By half: (D,) A along its main motions.
    left_angstroms
        Rms over the density of what the halves' states differ by.
    moved_angstroms
        Rms over the density of the displacement from the mean state to this one.
    """

    coordinates: dict[int, Tensor]
    left_angstroms: float
    moved_angstroms: float


class Matching:
    """Finds the states of one half set in the other.

    Parameters
    ----------
    session
        In which states are given.
    other
        In which they are sought.
    """

    @torch.no_grad()
    def __init__(self, session: Session, other: Session) -> None:
        self._halves = (session.half, other.half)
        gaussians, basis = session.model.gaussians, session.gaussians.basis
        share = gaussians.amplitudes.abs() / gaussians.amplitudes.abs().sum()
        self._root = share.sqrt()[:, None]
        mean = torch.einsum("k,knc->nc", session.motions.mean.to(basis), basis)
        mean_of_other = other.motions.mean.to(basis)
        there = before_displacement(
            gaussians.positions + mean, mean_of_other, other.model.field.basis, other.model.gaussians.positions
        )
        self._motions = torch.einsum("dk,knc->dnc", session.motions.from_coordinates.to(basis), basis)
        self._of_other = torch.einsum("dk,knc->dnc", other.motions.from_coordinates.to(basis), other.model.field.basis(there))

    def match(self, state: Tensor) -> MatchedState:
        """The state at (D,) A of the one half, in both; by least squares over the density."""
        wanted = torch.einsum("d,dnc->nc", state.to(self._motions), self._motions) * self._root
        design = (self._of_other * self._root).flatten(1).T.double().cpu()  # (3 n, D')
        found = torch.linalg.lstsq(design, wanted.flatten()[:, None].double().cpu(), driver="gelsd").solution[:, 0]
        left = wanted.flatten().double().cpu() - design @ found
        own, other = self._halves
        coordinates = {own: state.cpu(), other: found.to(state.dtype)}
        return MatchedState(coordinates, float(left.norm()), float(wanted.double().norm()))
