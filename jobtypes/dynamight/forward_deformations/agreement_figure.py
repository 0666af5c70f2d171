"""The figure of how particles agree with the map that they are given with, shell by shell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps

from jobtypes.common.agreement.findings import GroupCurve
from jobtypes.dynamight.colours import OUTSIDE_COLOUR
from jobtypes.dynamight.figures import new_figure, save_figure

MOST_NAMED = 10  # optics groups in the legend


def draw_agreement(curves: Sequence[GroupCurve], path: Path) -> Path:
    """Draw the correlation of images and projections of the map over the resolution, one curve for each optics group.

    Parameters
    ----------
    curves
        Of the groups.
    path
        PNG to write.
    """
    figure, axes = new_figure(width=7.2, height=3.2)
    (axis,) = axes.flat
    chance = 2 * np.max([curve.chance for curve in curves], axis=0)
    axis.fill_between(curves[0].frequencies_per_angstrom, -chance, chance, color=OUTSIDE_COLOUR, alpha=0.2, lw=0, label="chance")
    for number, curve in enumerate(curves):
        colour, label = colormaps["tab10"](number % 10), f"group {curve.name}" if number < MOST_NAMED else None
        axis.plot(curve.frequencies_per_angstrom, curve.given, color=colour, label=label)
        if not np.array_equal(curve.given, curve.best):
            best = f"{label}, as it fits best" if label else None
            axis.plot(curve.frequencies_per_angstrom, curve.best, color=colour, ls="--", label=best)
    axis.axhline(0, color=OUTSIDE_COLOUR, lw=0.8)
    axis.set(xlabel="frequency (1/Å)", ylabel="correlation with the map")
    axis.legend()
    return save_figure(
        figure,
        path,
        title="Forward deformations: whether poses, CTFs and map belong together",
        caption=(
            "Correlation of the images of a sample of particles with projections of the consensus map at their poses, with their "
            "CTFs, of each optics group. Where the map has signal it lies above what chance gives (grey, two standard "
            "deviations); it is low because of the noise in the images. Below zero the CTF or the contrast is wrong. "
            "Dashed: as the particles fit best, if that is not what the files say."
        ),
    )
