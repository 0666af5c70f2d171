"""Figures of a learned motion, drawn from saved numbers: by the training at its end, and by the visualization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from jobtypes.dynamight.colours import DENSITY_COLOURS, DISPLACEMENT_COLOURS, HALF_COLOURS, STATE_COLOUR
from jobtypes.dynamight.figures import label_panels, new_figure, save_figure
from jobtypes.dynamight.model.quality import LEAST_QUALITY

Row = Mapping[str, float]


@dataclass(frozen=True)
class PartDrawing:
    """A part of a half set's molecule that some particles lack.

    Attributes
    ----------
    half
        1 or 2.
    positions : (n, 3) A
        All Gaussians.
    members : (n,)
        Which of them are the part.
    centre : (3,) A
        Of the part.
    share_of_density
        That the part has.
    presence : (P,)
        Probability for each particle that it has the part.
    """

    half: int
    positions: NDArray[np.float64]
    members: NDArray[np.bool_]
    centre: NDArray[np.float64]
    share_of_density: float
    presence: NDArray[np.float64]


def draw_history(history: Sequence[Row], path: Path) -> Path:
    """Objective and held-out likelihood at the final resolution limit, learned motion and that limit over the epochs.

    Parameters
    ----------
    history
        Rows of the training's history, with half, epoch (from 0), loss, held_out, rms_motion_angstroms and
        resolution_angstroms.
    path
        PNG to write.
    """
    figure, axes = new_figure(2, 2, width=7.2, height=4.6)
    loss, held_out, motion, limit = axes.flat
    last = history[-1].get("resolution_angstroms")
    for half, colour in HALF_COLOURS.items():
        rows = [row for row in history if row["half"] == half]
        final = [row for row in rows if row.get("resolution_angstroms") == last]
        panels = ((loss, "loss", final), (held_out, "held_out", final))
        for axis, key, shown in (*panels, (motion, "rms_motion_angstroms", rows), (limit, "resolution_angstroms", rows)):
            values = [row.get(key, np.nan) for row in shown]
            axis.plot(
                [row["epoch"] + 1 for row in shown],
                values,
                color=colour,
                label=f"half {half}",
                marker="." if len(shown) < 4 else "",
            )
    loss.set(xlabel="epoch", ylabel="objective per particle")
    held_out.set(xlabel="epoch", ylabel="−log likelihood, held out")
    motion.set(xlabel="epoch", ylabel="rms displacement (Å)", ylim=(0, None))
    limit.set(xlabel="epoch", ylabel="resolution limit (Å)", ylim=(0, None))
    for axis in (loss, held_out):
        axis.ticklabel_format(axis="y", useOffset=False)
    loss.legend()
    label_panels(axes.flat)
    return save_figure(
        figure,
        path,
        title="Forward deformations: training",
        caption="a, Objective of the training, which may grow while the weight of its prior on the latents is being raised, and "
        "b, minus the log likelihood of particles that train nothing (lower is better), both per particle, from the epoch on "
        "that uses all resolution. c, Rms displacement of the Gaussians over all particles, relative to the consensus. d, "
        "Resolution limit of each epoch.",
    )


def draw_latents(
    points: Mapping[int, NDArray[np.float64]],
    displacements: Mapping[int, NDArray[np.float64]],
    path: Path,
    *,
    axis_labels: Mapping[int, tuple[str, str]],
    title: str = "Latent space",
    marked: Mapping[int, NDArray[np.float64]] | None = None,
) -> Path:
    """Density of the particles in two dimensions, and their displacement, for each half set.

    Parameters
    ----------
    points
        Half -> (P, 2) positions.
    displacements
        Half -> (P,) rms displacement of each particle in A; the smallest is marked with a cross.
    path
        PNG to write.
    axis_labels
        Half -> what the two dimensions are.
    title
        Of the figure.
    marked
        Half -> (C, 2) states to number, as the centres of clusters.
    """
    rows = len(points)
    figure, axes = new_figure(rows, 2, width=7.2, height=2.9 * rows)
    for row, half in enumerate(points):
        xy, moved = points[half], displacements[half]
        limits = _limits(xy)
        figure.colorbar(_density(axes[row, 0], xy, limits), ax=axes[row, 0], label="particles per cell")
        figure.colorbar(_dots(axes[row, 1], xy, moved), ax=axes[row, 1], label="rms displacement (Å)")
        least = xy[int(np.argmin(moved))]
        for column, axis in enumerate(axes[row]):
            axis.plot(
                *least, marker="+", ms=11, mew=1.8, color=STATE_COLOUR if column == 0 else "k", ls="none", label="least motion"
            )
            axis.set(xlabel=axis_labels[half][0], ylabel=axis_labels[half][1], xlim=limits[:2], ylim=limits[2:])
            axis.set_title(f"half {half}", fontsize=9)
            if marked is not None and half in marked:
                _number(axis, marked[half])
        axes[row, 0].legend(loc="lower right", bbox_to_anchor=(1.02, 0.99), handletextpad=0.1, borderpad=0.1)
    label_panels(axes.flat)
    numbered = " Numbers: the particle in the middle of each cluster, whose state is written as a map." if marked else ""
    return save_figure(
        figure,
        path,
        title=title,
        caption="Particles of each half set in two dimensions of the deformation. Left: their density on a logarithmic scale. "
        "Right: rms displacement of the Gaussians in each particle, in Å, relative to the consensus. The cross marks the "
        f"particle with the least motion.{numbered}",
    )


def _density(axis: Axes, xy: NDArray[np.float64], limits: tuple[float, float, float, float]) -> PolyCollection:
    """Particles per cell, on a logarithmic scale."""
    bins = int(np.clip(np.sqrt(len(xy)) * 1.2, 18, 70))
    return axis.hexbin(
        xy[:, 0], xy[:, 1], gridsize=bins, bins="log", mincnt=1, cmap=DENSITY_COLOURS, extent=limits, linewidths=0.1
    )


def _dots(axis: Axes, xy: NDArray[np.float64], moved: NDArray[np.float64]) -> PathCollection:
    """Every particle coloured by its displacement, the most mobile on top."""
    order = np.argsort(moved)
    size = float(np.clip(6000 / len(xy), 0.3, 8))
    return axis.scatter(
        xy[order, 0], xy[order, 1], c=moved[order], s=size, cmap=DISPLACEMENT_COLOURS, vmin=0, linewidths=0, rasterized=True
    )


def _limits(xy: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Ends of the axes: the central 99.8 % of the points with a margin, never a width of zero."""
    low, high = np.percentile(xy, (0.1, 99.9), axis=0)
    margin = np.maximum(0.08 * (high - low), 1e-3)
    return float(low[0] - margin[0]), float(high[0] + margin[0]), float(low[1] - margin[1]), float(high[1] + margin[1])


