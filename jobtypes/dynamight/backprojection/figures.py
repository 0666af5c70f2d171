"""Figures of a reconstruction: FSC curves, and slices through both maps with the local gain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jobtypes.dynamight.backprojection.reconstruction import Maps
from jobtypes.dynamight.backprojection.verdict import Verdict
from jobtypes.dynamight.colours import DEFORMED_COLOUR, GAIN_COLOURS, RIGID_COLOUR
from jobtypes.dynamight.figures import new_figure, save_figure


def draw_fsc(path: Path, maps: Maps, verdict: Verdict, *, pixel_size_angstroms: float, resolutions: dict[str, float]) -> Path:
    """FSC of the deformed and the rigid half maps, within the mask and without it."""
    box = maps.rigid.maps[1].shape[0]
    figure, axes = new_figure(width=5.2, height=3.2)
    axis = axes[0, 0]
    frequency = np.arange(box // 2 + 1) / (box * pixel_size_angstroms)
    for name, pair, colour in (("rigid", maps.rigid, RIGID_COLOUR), ("deformed", maps.deformed, DEFORMED_COLOUR)):
        axis.plot(frequency[1:], pair.fsc[1:].cpu().numpy(), color=colour, label=f"{name}: {resolutions[name]:.2f} Å")
        axis.plot(frequency[1:], pair.fsc_unmasked[1:].cpu().numpy(), color=colour, linewidth=0.8, linestyle=":")
    axis.axhline(0.143, color="0.6", linewidth=0.8, linestyle=":")
    axis.annotate("0.143", (frequency[1], 0.143), xytext=(0, 2), textcoords="offset points", fontsize=7, color="0.4")
    axis.set(xlabel="Spatial frequency (1/Å)", ylabel="FSC of half maps", xlim=(0, frequency[-1]), ylim=(-0.05, 1.03))
    axis.legend(loc="lower left", bbox_to_anchor=(0, 0.22))
    caption = (
        f"Fourier shell correlation of the half maps in the mask (lines), with the resolution at 0.143, and without a mask "
        f"(dotted). {verdict.sentence()} The FSC "
        "cannot judge this alone: motion that is not corrected blurs both half maps alike."
    )
    return save_figure(figure, path, title="Deformed reconstruction: FSC", caption=caption)


def draw_slices(path: Path, rigid: Tensor, deformed: Tensor, gain: Tensor, mask: Tensor, verdict: Verdict) -> Path:
    """Central slices of the filtered rigid and deformed maps (N, N, N), and of the local gain, along all three axes."""
    centre = _centre_of(mask)
    figure, axes = new_figure(3, 3, width=7.2, height=7.0)
    high = float(torch.quantile(deformed.flatten()[:: max(1, deformed.numel() // 1_000_000)], 0.999))
    high = max(high, 1e-12)  # a map of noise or of the wrong contrast may have none
    low = -0.25 * high
    limit = max(float(gain.abs().max()), 1e-3)
    for row, volume in enumerate((rigid, deformed, gain)):
        for column, (dim, name) in enumerate(((0, "z"), (1, "y"), (2, "x"))):
            axis = axes[row, column]
            image = volume.select(dim, centre[dim]).cpu().numpy()
            if row < 2:
                shown = axis.imshow(image, origin="lower", cmap="gray", vmin=low, vmax=high)
            else:
                shown = axis.imshow(image, origin="lower", cmap=GAIN_COLOURS, vmin=-limit, vmax=limit)
            axis.set(xticks=[], yticks=[])
            if row == 0:
                axis.set_title(f"slice {name} = {centre[dim]}")
        axes[row, 0].set_ylabel(("rigid map", "deformed map", "local gain")[row])
        figure.colorbar(shown, ax=list(axes[row]), shrink=0.8)
    caption = (
        "Slices through the filtered maps, on the same grey scale. Local gain: correlation of the half maps in a window of 4 "
        "pixels around each voxel, over details finer than 20 Å, deformed minus rigid; blue is gained, red is lost. "
        f"{verdict.sentence()}"
    )
    return save_figure(figure, path, title="Deformed reconstruction: maps", caption=caption)


def _centre_of(mask: Tensor) -> tuple[int, int, int]:
    """Voxel (z, y, x) at the centre of mass of a mask."""
    total = mask.sum().clamp_min(1e-12)
    steps = torch.arange(mask.shape[0], device=mask.device, dtype=mask.dtype)
    axes = [(mask.sum(dim=[d for d in range(3) if d != axis]) * steps).sum() / total for axis in range(3)]
    z, y, x = (int(a.round()) for a in axes)
    return z, y, x
