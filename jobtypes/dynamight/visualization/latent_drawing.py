"""The latent space drawn on matplotlib axes, dark for the window or light for paper, with few particles or half a million."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jobtypes.dynamight.colours import DENSITY_COLOURS, DISPLACEMENT_COLOURS, DISPLACEMENT_COLOURS_ON_DARK, STATE_COLOUR
from jobtypes.dynamight.figures import new_figure, save_figure
from jobtypes.dynamight.visualization.colourings import Colouring
from jobtypes.dynamight.visualization.reductions import Reduction

_MOST_DOTS = 20_000  # beyond it particles are counted in cells
_CELLS = 180


@dataclass(frozen=True)
class Look:
    """Colours of a drawing.

    Attributes
    ----------
    background, foreground
        Of the figure.
    missing
        Particles without a value.
    amounts, densities
        Colour maps.
    mark
        Of the particle with the least motion.
    """

    background: str
    foreground: str
    missing: str
    amounts: Colormap
    densities: Colormap
    mark: str


DARK = Look("#262930", "#d5d7dc", "#4a4f5c", DISPLACEMENT_COLOURS_ON_DARK, colormaps[DENSITY_COLOURS], "#7fe3ff")
LIGHT = Look("white", "black", "0.85", DISPLACEMENT_COLOURS, colormaps[DENSITY_COLOURS], STATE_COLOUR)


def limits_of(points: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Ends of the axes: the central 99.8 % of the points (P, 2) with a margin, never of no width."""
    low, high = np.percentile(points, (0.1, 99.9), axis=0)
    margin = np.maximum(0.08 * (high - low), 1e-3)
    return float(low[0] - margin[0]), float(high[0] + margin[0]), float(low[1] - margin[1]), float(high[1] + margin[1])


def draw_latent_space(
    figure: Figure, axes: Axes, reduction: Reduction, colouring: Colouring, *, least_moved: int, look: Look = DARK
) -> None:
    """Draw the particles, a colour bar with the unit, and a cross at the particle with the least motion.

    Parameters
    ----------
    figure, axes
        Where to.
    reduction
        The particles in two dimensions.
    colouring
        Of the particles.
    least_moved
        Index of the particle with the cross.
    look
        `DARK` or `LIGHT`.
    """
    left, right, bottom, top = limits_of(reduction.points)
    axes.set(xlim=(left, right), ylim=(bottom, top), xlabel=reduction.labels[0], ylabel=reduction.labels[1])
    draw = _cells if len(reduction.points) > _MOST_DOTS else _dots
    shown = draw(axes, reduction.points, colouring, look)
    if shown is None:
        axes.set_title(colouring.label, color=look.foreground, fontsize=8.5, loc="right", pad=4)
    else:
        ticks = np.unique(colouring.values) if colouring.is_category and colouring.values is not None else None
        bar = figure.colorbar(shown, ax=axes, pad=0.02, aspect=28, ticks=ticks)
        bar.set_label(colouring.label, color=look.foreground)
        bar.ax.tick_params(colors=look.foreground, which="both")
        bar.outline.set_edgecolor(look.foreground)
    axes.plot(*reduction.points[least_moved], marker="+", ms=12, mew=2, color=look.mark, ls="none", zorder=4)
    figure.set_facecolor(look.background)
    axes.set_facecolor(look.background)
    axes.tick_params(colors=look.foreground)
    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set_color(look.foreground)
    for spine in axes.spines.values():
        spine.set_edgecolor(look.foreground)


def save_latent_space(path: Path, reduction: Reduction, colouring: Colouring, *, least_moved: int, half: int) -> Path:
    """Write the drawing as a figure on white, which the job's logbook takes in."""
    figure, axes = new_figure(width=5.0, height=4.0)
    draw_latent_space(figure, axes[0, 0], reduction, colouring, least_moved=least_moved, look=LIGHT)
    return save_figure(
        figure,
        path,
        title=f"Latent space of half {half}: {colouring.name}",
        caption=f"Particles by {reduction.labels[0]} and {reduction.labels[1]}. Colour: {colouring.label}. The cross marks the "
        "particle with the least motion.",
    )


def _dots(axes: Axes, points: NDArray[np.float64], colouring: Colouring, look: Look) -> ScalarMappable | None:
    size = float(np.clip(12_000 / len(points), 1.5, 16))
    x, y = points.T
    if colouring.colours is not None:
        axes.scatter(x, y, c=colouring.colours, s=size, linewidths=0)
        return None
    values = _values(colouring)
    known = np.isfinite(values)
    axes.scatter(x[~known], y[~known], color=look.missing, s=size, linewidths=0)
    order = np.flatnonzero(known)[np.argsort(-values[known] if colouring.is_share else values[known], kind="stable")]
    colours, norm = _scale(colouring, look)
    return axes.scatter(x[order], y[order], c=values[order], s=size, linewidths=0, cmap=colours, norm=norm)


def _cells(axes: Axes, points: NDArray[np.float64], colouring: Colouring, look: Look) -> ScalarMappable | None:
    """Picture of the mean value or colour of the particles in each cell; empty cells are clear."""
    left, right, bottom, top = limits_of(points)
    place = (points - (left, bottom)) / (right - left, top - bottom) * _CELLS
    inside = ((place >= 0) & (place < _CELLS)).all(1)
    column, row = place[inside].astype(np.int64).T
    cell = row * _CELLS + column

    def total(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(cell, weights, _CELLS**2), np.float64).reshape(_CELLS, _CELLS)

    def show(picture: NDArray[np.float64], colours: Colormap | None = None, norm: Normalize | None = None) -> ScalarMappable:
        extent = (left, right, bottom, top)
        return axes.imshow(picture, colours, norm, origin="lower", extent=extent, aspect="auto", interpolation="nearest")

    if colouring.colours is not None:
        counts = total(np.ones(len(cell)))
        sums = [total(channel) for channel in colouring.colours[inside].T]
        picture = np.dstack([*(channel / np.maximum(counts, 1) for channel in sums), (counts > 0).astype(float)])
        show(picture)
        return None
    values = _values(colouring)[inside]
    known = np.isfinite(values)
    counts = total(known.astype(float))
    mean = total(np.where(known, values, 0)) / np.maximum(counts, 1)
    if colouring.is_category:
        mean = np.round(mean)
    picture = np.ma.masked_where(counts == 0, mean)
    unknown = np.ma.masked_where((counts > 0) | (total((~known).astype(float)) == 0), np.ones_like(mean))
    show(unknown, ListedColormap([look.missing]))
    return show(picture, *_scale(colouring, look))


def _values(colouring: Colouring) -> NDArray[np.float64]:
    assert colouring.values is not None
    return colouring.values


def _scale(colouring: Colouring, look: Look) -> tuple[Colormap, Normalize]:
    """Colour map and norm of the values: from 0, or the lowest where that is below, to the 99.5th percentile of what is known."""
    values = _values(colouring)
    known = values[np.isfinite(values)]
    if colouring.is_category:
        count = int(known.max()) if len(known) else 1
        colours = [colormaps["Set2"](index % 8) for index in range(count)]
        return ListedColormap(colours), BoundaryNorm(np.arange(count + 1) + 0.5, count)
    if colouring.is_share:
        return look.amounts.reversed(), Normalize(0, 1)
    low, high = (min(0.0, float(known.min())), float(np.percentile(known, 99.5))) if len(known) else (0.0, 1.0)
    return look.densities if "density" in colouring.name else look.amounts, Normalize(low, max(high, low + 1e-6))
