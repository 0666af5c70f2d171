"""Figures of states, drawn with the surface camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from numpy.typing import NDArray
from scipy.ndimage import label
from torch import Tensor

from jobtypes.dynamight.colours import DISPLACEMENT_COLOURS, HALF_COLOURS, OUTSIDE_COLOUR
from jobtypes.dynamight.figures import label_panels, new_figure, save_figure
from jobtypes.dynamight.visualization.colourings import Colouring
from jobtypes.dynamight.visualization.latent_drawing import LIGHT, draw_latent_space
from jobtypes.dynamight.visualization.reductions import Reduction
from jobtypes.dynamight.visualization.surface import SurfaceCamera, displacement_colours

_PIXELS = 300
_MARGIN_ANGSTROMS = 14.0  # around the outermost Gaussians, for their density
_DUST = 0.003  # of the voxels above the contour level: smaller pieces are not drawn


@dataclass(frozen=True)
class Portrait:
    """A state as it is drawn.

    Attributes
    ----------
    volume : (N, N, N)
        Its map.
    positions : (n, 3) A
        Its Gaussians.
    rms : (n,) A
        What colours the surface near each Gaussian.
    label
        Under or over the picture.
    outside
        The state lies outside the data: it is drawn grey.
    """

    volume: Tensor
    positions: Tensor
    rms: Tensor
    label: str = ""
    outside: bool = False

    def labelled(self, label: str) -> Portrait:
        """The same under another label."""
        return replace(self, label=label)


@dataclass(frozen=True)
class Scene:
    """What is common to all pictures of one figure: two cameras, contour level, colour scale.

    Attributes
    ----------
    cameras
        Views of the molecule.
    level
        Contour level of the maps.
    largest
        Displacement in A with the darkest colour.
    pixel_size_angstroms
        Of the maps, A.
    """

    cameras: tuple[SurfaceCamera, ...]
    level: float
    largest: float
    pixel_size_angstroms: float

    def pictures(self, portrait: Portrait, pixels: int | None = None) -> list[NDArray[np.float64]]:
        """One picture per camera, with as many pixels a side as the camera has or as asked for."""
        colours = displacement_colours(portrait.rms, self.largest)
        if portrait.outside:
            colours = np.full_like(colours, to_rgb(OUTSIDE_COLOUR))
        volume = without_dust(portrait.volume, self.level)
        cameras = (camera if pixels is None else camera.with_pixels(pixels) for camera in self.cameras)
        return [camera.picture(volume, self.pixel_size_angstroms, self.level, portrait.positions, colours) for camera in cameras]


def without_dust(volume: Tensor, level: float) -> Tensor:
    """The map (N, N, N) without the small pieces that float around its surface at a contour level, as a picture shows it."""
    pieces, count = label(volume.numpy() >= level)
    if count < 2:
        return volume
    sizes = np.bincount(pieces.ravel())
    small = sizes < _DUST * sizes[1:].sum()
    small[0] = False
    return torch.where(torch.from_numpy(small[pieces]), volume.clamp(max=0.9 * level), volume)


def cameras_for(positions: Tensor, motion: Tensor, pixels: int | None = None) -> tuple[SurfaceCamera, SurfaceCamera]:
    """Two views that show a motion best: one that looks across it, and one turned by 90 degrees about the vertical.

    Parameters
    ----------
    positions : (m, 3) A
        Gaussians of all states that must fit in.
    motion : (n, 3) A
        Displacements of the Gaussians along the motion.
    pixels
        Side of the pictures; None: that of the figures.
    """
    pixels = _PIXELS if pixels is None else pixels
    centre = _middle(positions)
    spread = (positions - centre).T @ (positions - centre) / len(positions)
    moved = motion.T @ motion / len(motion)
    # the motion counts most; where it leaves the view open the molecule's long axes lie in the picture
    combined = moved / moved.trace().clamp(min=1e-9) + 0.3 * spread / spread.trace().clamp(min=1e-9)
    _, axes = torch.linalg.eigh(combined.double())
    towards, right = axes[:, 0].float(), axes[:, 1].float()
    up = torch.linalg.cross(towards, right)
    front = torch.stack((right, up, towards))
    side = torch.stack((-towards, up, right))
    in_view = (positions - centre) @ front.T  # (m, 3) right, up, towards; the second view shows the third and second
    extent = 2 * float(in_view.abs().max()) + _MARGIN_ANGSTROMS
    return SurfaceCamera(front, centre, extent, pixels), SurfaceCamera(side, centre, extent, pixels)


def _middle(positions: Tensor) -> Tensor:
    return (positions.max(0).values + positions.min(0).values) / 2


def draw_states(scene: Scene, portraits: Sequence[Portrait], path: Path, *, title: str, caption: str) -> Path:
    """A row of states, one column each, one row per camera, with a colour bar and a scale bar."""
    columns, rows = len(portraits), len(scene.cameras)
    side = min(7.0 / columns, 2.4)
    figure, axes = new_figure(rows, columns, width=side * columns + 0.75, height=side * rows + 0.35)
    for column, portrait in enumerate(portraits):
        for row, picture in enumerate(scene.pictures(portrait)):
            axes[row, column].imshow(picture, interpolation="antialiased")
            axes[row, column].set_axis_off()
        label_of_state = f"{portrait.label}\noutside the data" if portrait.outside else portrait.label
        axes[0, column].set_title(label_of_state, fontsize=8)
    camera = scene.cameras[0]
    length = _round_length(camera.extent_angstroms / 4)
    pixels, margin = length / camera.extent_angstroms * camera.pixels, 0.05 * camera.pixels
    corner = axes[-1, 0]
    corner.plot([margin, margin + pixels], [camera.pixels - margin] * 2, color="k", lw=2, solid_capstyle="butt")
    corner.text(margin, camera.pixels - 1.6 * margin, f"{length:g} Å", fontsize=7.5, va="bottom")
    bar = ScalarMappable(Normalize(0, scene.largest), DISPLACEMENT_COLOURS)
    figure.colorbar(bar, ax=axes, label="displacement (Å)", shrink=0.8, aspect=22, pad=0.01)
    return save_figure(figure, path, title=title, caption=caption)


def _round_length(length: float) -> float:
    decade = 10.0 ** np.floor(np.log10(length))
    return float(max(step * decade for step in (1, 2, 5) if step * decade <= length))


def draw_colourings(reduction: Reduction, colourings: Sequence[Colouring], path: Path, *, half: int, least_moved: int) -> Path:
    """The latent space of a half set in several colourings, three in a row."""
    columns = 3
    rows = -(-len(colourings) // columns)
    figure, axes = new_figure(rows, columns, width=10.2, height=2.9 * rows)
    for axis, colouring in zip(axes.flat, colourings, strict=False):
        draw_latent_space(figure, axis, reduction, colouring, least_moved=least_moved, look=LIGHT)
        axis.set_title("", loc="right")  # what the colours are is said in the caption
        axis.set_title(colouring.name, fontsize=9)
    for axis in axes.flat[len(colourings) :]:
        axis.set_axis_off()
    label_panels(axes.flat[: len(colourings)])
    listed = "; ".join(f"{letter}, {colouring.name}" for letter, colouring in zip("abcdefgh", colourings, strict=False))
    return save_figure(
        figure,
        path,
        title=f"Latent space of half {half}: what the particles are like",
        caption=f"Particles coloured by: {listed}. Where two or three numbers make up a colour, red, green and blue are x, y and "
        "z. Poses and shifts that go with the motion are a sign of errors: they should be mixed. The cross marks the particle "
        "with the least motion.",
    )


def draw_disagreement(
    per_particle: Mapping[int, NDArray[np.float64]],
    motion: Mapping[int, NDArray[np.float64]],
    per_gaussian: Mapping[int, NDArray[np.float64]],
    motion_of_gaussians: Mapping[int, NDArray[np.float64]],
    path: Path,
) -> Path:
    """How far the two halves' models disagree about particles that trained neither, against the motion itself.

    Parameters
    ----------
    per_particle, motion : half -> (P,) A
        Rms over the Gaussians of the disagreement and of the motion, by the half that the particles are held out of.
    per_gaussian, motion_of_gaussians : half -> (n,) A
        Rms over the particles of the same, by the half whose Gaussians they are.
    path
        PNG to write.
    """
    figure, axes = new_figure(1, 2, width=7.2, height=3.2)
    pairs = ((axes[0, 0], motion, per_particle, "particle"), (axes[0, 1], motion_of_gaussians, per_gaussian, "Gaussian"))
    for axis, truth, error, what in pairs:
        top = 1.05 * max(float(values.max()) for both in (truth, error) for values in both.values())
        axis.plot([0, top], [0, top], color="0.7", lw=0.8, ls="--", zorder=0)
        for half in truth:
            size = float(np.clip(4000 / len(truth[half]), 1, 9))
            axis.scatter(
                truth[half], error[half], s=size, color=HALF_COLOURS[half], alpha=0.6, linewidths=0, label=f"half {half}"
            )
        axis.set(xlim=(0, top), ylim=(0, top), xlabel=f"rms motion of the {what} (Å)", ylabel=f"rms disagreement, {what} (Å)")
        axis.legend(markerscale=2)
    label_panels(axes[0])
    return save_figure(
        figure,
        path,
        title="Held-out particles: disagreement of the halves",
        caption="Difference between the displacements that the two halves' models give to particles which trained neither of "
        "them, both at the Gaussians of one half and about their means over these particles, in Å, against the size of the "
        "motion. a, Each point a particle, coloured by the half that it was held out of; b, each point a Gaussian. Far below "
        "the dashed line the motion is reproduced.",
    )
