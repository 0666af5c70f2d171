"""Populations along the first main motion as a small matplotlib canvas in Qt."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure

from jobtypes.dynamight.colours import HALF_COLOURS, on_dark
from jobtypes.dynamight.visualization.landscape.figures import HIGHEST_KT, energy_band
from jobtypes.dynamight.visualization.landscape.populations import Landscape
from jobtypes.dynamight.visualization.latent_drawing import DARK

_HEIGHT, _LETTERS = 108, 7.5  # pixels, points


class PopulationsCanvas(FigureCanvasQTAgg):
    """Left the density of both half sets, right the energy; with bands of their errors."""

    def __init__(self) -> None:
        super().__init__(Figure(figsize=(5, 1.3), layout="constrained"))  # type: ignore[no-untyped-call] # as all of matplotlib's canvas
        self.figure.set_facecolor(DARK.background)
        self.setFixedHeight(_HEIGHT)

    def forget(self) -> None:
        """Show nothing."""
        self.figure.clear()
        self.setToolTip("")
        self.draw()  # type: ignore[no-untyped-call] # as all of matplotlib's canvas

    def show_landscape(self, one: Landscape) -> None:
        """Draw densities and energies along one main motion."""
        self.figure.clear()
        left, right = self.figure.subplots(1, 2)
        (middles,) = one.grid.middles
        left.fill_between(middles, np.maximum(one.mean - one.error, 0), one.mean + one.error, color=DARK.missing, lw=0)
        for half, population in one.populations.items():
            left.plot(middles, population.density, color=on_dark(HALF_COLOURS[half]), lw=1.2)
        left.set(ylim=(0, None), ylabel="share per Å")
        right.fill_between(middles, *energy_band(one), color=DARK.missing, lw=0)
        right.plot(middles, one.energy_kt, color=DARK.foreground, lw=1.2)
        right.set(ylim=(-0.3, HIGHEST_KT), ylabel="kT")
        for axes in (left, right):
            _darken(axes)
            axes.set_xlabel(f"main motion {one.motions[0] + 1} (Å)", fontsize=_LETTERS, color=DARK.foreground)
        self.draw()  # type: ignore[no-untyped-call] # as all of matplotlib's canvas


def _darken(axes: Axes) -> None:
    axes.set_facecolor(DARK.background)
    axes.tick_params(colors=DARK.foreground, labelsize=_LETTERS)
    axes.yaxis.label.set(color=DARK.foreground, fontsize=_LETTERS)
    for spine in axes.spines.values():
        spine.set_edgecolor(DARK.foreground)
