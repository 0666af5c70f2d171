"""What the page holds of how many particles are in which state."""

from __future__ import annotations

from typing import Any

import numpy as np

from jobtypes.dynamight.visualization.landscape.figures import CAVEAT
from jobtypes.dynamight.visualization.landscape.overview import Overview
from jobtypes.dynamight.visualization.landscape.populations import Landscape
from jobtypes.dynamight.visualization.page.packing import pack

_STEPS = 1000  # of a density, up to its largest


def populations_of(overview: Overview) -> dict[str, Any]:
    """Densities along main motions with errors, their plane, and the stable states."""
    planes = [one for one in overview.landscapes if len(one.motions) == 2]
    return {
        "lines": [_line(one) for one in overview.landscapes if len(one.motions) == 1],
        "plane": _plane(planes[0]) if planes else None,
        "states": [
            {"place": state.place, "share": state.share, "error": state.share_error, "by_half": state.by_half}
            for state in overview.states
        ],
        "sentence": overview.sentence().removeprefix("Populations: ").replace("+-", "±").replace(" A ", " Å "),
        "caveat": CAVEAT,
    }


def _line(one: Landscape) -> dict[str, Any]:
    (middles,) = one.grid.middles
    plain = np.mean([population.plain for population in one.populations.values()], axis=0)
    step = float(max(one.mean.max(), plain.max())) / _STEPS
    return {
        "motion": one.motions[0],
        "places": middles.tolist(),
        "mean": pack(one.mean, step=step),
        "error": pack(one.error, step=step),
        "halves": [pack(one.populations[half].density, step=step) for half in (1, 2)],
        "plain": pack(plain, step=step),
        "energy": pack(np.nan_to_num(one.energy_kt, nan=-1.0), step=0.01),
    }


def _plane(one: Landscape) -> dict[str, Any]:
    step = float(one.mean.max()) / _STEPS
    return {"ranges": [[edges[0], edges[-1]] for edges in one.grid.edges], "counts": pack(one.mean, step=step)}
