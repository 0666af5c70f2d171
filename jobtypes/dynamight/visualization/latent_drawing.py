"""The latent space drawn on matplotlib axes, dark for the window or light for paper; as fast with 500,000 particles as with few."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jobtypes.dynamight.figures import DISPLACEMENT_COLOURS, STATE_COLOUR, new_figure, save_figure
from jobtypes.dynamight.visualization.colourings import Colouring
from jobtypes.dynamight.visualization.latent_plane import LatentPlane

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
    amounts, counts
        Colour maps.
    mark
        Of the particle with the least motion.
    """

    background: str
    foreground: str
    missing: str
    amounts: Colormap
    counts: str
    mark: str


# starts well above the dark background, so that particles at rest are seen
_ON_DARK = LinearSegmentedColormap.from_list("displacement on dark", ("#5c6478", "#8f7fa8", "#e2603a", "#f5c27a", "#fff6dc"))
DARK = Look("#262930", "#d5d7dc", "#4a4f5c", _ON_DARK, "viridis", "#7fe3ff")
LIGHT = Look("white", "black", "0.85", DISPLACEMENT_COLOURS, "viridis", STATE_COLOUR)


def limits_of(points: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Ends of the axes: the central 99.8 % of the points (P, 2) with a margin, never of no width."""
    low, high = np.percentile(points, (0.1, 99.9), axis=0)
    margin = np.maximum(0.08 * (high - low), 1e-3)
    return float(low[0] - margin[0]), float(high[0] + margin[0]), float(low[1] - margin[1]), float(high[1] + margin[1])


def draw_plane(figure: Figure, axes: Axes, plane: LatentPlane, colouring: Colouring, look: Look) -> None:
    """Draw the particles, a colour bar with the unit, and a cross at the particle with the least motion."""
    left, right, bottom, top = limits_of(plane.points)
    axes.set(xlim=(left, right), ylim=(bottom, top), xlabel=plane.labels[0], ylabel=plane.labels[1])
    shown = _cells(axes, plane.points, colouring, look) if _in_cells(plane, colouring) else _dots(axes, plane, colouring, look)
    if shown is None:
        axes.set_title(colouring.label, color=look.foreground, fontsize=8.5, loc="right", pad=4)
    else:
        bar = figure.colorbar(shown, ax=axes, pad=0.02, aspect=28)
        bar.set_label(colouring.label, color=look.foreground)
        bar.ax.tick_params(colors=look.foreground, which="both")
        bar.outline.set_edgecolor(look.foreground)  # type: ignore[operator]
    least = plane.points[plane.session.least_moved]
    axes.plot(*least, marker="+", ms=11, mew=1.8, color=look.mark, ls="none", zorder=4)
    figure.set_facecolor(look.background)
    axes.set_facecolor(look.background)
    axes.tick_params(colors=look.foreground)
    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set_color(look.foreground)
    for spine in axes.spines.values():
        spine.set_edgecolor(look.foreground)


def save_plane(path: Path, plane: LatentPlane, colouring: Colouring) -> Path:
    """Write the drawing as a figure on white, which the job's logbook takes in."""
    figure, axes = new_figure(width=5.0, height=4.0)
    draw_plane(figure, axes[0, 0], plane, colouring, LIGHT)
    return save_figure(
        figure,
        path,
        title=f"Latent space of half {plane.session.half}",
        caption=f"Particles by {plane.labels[0]} and {plane.labels[1]}. Colour: {colouring.label}. The cross marks the particle "
        "with the least motion.",
    )


def _in_cells(plane: LatentPlane, colouring: Colouring) -> bool:
    return len(plane.points) > _MOST_DOTS or colouring.kind.endswith("counts")


def _dots(axes: Axes, plane: LatentPlane, colouring: Colouring, look: Look) -> ScalarMappable | None:
    points, values = plane.points, colouring.values
    size = float(np.clip(12_000 / len(points), 1.5, 16))
    if colouring.kind == "colour":
        axes.scatter(*points.T, c=values, s=size, linewidths=0)
        return None
    known = np.isfinite(values)
    axes.scatter(*points[~known].T, color=look.missing, s=size, linewidths=0)
    order = np.flatnonzero(known)[np.argsort(values[known])]
    scale = _scale(values)
    return axes.scatter(*points[order].T, c=values[order], s=size, linewidths=0, cmap=look.amounts, norm=scale)


def _cells(axes: Axes, points: NDArray[np.float64], colouring: Colouring, look: Look) -> ScalarMappable | None:
    """Picture of the number, mean value or mean colour of the particles in each cell; empty cells are clear."""
    left, right, bottom, top = limits_of(points)
    cells = int(np.clip(1.2 * np.sqrt(len(points)), 24, _CELLS))
    place = (points - (left, bottom)) / (right - left, top - bottom) * cells
    inside = ((place >= 0) & (place < cells)).all(1)
    column, row = place[inside].astype(np.int64).T
    cell = row * cells + column
    counts = np.bincount(cell, minlength=cells**2).reshape(cells, cells)
    place_of = {"origin": "lower", "extent": (left, right, bottom, top), "aspect": "auto", "interpolation": "nearest"}
    if colouring.kind.endswith("counts"):
        top_count = max(int(counts.max()), 2)
        scale = LogNorm(1, top_count) if colouring.kind == "log counts" else Normalize(0, top_count)
        return axes.imshow(np.ma.masked_equal(counts, 0), cmap=look.counts, norm=scale, **place_of)  # type: ignore[arg-type]
    values = colouring.values[inside]
    if colouring.kind == "colour":
        sums = [np.bincount(cell, values[:, channel], cells**2).reshape(cells, cells) for channel in range(3)]
        picture = np.dstack([*(total / np.maximum(counts, 1) for total in sums), (counts > 0).astype(float)])
        axes.imshow(picture, **place_of)  # type: ignore[arg-type]
        return None
    known = np.isfinite(values)
    known_counts = np.bincount(cell[known], minlength=cells**2).reshape(cells, cells)
    mean = np.bincount(cell[known], values[known], cells**2).reshape(cells, cells) / np.maximum(known_counts, 1)
    picture = np.ma.masked_where(known_counts == 0, mean)
    return axes.imshow(picture, cmap=look.amounts, norm=_scale(values), **place_of)  # type: ignore[arg-type]


def _scale(values: NDArray[np.float64]) -> Normalize:
    """Scale from 0 to the 99.5th percentile of what is known."""
    known = values[np.isfinite(values)]
    return Normalize(0, max(float(np.percentile(known, 99.5)), 1e-6) if len(known) else 1.0)
