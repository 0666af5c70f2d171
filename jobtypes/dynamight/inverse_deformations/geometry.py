"""What a deformation does to the geometry of an atomic model: bonds, and the distances of alpha carbons along the chain.

The field is smooth and knows no chemistry; how far it stretches what should stay as it is, is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

_LONGEST_BOND_ANGSTROMS = 1.95  # of heavy atoms: sulphur to carbon is 1.8, to sulphur 2.05
_NEIGHBOURING_ALPHA_ANGSTROMS = (2.7, 4.2)  # cis and trans


@dataclass(frozen=True)
class Geometry:
    """Pairs of atoms whose distances should stay.

    Attributes
    ----------
    bonds, alphas : (b, 2), (c, 2)
        Atoms, from 0: bonded ones, and alpha carbons of neighbouring residues.
    names
        Of the atoms, as people know them.
    """

    bonds: NDArray[np.int64]
    alphas: NDArray[np.int64]
    names: Sequence[str]

    @classmethod
    def of(cls, positions: Tensor, names: Sequence[str], is_alpha: NDArray[np.bool_]) -> Geometry:
        """From the positions (m, 3) A of atoms, which are alpha carbons, in the order of the chain, and their names."""
        places = positions.double().numpy()
        bonds = cKDTree(places).query_pairs(_LONGEST_BOND_ANGSTROMS, output_type="ndarray")
        alphas = np.flatnonzero(is_alpha)
        pairs = np.column_stack((alphas[:-1], alphas[1:]))
        apart = np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1)
        low, high = _NEIGHBOURING_ALPHA_ANGSTROMS
        return cls(np.asarray(bonds, dtype=np.int64), pairs[(apart > low) & (apart < high)], names)

    def sentences(self, before: Tensor, states: Sequence[Tensor]) -> list[str]:
        """What has changed from positions (m, 3) A to those of states, in words; nothing of pairs that are not there."""
        found = []
        for what, pairs in (("bonds", self.bonds), ("distances of neighbouring alpha carbons", self.alphas)):
            if not len(pairs):
                continue
            start = _lengths(before, pairs)
            change = np.stack([_lengths(state, pairs) - start for state in states])  # (states, pairs)
            state, pair = np.unravel_index(int(np.abs(change).argmax()), change.shape)
            first, second = (self.names[atom] for atom in pairs[pair])
            where = "" if len(states) == 1 else f" in state {state + 1}"
            found.append(
                f"{len(pairs)} {what} change by {np.sqrt((change**2).mean()):.3f} A rms, most{where} by "
                f"{change[state, pair]:+.2f} A, from {first} to {second}."
            )
        return found


def _lengths(positions: Tensor, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    places = positions.double().numpy()
    return np.asarray(np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1))
