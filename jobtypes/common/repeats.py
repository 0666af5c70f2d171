"""Particles that stand in a STAR file twice: the same image, seen the same way.

Copies of an image by symmetry expansion look at it from other sides, and are no repeats.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from jobtypes.common.rotations import euler_matrices

SAME_VIEW_DEGREES = 5.0  # another refinement of the same particles turns them by less, a symmetry by more


def find_repeats(
    copy_of: NDArray[np.int64],
    angles_degrees: NDArray[np.float64],
    origins_angstroms: NDArray[np.float64],
    *,
    box_angstroms: float,
) -> NDArray[np.bool_]:
    """Find particles that repeat one further up.

    Two rows of one image are the same particle if their poses are those of two refinements at most: turned by less than
    `SAME_VIEW_DEGREES`, and moved by less than such a turn moves the rim of the box.

    Parameters
    ----------
    copy_of : (n,)
        The same number for all rows of one image.
    angles_degrees : (n, 3)
        rot, tilt, psi.
    origins_angstroms : (n, 2) or (n, 3)
        Origins.
    box_angstroms
        Edge of the images.

    Returns
    -------
    (n,) bool
        False for the first of several.
    """
    repeats = np.zeros(len(copy_of), dtype=bool)
    several = np.flatnonzero(np.bincount(copy_of)[copy_of] > 1)
    rows = several[np.argsort(copy_of[several], kind="stable")]
    matrices = euler_matrices(torch.from_numpy(angles_degrees[rows])).flatten(1).numpy()
    trace = 1 + 2 * math.cos(math.radians(SAME_VIEW_DEGREES))
    distance = math.radians(SAME_VIEW_DEGREES) * box_angstroms / 2
    # every row with the one that stands k places before it among the rows of its image
    for k in range(1, int(np.bincount(copy_of).max(initial=0))):
        now, before = rows[k:], rows[:-k]
        same = copy_of[now] == copy_of[before]
        same &= np.einsum("ij,ij->i", matrices[k:], matrices[:-k]) > trace
        same &= np.linalg.norm(origins_angstroms[now] - origins_angstroms[before], axis=1) < distance
        repeats[now[same]] = True
    return repeats