def _number(axis: Axes, xy: NDArray[np.float64]) -> None:
    box = {"boxstyle": "circle,pad=0.18", "fc": "white", "ec": "0.2", "lw": 0.7, "alpha": 0.9}
    for number, (x, y) in enumerate(xy, start=1):
        axis.text(x, y, str(number), ha="center", va="center", fontsize=7, bbox=box, clip_on=True)


def draw_gaussians(
    positions: Mapping[int, NDArray[np.float64]],
    rms: Mapping[int, NDArray[np.float64]],
    path: Path,
    *,
    centre: str = "box centre",
) -> Path:
    """Gaussians coloured by rms displacement, in three orthogonal projections, for each half set.

    Parameters
    ----------
    positions
        Half -> (n, 3) A, x y z.
    rms
        Half -> (n,) A, over the particles of the half.
    path
        PNG to write.
    centre
        What the axes count from.
    """
    rows = len(positions)
    figure, axes = new_figure(rows, 3, width=7.2, height=2.45 * rows)
    largest = max(float(np.percentile(values, 99.5)) for values in rms.values())
    scale = Normalize(0, max(largest, 0.1))
    reach = 1.08 * max(float(np.abs(xyz).max()) for xyz in positions.values())
    for row, half in enumerate(positions):
        xyz, values = positions[half], rms[half]
        for axis, (right, up, depth) in zip(axes[row], ((0, 1, 2), (0, 2, 1), (1, 2, 0)), strict=True):
            order = np.argsort(xyz[:, depth])
            size = float(np.clip(9000 / len(xyz), 0.5, 9))
            axis.scatter(
                xyz[order, right], xyz[order, up], c=values[order], s=size, cmap=DISPLACEMENT_COLOURS, norm=scale,
                linewidths=0.1, edgecolors="0.35", rasterized=True,
            )  # fmt: skip
            names = "xyz"
            axis.set(
                xlabel=f"{names[right]} (Å)",
                ylabel=f"{names[up]} (Å)",
                xlim=(-reach, reach),
                ylim=(-reach, reach),
                aspect="equal",
            )
        axes[row, 1].set_title(f"half {half}", fontsize=9)
    bar = ScalarMappable(scale, DISPLACEMENT_COLOURS)
    figure.colorbar(bar, ax=axes, label="rms displacement (Å)", shrink=0.75, aspect=25, pad=0.015, extend="max")
    label_panels(axes[:, 0])
    return save_figure(
        figure,
        path,
        title="Gaussians and their motion",
        caption="Gaussians of the consensus, seen along three axes, coloured by their rms displacement over the particles of the "
        f"half set about their mean position, in Å. Positions are counted from the {centre}.",
    )


