"""What a simulated set looks like: one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from jobtypes.common import fourier
from jobtypes.common.whole_files import written_whole
from jobtypes.simulate.dataset import ImageMaker
from jobtypes.simulate.nuisances import GOOD, KIND_NAMES
from jobtypes.simulate.optics import ctf
from relion_jobs.contract.labels import LOGFILE_PDF

COLUMNS = 4


def draw(
    path: Path, maker: ImageMaker, *, consensus: Tensor, halves: tuple[Tensor, Tensor], examples: NDArray[np.float32]
) -> None:
    """Draw the page as `path` (PNG) and as logfile.pdf beside it.

    Parameters
    ----------
    path
        Of the picture.
    maker
        Model and particles.
    consensus
        (N, N, N) rigid map of all particles.
    halves
        (N, N, N) rigid half maps.
    examples
        (at least 4, N, N) images of the first particles.
    """
    figure = Figure(figsize=(11, 11), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(4, COLUMNS)
    _ends(axes[0], maker)
    _rigid(axes[1], maker, consensus)
    _images(axes[2], examples, maker.particles.plan.kind)
    _curves(axes[3], maker, halves)
    for target, kind in ((path, "png"), (path.with_name(LOGFILE_PDF), "pdf")):
        with written_whole(target) as temporary:
            figure.savefig(temporary, format=kind, dpi=110)


def _show(axis: Any, image: NDArray[np.float32] | Tensor, title: str) -> None:
    axis.imshow(np.asarray(image), cmap="gray", origin="lower")
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()


def _ends(axes: NDArray[np.object_], maker: ImageMaker) -> None:
    """Projections of the true molecule at both ends of each motion."""
    views = []
    halfway = maker.particles.consensus_coordinates
    for motion in range(maker.model.motions):
        # the ends of a full circle are one state: halfway is the opposite one
        for end in (0.0, 0.5 if maker.model.is_circle[motion] else 1.0):
            place = halfway.copy()
            place[motion] = end
            views.append((place, f"truth, motion {motion + 1} at {end:g}"))
    views = views or [(halfway, "truth, no motion")]
    plane = _plane_of_motion(maker)
    for axis, view in zip(axes, views, strict=False):
        points = torch.from_numpy(maker.model.positions(view[0][None])) @ plane
        _show(axis, maker.renderer.images(points)[0], view[1])
    for axis in axes[len(views) :]:
        axis.set_axis_off()
    if len(views) <= 2:
        image = maker.renderer.images(maker.halfway[None] @ plane)[0]
        _show(axes[2], image, "truth, halfway")
        _path(axes[3], maker, plane.numpy())


def _path(axis: Any, maker: ImageMaker, plane: NDArray[np.float32]) -> None:
    """Alpha carbons in the plane of the motion, from one end to the other."""
    carbons = maker.model.path[:, maker.model.is_alpha_carbon] @ plane
    opposite = len(carbons) // 2 if maker.model.is_circle.any() else -1
    for step, colour in ((0, "tab:blue"), (opposite, "tab:red")):
        axis.plot(*carbons[step].T, ".", markersize=1.5, color=colour)
    axis.set_aspect("equal")
    axis.set_title("alpha carbons at both ends, A", fontsize=9)


def _plane_of_motion(maker: ImageMaker) -> Tensor:
    """Find the two directions (3, 2) along which the atoms move most; x and y where nothing moves."""
    path = maker.model.path
    opposite = len(path) // 2 if maker.model.is_circle.any() else -1
    away = (path[opposite] - path[0])[maker.moving]
    if len(away) == 0:
        return torch.eye(3)[:, :2]
    # the arm itself as second direction shows the swing from the side
    middle = maker.halfway.numpy()[maker.moving]
    first = np.linalg.svd(away, full_matrices=False)[2][0]
    outward = middle.mean(0) - (middle.mean(0) @ first) * first
    outward = outward / max(float(np.linalg.norm(outward)), 1e-6)
    return torch.from_numpy(np.stack([first, outward], axis=1)).float()


def _rigid(axes: NDArray[np.object_], maker: ImageMaker, consensus: Tensor) -> None:
    """Sections and a projection of the rigid map."""
    middle = consensus.shape[0] // 2
    for axis, (image, title) in zip(
        axes,
        (
            (consensus[middle], "rigid map, section z"),
            (consensus[:, middle], "rigid map, section y"),
            (consensus.sum(0), "rigid map, projection z"),
            (maker.renderer.images(maker.halfway[None, :, :2])[0], "truth halfway, projection z"),
        ),
        strict=True,
    ):
        _show(axis, image, title)


def _images(axes: NDArray[np.object_], examples: NDArray[np.float32], kinds: NDArray[np.int64]) -> None:
    for number, (axis, image, kind) in enumerate(zip(axes, examples, kinds, strict=False), 1):
        _show(axis, image, f"particle {number}" if kind == GOOD else f"particle {number}: {KIND_NAMES[kind]}")


def _curves(axes: NDArray[np.object_], maker: ImageMaker, halves: tuple[Tensor, Tensor]) -> None:
    """CTF, FSC, noise and signal, coordinates."""
    options = maker.options
    first = slice(0, 1)
    transfer = ctf(maker.particles.optics, first, options.box_size, options.angpix)[0]
    shells = np.arange(options.box_size // 2 + 1)
    frequency = shells / (options.box_size * options.angpix)
    axes[0].plot(frequency, transfer[0].numpy())
    axes[0].set_title("CTF of particle 1 along x", fontsize=9)
    axes[1].plot(frequency, fourier.fsc(*halves).numpy())
    axes[1].axhline(0.143, color="gray", linewidth=0.5)
    axes[1].set_ylim(-0.1, 1.05)
    axes[1].set_title("FSC of the rigid half maps", fontsize=9)
    signal = fourier.shell_average(maker.signals(first)[0][0].abs() ** 2, fourier.shells_2d(options.box_size))
    noise = fourier.shell_average(maker.colour**2, fourier.shells_2d(options.box_size)) * options.box_size**2
    axes[2].semilogy(frequency[1:], signal[1:], label="signal of particle 1")
    axes[2].semilogy(frequency[1:], noise[1:], label="noise")
    axes[2].legend(fontsize=7)
    axes[2].set_title("power", fontsize=9)
    for axis in axes[:3]:
        axis.set_xlabel("1/A", fontsize=8)
    coordinates = maker.particles.coordinates
    if coordinates.shape[1] == 2:
        axes[3].plot(*coordinates.T, ".", markersize=1)
    elif coordinates.shape[1] == 1:
        axes[3].hist(coordinates[:, 0], bins=20)
    axes[3].set_title("true coordinates", fontsize=9)
