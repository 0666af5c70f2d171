"""The landscape as a STAR file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from jobtypes.common.small_tables import Pairs, write_small_tables
from jobtypes.dynamight.visualization.landscape.populations import Landscape
from jobtypes.dynamight.visualization.landscape.stable_states import StableState

_NO_ENERGY = 99.0  # kT, where hardly any particles are


def write_landscape(path: Path, landscapes: Sequence[Landscape], states: Sequence[StableState]) -> None:
    """Write densities and stable states, whole or not at all.

    Tables are ``data_motion1`` ... for each main motion, ``data_motions1and2`` for a plane, with the middle of each cell in A,
    the density of both half sets per A (A^2), its error, that of each half set, that of the posterior means as they are, and the
    energy in kT (99 where hardly any particles are); and ``data_stable_states``.
    """
    tables: dict[str, Pairs | pd.DataFrame] = {_name(one): _densities(one) for one in landscapes}
    tables["stable_states"] = pd.DataFrame(
        [
            {
                "state": number,
                **{f"motion{motion + 1}_A": value for motion, value in zip(_motions(landscapes), state.place, strict=False)},
                "share_percent": 100 * state.share,
                "share_error_percent": 100 * state.share_error,
                "half1_percent": 100 * state.by_half[1],
                "half2_percent": 100 * state.by_half[2],
                "prominence_kT": min(state.prominence_kt, _NO_ENERGY),
            }
            for number, state in enumerate(states, start=1)
        ]
    )
    write_small_tables(path, tables)


def _motions(landscapes: Sequence[Landscape]) -> tuple[int, ...]:
    return max((one.motions for one in landscapes), key=len)


def _name(landscape: Landscape) -> str:
    numbers = [str(motion + 1) for motion in landscape.motions]
    return f"motion{numbers[0]}" if len(numbers) == 1 else f"motions{'and'.join(numbers)}"


def _densities(landscape: Landscape) -> pd.DataFrame:
    points = landscape.grid.points().numpy()
    columns = {f"motion{motion + 1}_A": points[:, axis] for axis, motion in enumerate(landscape.motions)}
    columns |= {
        "density": landscape.mean.ravel(),
        "error": landscape.error.ravel(),
        "half1": landscape.populations[1].density.ravel(),
        "half2": landscape.populations[2].density.ravel(),
        "plain": np.mean([one.plain.ravel() for one in landscape.populations.values()], axis=0),
        "energy_kT": np.nan_to_num(landscape.energy_kt.ravel(), nan=_NO_ENERGY),
    }
    return pd.DataFrame(columns)