def draw_displacements(rms: Mapping[int, NDArray[np.float64]], path: Path) -> Path:
    """Histogram of the particles' rms displacement.

    Parameters
    ----------
    rms
        Half -> (P,) rms displacement of each particle over its Gaussians, A.
    path
        PNG to write.
    """
    figure, axes = new_figure(1, 1, width=4.2, height=2.7)
    axis = axes[0, 0]
    top = max(float(np.percentile(values, 99.8)) for values in rms.values())
    bins = np.linspace(0, max(top, 0.1), 32)
    for half, values in rms.items():
        label = f"half {half}: median {np.median(values):.2g} Å"
        _draw_histogram(axis, values, bins, half, label)
    axis.set(xlabel="rms displacement of a particle (Å)", ylabel="particles", xlim=(0, bins[-1]))
    axis.set_ylim(0, 1.25 * axis.get_ylim()[1])
    axis.legend()
    return save_figure(
        figure,
        path,
        title="Displacement per particle",
        caption="Rms displacement over the Gaussians of each particle, in Å, relative to the consensus of its half set.",
    )


def _draw_histogram(axis: Axes, values: NDArray[np.float64], bins: NDArray[np.float64], half: int, label: str) -> None:
    """One half set's histogram among others: filled lightly, so that all outlines are seen."""
    edges: list[float] = bins.tolist()
    axis.hist(values, edges, histtype="stepfilled", alpha=0.2, color=HALF_COLOURS[half])
    axis.hist(values, edges, histtype="step", lw=1.3, color=HALF_COLOURS[half], label=label)


def draw_quality(
    quality: Mapping[int, NDArray[np.float64]], scale: Mapping[int, NDArray[np.float64]], path: Path, *, n_bins: int = 40
) -> Path:
    """Histograms of the particles' quality, and of the scales of those that are the molecule.

    Parameters
    ----------
    quality : half -> (P,)
        Probability that each image is the molecule at its pose.
    scale : half -> (p,)
        Strength of the signal of those that are.
    path
        PNG to write.
    n_bins
        Bars of each histogram.
    """
    figure, axes = new_figure(1, 2, width=7.2, height=2.9)
    of_quality, of_scale = axes[0]
    widest = max(2.0, *(float(np.percentile(values, 99.8)) for values in scale.values()))
    for half in quality:
        junk = np.mean(quality[half] <= LEAST_QUALITY)
        label = f"half {half}: {100 * junk:.1f} % below {LEAST_QUALITY:g}"
        for axis, values, end, words in (
            (of_quality, quality[half], 1.0, label),
            (of_scale, scale[half], widest, f"half {half}: spread {np.std(scale[half]):.2f}"),
        ):
            bins = np.linspace(0, end, n_bins + 1)
            _draw_histogram(axis, values, bins, half, words)
    # most particles are near 1, those near 0 are to be seen too
    of_quality.set(xlabel="quality", ylabel="particles", xlim=(0, 1), yscale="log")
    of_quality.legend(loc="upper center")
    of_scale.set(xlabel="scale of the signal", ylabel="particles", xlim=(0, widest))
    of_scale.set_ylim(0, 1.35 * of_scale.get_ylim()[1])
    of_scale.legend()
    return save_figure(
        figure,
        path,
        title="Quality and scale of the particles",
        caption="Left: probability that a particle is the molecule at its pose, and not something else or the molecule in a "
        "wrong one; the counts are on a logarithmic axis. Right: strength of the signal, 1 on average, of those that rather are.",
    )


def draw_occupancy(parts: Mapping[int, Sequence[PartDrawing]], path: Path, *, n_bins: int = 40) -> Path:
    """Where each part lies that some particles lack, and how many have it.

    Parameters
    ----------
    parts
        Number of the part -> the part in each half set where it was found.
    path
        PNG to write.
    n_bins
        Bars of each histogram.
    """
    figure, axes = new_figure(len(parts), 3, width=7.2, height=2.45 * len(parts))
    bins = np.linspace(0, 1, n_bins + 1)
    for row, number in zip(axes, sorted(parts), strict=True):
        first = parts[number][0]
        reach = 1.08 * float(np.abs(first.positions).max())
        for axis, (right, up) in zip(row, ((0, 1), (0, 2)), strict=False):
            for chosen, colour in ((~first.members, "0.8"), (first.members, STATE_COLOUR)):
                axis.scatter(*first.positions[chosen][:, (right, up)].T, s=1.5, c=colour, linewidths=0, rasterized=True)
            axis.set(
                xlabel=f"{'xyz'[right]} (Å)",
                ylabel=f"{'xyz'[up]} (Å)",
                xlim=(-reach, reach),
                ylim=(-reach, reach),
                aspect="equal",
            )
        row[0].set_title(f"part {number} (half {first.half})", fontsize=9)
        for part in parts[number]:
            label = f"half {part.half}: missing in {100 * (1 - part.presence.mean()):.1f} %"
            _draw_histogram(row[2], part.presence, bins, part.half, label)
        row[2].set(xlabel="probability that it is there", ylabel="particles", xlim=(0, 1), yscale="log")
        row[2].set_ylim(None, 8 * row[2].get_ylim()[1])
        row[2].legend(loc="upper center")
    label_panels(axes[:, 0])
    return save_figure(
        figure,
        path,
        title="Parts that some particles lack",
        caption="Left: Gaussians of the part (red) and all others. Right: probability that a particle has it, for those "
        "that are the molecule; the counts are on a logarithmic axis.",
    )
