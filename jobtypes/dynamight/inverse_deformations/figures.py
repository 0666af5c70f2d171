"""Figures of the inverse deformations, made from saved numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jobtypes.dynamight.colours import HALF_COLOURS
from jobtypes.dynamight.figures import label_panels, new_figure, plain_log_ticks, save_figure
from jobtypes.dynamight.inverse_deformations.accuracy import Accuracy


def draw_training(history: dict[int, list[dict[str, float]]], path: Path) -> Path:
    """Loss and round-trip error over the epochs, of each half set."""
    figure, axes = new_figure(1, 2, height=2.8)
    left, right = axes[0]
    for half, rows in history.items():
        epochs = [row["epoch"] for row in rows]
        colour = HALF_COLOURS[half]
        left.plot(epochs, [row["loss"] for row in rows], color=colour, label=f"half {half}")
        right.plot(epochs, [row["median"] for row in rows], color=colour, label=f"half {half}, median")
        right.plot(epochs, [row["percentile_95"] for row in rows], color=colour, ls=":", label=f"half {half}, 95th percentile")
    right.axhline(0.2, color="0.6", lw=0.8, ls="--", zorder=0)
    left.set(xlabel="epoch", ylabel="training loss (Å)", yscale="log")
    right.set(xlabel="epoch", ylabel="round-trip error (Å)", yscale="log")
    plain_log_ticks(left.yaxis, right.yaxis)
    left.legend()
    right.legend()
    label_panels((left, right))
    return save_figure(
        figure,
        path,
        title="Inverse deformations: training",
        caption="a, Mean distance between consensus positions and the network's answer in each epoch (one pass over the "
        "particles of the half). b, Error of the round trip consensus, state, consensus at particles and Gaussians that took "
        "no part in the training; the dashed line is 0.2 Å.",
    )


def draw_round_trip(accuracy: dict[int, Accuracy], path: Path) -> Path:
    """Histogram of the round-trip error at the Gaussians, of the network alone and with a Newton step."""
    figure, axes = new_figure(1, 2, height=2.8)
    panels = (("network", "network alone", (-3, 1)), ("corrected", "with one Newton step", (-6, 1)))
    for axis, (name, words, decades) in zip(axes[0], panels, strict=True):
        bins = np.logspace(*decades, 60)
        for half, found in accuracy.items():
            errors = np.clip(found.errors[name].numpy(), bins[0], bins[-1])
            share = np.full(len(errors), 100 / len(errors))
            label = f"half {half}: median {found.gaussians[name].median:.1g} Å"
            axis.hist(errors, bins, histtype="stepfilled", alpha=0.2, color=HALF_COLOURS[half], weights=share)
            axis.hist(errors, bins, histtype="step", lw=1.2, color=HALF_COLOURS[half], weights=share, label=label)
        axis.axvline(0.2, color="0.6", lw=0.8, ls="--", zorder=0)
        axis.set(xscale="log", xlabel=f"round-trip error, {words} (Å)", ylabel="share of Gaussians (%)")
        axis.set_ylim(0, 1.35 * axis.get_ylim()[1])
        axis.legend(loc="upper left", handlelength=1.2)
    label_panels(axes[0])
    return save_figure(
        figure,
        path,
        title="Inverse deformations: round trip",
        caption="Distance between a Gaussian's consensus position and where the inverse takes its deformed position, for random "
        "particles and Gaussians: a, with the network alone; b, after one Newton step with the forward field. The dashed "
        "line is 0.2 Å.",
    )
