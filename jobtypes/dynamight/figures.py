"""Figures: one look, saved with their captions inside, and gathered in logfile.pdf.

Every figure is a PNG that carries its title and caption as text, so that logfile.pdf can be made anew at any time from the
pictures of all tasks. Only the Agg canvas is used: no display is needed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from PIL import Image

from jobtypes.common.whole_files import written_whole

DOTS_PER_INCH = 200
_A4_INCHES = (8.27, 11.69)
_STYLE = mpl.RcParams(
    {
        "font.size": 9.0,
        "axes.titlesize": 9.5,
        "axes.labelsize": 9.0,
        "xtick.labelsize": 8.0,
        "ytick.labelsize": 8.0,
        "legend.fontsize": 8.0,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "lines.linewidth": 1.4,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "image.interpolation": "nearest",
    }
)


def new_figure(
    rows: int = 1, columns: int = 1, *, width: float = 7.2, height: float = 3.0, width_ratios: Sequence[float] | None = None
) -> tuple[Figure, np.ndarray]:
    """Make a figure of `width` x `height` inches with a grid of axes: (figure, (rows, columns) array of Axes)."""
    mpl.rcParams.update(_STYLE)  # for legends and labels, which are made after this returns
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, width_ratios=width_ratios)


def plain_log_ticks(*axes: Axis) -> None:
    """Label a logarithmic axis with plain numbers at 1, 2 and 5 times the powers of ten."""
    for axis in axes:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def label_panels(axes: Iterable[Axes]) -> None:
    """Letter the panels a, b, c ... as journals do."""
    for letter, axis in zip("abcdefghijklmnopqrstuvwxyz", axes, strict=False):
        axis.set_title(letter, loc="left", fontweight="bold", fontsize=11)


def save_figure(figure: Figure, path: Path, *, title: str, caption: str) -> Path:
    """Write a PNG with its title and caption inside, whole or not at all."""
    with written_whole(path) as temporary:
        figure.savefig(
            temporary, format="png", dpi=DOTS_PER_INCH, metadata={"Title": title, "Description": caption, "Software": None}
        )
    return path


def text_of_figure(path: Path) -> dict[str, str]:
    """Title and caption that `save_figure` has put into a picture."""
    with Image.open(path) as image:
        return {"title": image.info.get("Title", path.stem), "caption": image.info.get("Description", "")}


def write_logbook(pictures: Iterable[Path], path: Path, *, heading: str) -> Path:
    """Gather pictures made by `save_figure` in a PDF, one or two on an A4 page, with their titles and captions.

    Parameters
    ----------
    pictures
        PNG files in the order of the pages.
    path
        PDF to write, whole or not at all.
    heading
        Small line on top of each page.
    """
    pages = _pages(list(pictures))
    with written_whole(path) as temporary, PdfPages(temporary, metadata={"CreationDate": None}) as pdf:
        for number, page in enumerate(pages, start=1):
            pdf.savefig(_page(page, heading, f"{number} / {len(pages)}"))
    return path


def _pages(pictures: list[Path]) -> list[list[Path]]:
    """Two pictures on a page where both fit above one another, in order."""
    pages: list[list[Path]] = []
    room = 0.0
    for picture in pictures:
        need = _height_inches(picture)
        if pages and need <= room:
            pages[-1].append(picture)
        else:
            pages.append([picture])
            room = _A4_INCHES[1] - 1.4
        room -= need
    return pages


def _height_inches(picture: Path) -> float:
    with Image.open(picture) as image:
        width, height = image.size
        lines = len(textwrap.wrap(image.info.get("Description", ""), 118))
    return min(7.3 * height / width, 8.0) + 0.17 * lines + 0.75


def _page(pictures: list[Path], heading: str, number: str) -> Figure:
    page = Figure(figsize=_A4_INCHES)
    FigureCanvasAgg(page)
    width, height = _A4_INCHES
    page.text(0.06, 0.97, heading, fontsize=8, color="0.45")
    page.text(0.94, 0.97, number, fontsize=8, color="0.45", ha="right")
    top = height - 0.75  # inches from the bottom
    for picture in pictures:
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"))
            title, caption = image.info.get("Title", picture.stem), image.info.get("Description", "")
        page.text(0.06, top / height, title, fontsize=11, fontweight="bold", va="top")
        drawn = min(7.3 * pixels.shape[0] / pixels.shape[1], 8.0)
        drawn_width = drawn * pixels.shape[1] / pixels.shape[0]
        bottom = top - 0.3 - drawn
        axis = page.add_axes(((width - drawn_width) / 2 / width, bottom / height, drawn_width / width, drawn / height))
        axis.imshow(pixels, interpolation="antialiased")
        axis.set_axis_off()
        lines = textwrap.wrap(caption, 118)
        page.text(0.06, (bottom - 0.08) / height, "\n".join(lines), fontsize=8, va="top", linespacing=1.35)
        top = bottom - 0.17 * len(lines) - 0.4
    return page
