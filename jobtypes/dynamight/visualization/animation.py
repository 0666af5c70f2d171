"""Animated pictures of states: what each frame shows, and the files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.transforms import Transform
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from jobtypes.common.whole_files import written_whole
from jobtypes.dynamight.colours import DISPLACEMENT_COLOURS, STATE_COLOUR
from jobtypes.dynamight.figures import new_figure
from jobtypes.dynamight.visualization.figures import Portrait, Scene
from jobtypes.dynamight.visualization.latent_drawing import limits_of
from jobtypes.dynamight.visualization.session import Session

_SECONDS_PER_SWEEP = 1.8
_DOTS_PER_INCH = 100
_MOST_PARTICLES = 5000  # drawn in the latent space
_DOT_RADIUS = 0.022  # of the picture's height


class AnimationStage:
    """Everything around the states of one animation: the latent space with the path, and the colour bar.

    Parameters
    ----------
    session
        The half set.
    path : (F, D) A
        Coordinates of the states along the main motions.
    scene
        Views, contour level and colour scale.
    pixels
        Height of the picture, which is also the side of each view.
    """

    def __init__(self, session: Session, path: Tensor, scene: Scene, pixels: int) -> None:
        self.scene, self.pixels = scene, pixels
        extent = (path.max(0).values - path.min(0).values).argsort(descending=True).tolist()
        # the two main motions that the path goes along most, the larger motion to the right
        self.dimensions = tuple(sorted(extent[:2]))
        self.backdrop, self.to_pixels = self._drawn(session, path)

    def _drawn(self, session: Session, path: Tensor) -> tuple[NDArray[np.float64], Transform]:
        """Colour bar and latent space (h, w, 3), and the transform from the axes' coordinates to pixels from the lower left."""
        height = self.pixels / _DOTS_PER_INCH
        widths = [0.09, height][: len(self.dimensions)]
        figure, axes = new_figure(1, len(widths), width=sum(widths) + 0.85, height=height, width_ratios=widths)
        bar = ScalarMappable(Normalize(0, self.scene.largest), DISPLACEMENT_COLOURS)
        figure.colorbar(bar, cax=axes[0, 0], label="displacement (Å)")
        if len(self.dimensions) == 2:
            reduction = session.reduction("pca", dimensions=(self.dimensions[0], self.dimensions[1]))
            drawn = np.random.default_rng(0).permutation(len(reduction.points))[:_MOST_PARTICLES]
            left, right, bottom, top = limits_of(reduction.points)
            axis = axes[0, 1]
            axis.set(xlim=(left, right), ylim=(bottom, top), xlabel=reduction.labels[0], ylabel=reduction.labels[1])
            axis.scatter(*reduction.points[drawn].T, s=3, color="0.78", linewidths=0)
            axis.plot(*path[:, self.dimensions].T.numpy(), color=STATE_COLOUR, lw=1.0)
        figure.set_dpi(_DOTS_PER_INCH)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())[: self.pixels, :, :3] / 255.0
        return picture, axes[0, -1].transData

    def picture(self, portrait: Portrait, coordinates: Tensor) -> NDArray[np.float64]:
        """One frame (h, w, 3), 0 to 1: the views of the state, the colour bar, and where in the latent space it is."""
        backdrop = self.backdrop.copy()
        if len(self.dimensions) == 2:
            x, y = self.to_pixels.transform(coordinates[list(self.dimensions)].double().numpy())
            _dot(backdrop, x, self.pixels - y, _DOT_RADIUS * self.pixels)
        return np.concatenate([*self.scene.pictures(portrait, self.pixels), backdrop], axis=1)


def _dot(picture: NDArray[np.float64], x: float, y: float, radius: float) -> None:
    """Paint a round red dot with a white rim on a picture (h, w, 3), its edges smooth."""
    reach = math.ceil(1.45 * radius) + 1
    rows, columns = (slice(max(0, int(at) - reach), max(0, int(at) + reach + 1)) for at in (y, x))
    picture = picture[rows, columns]
    row, column = np.ogrid[: picture.shape[0], : picture.shape[1]]
    distance = np.hypot(column + columns.start + 0.5 - x, row + rows.start + 0.5 - y)
    for size, colour in ((1.45 * radius, np.ones(3)), (radius, np.array(to_rgb(STATE_COLOUR)))):
        cover = np.clip(size - distance + 0.5, 0, 1)[..., None]
        picture += cover * (colour - picture)


def write_animation(path: Path, frames: Sequence[NDArray[np.float64]]) -> list[Path]:
    """Write an animation that plays forth and back for ever: a GIF, and an MP4 as well where imageio-ffmpeg is installed.

    Parameters
    ----------
    path
        Of the files, without their ending.
    frames : (h, w, 3) each
        Red, green and blue, 0 to 1.

    Returns
    -------
    list of Path
        What was written.
    """
    pixels = [np.round(255 * np.clip(frame, 0, 1)).astype(np.uint8) for frame in frames]
    loop = pixels + pixels[-2:0:-1]
    seconds = _SECONDS_PER_SWEEP / max(len(pixels) - 1, 1)
    files = [_write_gif(path.with_suffix(".gif"), pixels, seconds)]
    if find_spec("imageio_ffmpeg") is not None:
        files.append(_write_mp4(path.with_suffix(".mp4"), loop, seconds))
    return files


def _write_gif(path: Path, pixels: list[NDArray[np.uint8]], seconds: float) -> Path:
    """Forth and back, all frames with one palette, so that nothing at rest flickers; one pixel of four decides of its colours."""
    sample = np.concatenate([frame[::2, ::2] for frame in pixels[:: max(1, len(pixels) // 6)]])
    palette = Image.fromarray(sample).quantize(256, method=Image.Quantize.MEDIANCUT)
    indexed = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in pixels]
    with written_whole(path) as temporary:
        indexed[0].save(
            temporary, format="GIF", save_all=True, append_images=indexed[1:] + indexed[-2:0:-1], duration=round(1000 * seconds),
            loop=0, optimize=False,
        )  # fmt: skip
    return path


def _write_mp4(path: Path, loop: list[NDArray[np.uint8]], seconds: float) -> Path:
    """H.264 as every player and presentation takes it, with even sides; three times forth and back."""
    from imageio_ffmpeg import write_frames

    even = [np.ascontiguousarray(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]) for frame in loop]
    height, width, _ = even[0].shape
    with written_whole(path) as temporary:
        writer = write_frames(
            str(temporary), (width, height), fps=1 / seconds, quality=8, macro_block_size=2, ffmpeg_log_level="error",
            output_params=["-f", "mp4"],
        )  # fmt: skip
        writer.send(None)
        for frame in 3 * even:
            writer.send(frame)
        writer.close()
    return path
