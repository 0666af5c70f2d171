"""What a deformation does to the geometry of an atomic model: bonds, and the distances of alpha carbons along the chain.

The field is smooth and knows no chemistry; how far it stretches what should stay as it is, is told. Bonds and angles can be
given back their lengths by the smallest moves that do so.

Source: Ryckaert, Ciccotti and Berendsen 1977 for moves along the constrained bonds; Newton's method on all of them at once, as
Ciccotti and Ryckaert 1986 (M-SHAKE).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, eye_array, triu
from scipy.sparse.linalg import spsolve
from scipy.spatial import cKDTree
from torch import Tensor

from relion_jobs.contract.errors import UserError

_LONGEST_BOND_ANGSTROMS = 1.95  # of heavy atoms: sulphur to carbon is 1.8, to sulphur 2.05
# Bonds differ by no more where they are kept, and a state in which one differs by more than the second is refused.
KEPT_ANGSTROMS, MOST_ANGSTROMS = 0.01, 0.02
_NEWTON_STEPS, _DAMPING = 30, 1e-4  # rings give more constraints than there are freedoms
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

    @property
    def kept_pairs(self) -> NDArray[np.int64]:
        """(k, 2) pairs whose distances hold bonds and angles: bonded atoms, and those with a bonded neighbour in common.

        Of a model without bonds, such as one of alpha carbons, neighbouring alpha carbons.
        """
        if not len(self.bonds):
            return self.alphas
        ones = np.ones(len(self.bonds))
        bonded = coo_array((ones, self.bonds.T), shape=(len(self.names),) * 2).tocsr()
        bonded = bonded + bonded.T
        near = triu(bonded + bonded @ bonded, k=1).tocoo()
        return np.column_stack((near.row, near.col)).astype(np.int64)

    def kept(self, before: Tensor, state: Tensor) -> Tensor:
        """Positions (m, 3) A close to those of a state, at which bonds and angles are as they were before, (m, 3) A.

        Raises
        ------
        UserError
            The state is so torn that they cannot be kept to `MOST_ANGSTROMS`.
        """
        pairs = self.kept_pairs
        if not len(pairs):
            return state
        wanted, places = _lengths(before, pairs), state.double().numpy().copy()
        rows = np.repeat(np.arange(len(pairs)), 6)
        columns = (3 * pairs[:, :, None] + np.arange(3)).reshape(len(pairs), 6).ravel()
        for _ in range(_NEWTON_STEPS):
            apart = places[pairs[:, 0]] - places[pairs[:, 1]]
            lengths = np.linalg.norm(apart, axis=1)
            if np.abs(lengths - wanted).max() < KEPT_ANGSTROMS:
                break
            along = apart / np.maximum(lengths, 1e-6)[:, None]
            slopes = coo_array((np.hstack((along, -along)).ravel(), (rows, columns)), shape=(len(pairs), places.size)).tocsr()
            normal = (slopes @ slopes.T + _DAMPING * eye_array(len(pairs))).tocsc()
            places -= (slopes.T @ spsolve(normal, lengths - wanted)).reshape(-1, 3)
        self._refuse_torn(_lengths(torch.from_numpy(places), pairs) - wanted)
        return torch.from_numpy(places).to(state)

    def _refuse_torn(self, off: NDArray[np.float64]) -> None:
        """Refuse changes (k,) A of the kept pairs among which one is too large."""
        worst = int(np.abs(np.nan_to_num(off, nan=np.inf)).argmax())
        if np.abs(off[worst]) <= MOST_ANGSTROMS:
            return
        first, second = (self.names[atom] for atom in self.kept_pairs[worst])
        raise UserError(
            f"The deformation tears the model so far that bonds and angles cannot be kept: {first} to {second} stays off by "
            f"{abs(off[worst]):.2f} A; leave out --keep-geometry to see where, and train with a higher reg_factor."
        )

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
