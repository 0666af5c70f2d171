"""Pictures of the maps of states: slices beside what the models draw, FSC curves, and how the width was chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from jobtypes.dynamight.colours import DEFORMED_COLOUR, RIGID_COLOUR, STATE_COLOUR
from jobtypes.dynamight.figures import new_figure, plain_log_ticks, save_figure
from jobtypes.dynamight.states.outputs import WrittenStateMaps

_MOST_STATES = 6  # of a figure
_AXES = ("z", "y", "x")


def draw_states(path: Path, states: Sequence[WrittenStateMaps]) -> Path:
    """The states beside each other: slices of the map, of the plain map, and of what the models draw."""
    shown = _some(states)
    axis, place = _most_telling_slice([state.drawn for state in shown])
    figure, axes = new_figure(4, len(shown), width=min(7.2, 1.6 * len(shown) + 0.6), height=6.4)
    for column, state in enumerate(shown):
        of_images = (state.deformed.filtered, state.plain.filtered, state.nearest.filtered)
        high = max(float(torch.quantile(of_images[0].flatten()[:: max(1, of_images[0].numel() // 1_000_000)], 0.999)), 1e-12)
        for panel, volume in zip(axes[:, column], (*of_images, _on_scale_of(state.drawn, of_images[0])), strict=True):
            panel.imshow(volume.select(axis, place).numpy(), origin="lower", cmap="gray", vmin=-0.25 * high, vmax=high)
            panel.set(xticks=[], yticks=[])
        axes[0, column].set_title(f"{state.number}: {state.name}", fontsize=7)
        axes[3, column].set_xlabel(_below(state), fontsize=7)
    for panel, name in zip(axes[:, 0], ("state", "plain", "nearest", "models"), strict=True):
        panel.set_ylabel(name)
    caption = (
        f"Slices {_AXES[axis]} = {place}, in which the states differ most. State: from the particles around it, each deformed to "
        "the state. Plain: the same particles with the same weights, without any deformation. Nearest: without any deformation "
        "too, the particles of the narrowest kernel that was tried. Models: the Gaussians of both halves. Below: particles that "
        "count, both halves together; agreement of the half maps where the molecule moves (plain); share of the models' change "
        f"that the nearest particles show.{_more(states)}"
    )
    return save_figure(figure, path, title="Maps of states from their images", caption=caption)


def draw_widths(path: Path, states: Sequence[WrittenStateMaps], *, pixel_size_angstroms: float) -> Path:
    """FSC of each state with and without deformation, and the error by which the width of its kernel was chosen."""
    shown = _some(states)
    figure, axes = new_figure(2, len(shown), width=min(7.2, 1.9 * len(shown) + 0.8), height=4.0)
    for column, state in enumerate(shown):
        _draw_fsc(axes[0, column], state, pixel_size_angstroms)
        _draw_errors(axes[1, column], state)
    axes[0, 0].set_ylabel("FSC of half maps")
    axes[1, 0].set_ylabel("error of the map")
    caption = (
        "Above: Fourier shell correlation of the half maps around the molecule in each state, deformed (blue) and plain (grey). "
        "Below: what is wrong in the mean map where the molecule moves, for each width of the kernel, by the narrowest maps of "
        f"the other half and in units of their noise; the width taken is marked.{_more(states)}"
    )
    return save_figure(figure, path, title="Maps of states: resolution and width", caption=caption)


def _draw_fsc(panel: Axes, state: WrittenStateMaps, pixel_size_angstroms: float) -> None:
    box = state.drawn.shape[0]
    frequency = np.arange(box // 2 + 1) / (box * pixel_size_angstroms)
    for pair, colour in ((state.plain, RIGID_COLOUR), (state.deformed, DEFORMED_COLOUR)):
        panel.plot(frequency[1:], pair.curve[1:].numpy(), color=colour)
    panel.axhline(0.143, color="0.6", linewidth=0.8, linestyle=":")
    panel.set(xlabel="1/Å", ylim=(-0.05, 1.03))
    panel.set_title(f"{state.number}:\n{state.name}", fontsize=6)


def _draw_errors(panel: Axes, state: WrittenStateMaps) -> None:
    numbers = [sum(width.numbers.values()) for width in state.widths]
    errors = [width.error for width in state.widths]
    panel.plot(numbers, errors, color=DEFORMED_COLOUR, marker="o", markersize=3)
    taken = state.widths.index(state.width)
    if math.isfinite(errors[taken]):
        panel.plot(numbers[taken], errors[taken], color=STATE_COLOUR, marker="o", markersize=6, fillstyle="none")
    panel.set_xscale("log")
    plain_log_ticks(panel.xaxis)
    panel.set_xlabel("particles")


def _some(states: Sequence[WrittenStateMaps]) -> list[WrittenStateMaps]:
    """At most as many as a figure holds, evenly chosen."""
    count = min(len(states), _MOST_STATES)
    return [states[round(k * (len(states) - 1) / max(count - 1, 1))] for k in range(count)]


def _more(states: Sequence[WrittenStateMaps]) -> str:
    return f" {_MOST_STATES} of {len(states)} states." if len(states) > _MOST_STATES else ""


def _below(state: WrittenStateMaps) -> str:
    share = "" if math.isnan(state.shown.share) else f"\n{100 * state.shown.share:.0f} % shown"
    halves = f"{state.deformed.halves:.2f} ({state.plain.halves:.2f})"
    return f"{sum(state.width.numbers.values()):.0f} particles\n{halves}{share}"


def _most_telling_slice(volumes: Sequence[Tensor]) -> tuple[int, int]:
    """Axis and place of the slice in which maps (N, N, N) differ most; through most of the first one where there is but one."""
    stack = torch.stack(list(volumes))
    power = stack.var(0, correction=0) if len(volumes) > 1 else stack[0].square()
    sums = [power.sum(dim=[other for other in range(3) if other != axis]) for axis in range(3)]
    axis = max(range(3), key=lambda one: float(sums[one].max()))
    return axis, int(sums[axis].argmax())


def _on_scale_of(volume: Tensor, other: Tensor) -> Tensor:
    return volume * ((volume * other).sum() / volume.square().sum().clamp_min(1e-30))
