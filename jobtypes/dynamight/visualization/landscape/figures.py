"""The landscape as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from numpy.typing import NDArray

from jobtypes.dynamight.colours import DENSITY_COLOURS, HALF_COLOURS, STATE_COLOUR
from jobtypes.dynamight.figures import label_panels, new_figure, save_figure
from jobtypes.dynamight.visualization.landscape.populations import Landscape
from jobtypes.dynamight.visualization.landscape.stable_states import StableState

HIGHEST_KT = 6.0  # that is told apart where energies lie under particles
CAVEAT = (
    "An energy in kT is minus the logarithm of the density: it is one of the molecules that were frozen, picked and kept, and "
    "freezing, the air-water interface and the choice of particles change how many there are of each."
)


def draw_landscape(
    landscapes: Sequence[Landscape],
    states: Sequence[StableState],
    path: Path,
    *,
    half: int,
    way: NDArray[np.float64] | None = None,
) -> Path:
    """Density and energy along each main motion, and the plane of two with the stable states.

    Parameters
    ----------
    landscapes
        Along single motions, and one along two if there is one.
    states
        Stable states, numbered from 1.
    path
        PNG to write.
    half
        Whose main motions these are.
    way : (F, 2) A
        States on a way that is drawn into the plane.
    """
    lines = [one for one in landscapes if len(one.motions) == 1]
    planes = [one for one in landscapes if len(one.motions) == 2]
    figure, axes = new_figure(2, max(len(lines), 1 + len(planes)), width=3.2 * max(len(lines), 1 + len(planes)), height=5.0)
    for axis in axes.flat:
        axis.set_axis_off()
    for column, one in enumerate(lines):
        axes[0, column].set_axis_on()
        _draw_line(axes[0, column], one)
    axes[1, 0].set_axis_on()
    _draw_energy(axes[1, 0], lines[0])
    for column, one in enumerate(planes, start=1):
        axes[1, column].set_axis_on()
        _draw_plane(axes[1, column], one, states, way)
    axes[0, 0].legend()
    label_panels(axis for axis in axes.flat if axis.axison)
    return save_figure(
        figure,
        path,
        title=f"Populations along the main motions of half {half}",
        caption="How many particles are in which state, the uncertainty of each particle's state taken out: densities of both "
        "half sets (lines) and the error of their mean (band: of the samples, or of what the half sets disagree about, whichever "
        "is larger); dashed, the posterior means counted as they are. Below, the energy along the first motion, and the plane of "
        f"two with the stable states. {CAVEAT}",
    )


def energy_band(one: Landscape) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(cells...) kT between which the energy is, by the error of the density."""
    share = one.error / np.maximum(one.mean, 1e-30)
    return one.energy_kt - np.log1p(share), one.energy_kt - np.log(np.maximum(1 - share, 1e-2))


def number_states(axis: Axes, places: NDArray[np.float64]) -> None:
    """Write the numbers of stable states, from 1, at places (S, 2)."""
    for number, (x, y) in enumerate(places, start=1):
        axis.text(x, y, str(number), color="white", ha="center", va="center", fontsize=8, zorder=5,
                  bbox={"boxstyle": "circle", "facecolor": STATE_COLOUR, "edgecolor": "white"})  # fmt: skip


def draw_energies(axis: Axes, one: Landscape) -> None:
    """Lay the energies under what is drawn in the plane of two main motions: bright at 0 kT, clear from `HIGHEST_KT` on."""
    brightness = 1 - np.nan_to_num(one.energy_kt, nan=HIGHEST_KT).clip(0, HIGHEST_KT).T / HIGHEST_KT
    colours = colormaps[DENSITY_COLOURS](brightness)
    colours[..., 3] = brightness
    first, second = one.grid.edges
    axis.pcolormesh(first, second, colours, zorder=0)


def _draw_line(axis: Axes, one: Landscape) -> None:
    (middles,) = one.grid.middles
    axis.fill_between(middles, np.maximum(one.mean - one.error, 0), one.mean + one.error, color="0.85", lw=0)
    for half, population in one.populations.items():
        axis.plot(middles, population.density, color=HALF_COLOURS[half], label=f"half {half}")
    plain = np.mean([population.plain for population in one.populations.values()], axis=0)
    axis.plot(middles, plain, color="0.5", lw=0.8, ls="--", label="not deconvolved")
    axis.set(xlabel=f"main motion {one.motions[0] + 1} (Å)", ylabel="particles per Å (share)", ylim=(0, None))


def _draw_energy(axis: Axes, one: Landscape) -> None:
    (middles,) = one.grid.middles
    axis.fill_between(middles, *energy_band(one), color="0.85", lw=0)
    axis.plot(middles, one.energy_kt, color="0.2")
    axis.set(
        xlabel=f"main motion {one.motions[0] + 1} (Å)", ylabel="energy (kT)", ylim=(-0.3, min(8, np.nanmax(one.energy_kt) + 1))
    )


def _draw_plane(axis: Axes, one: Landscape, states: Sequence[StableState], way: NDArray[np.float64] | None) -> None:
    first, second = one.grid.edges
    axis.pcolormesh(first, second, one.mean.T, cmap=DENSITY_COLOURS, rasterized=True)
    if way is not None:
        axis.plot(way[:, 0], way[:, 1], color="white", lw=1.2)
    number_states(axis, np.array([state.place for state in states]))
    axis.set(xlabel=f"main motion {one.motions[0] + 1} (Å)", ylabel=f"main motion {one.motions[1] + 1} (Å)")
