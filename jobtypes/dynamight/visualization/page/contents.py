"""All that a page holds, as one tree of plain values."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.colors import Colormap, to_hex
from PIL import Image

from jobtypes.dynamight.colours import (
    DENSITY_COLOURS,
    DISPLACEMENT_COLOURS,
    DISPLACEMENT_COLOURS_ON_DARK,
    GAIN_COLOURS,
    HALF_COLOURS,
    STATE_COLOUR,
    SURFACE_COLOUR,
    on_dark,
)
from jobtypes.dynamight.model.disagreement import FEWEST_HELD_OUT
from jobtypes.dynamight.model.result import ForwardResult
from jobtypes.dynamight.visualization.held_out import HeldOutParticles, held_out_particles
from jobtypes.dynamight.visualization.landscape.overview import overview_of
from jobtypes.dynamight.visualization.page import findings, told
from jobtypes.dynamight.visualization.page.halves import half_content
from jobtypes.dynamight.visualization.page.populations import populations_of
from jobtypes.dynamight.visualization.session import Session

_STOPS = 32  # of a colour map
_PICTURE_QUALITY = 88  # of WebP, at which letters stay clean
_MOST_PICTURE_BYTES = 3_000_000  # of all figures together; further ones are only named
_HALF_COLOURS_OF = (1, 2)


def page_content(forward: ForwardResult, job_directory: Path, *, embedding: str, n_clusters: int, seed: int) -> dict[str, Any]:
    """What the page of a job holds; `browser/app.js` is where it is read.

    Parameters
    ----------
    forward
        The job's forward deformations.
    job_directory
        Relative to the project directory or absolute.
    embedding
        Drawing of the latent space besides main motions and latents: ``umap`` or ``ica``; others add none.
    n_clusters, seed
        Of the clusters, and of the embedding.

    Raises
    ------
    UserError
        A map, a table or the training cannot be shown; the sentence says why.
    """
    sessions = {half: Session(job_directory, forward, half) for half in forward.halves}
    held_out = _held_out(forward)
    lines = told.lines_of(job_directory)
    sentences = told.findings(lines)
    reconstruction = told.reconstruction(job_directory)
    return {
        "job": str(job_directory),
        "box_angstroms": forward.box * forward.pixel_size_angstroms,
        "headline": findings.headline(sentences, sessions, held_out),
        "paragraph": findings.paragraph(forward, sessions, reconstruction),
        "sentences": [sentences[half] for half in sorted(sentences)],
        "halves": [
            half_content(session, sessions[3 - half], held_out, embedding=embedding, n_clusters=n_clusters, seed=seed)
            | {"populations": populations_of(overview_of(sessions, half, seed=seed))}
            for half, session in sessions.items()
        ],
        "training": told.training_curves(job_directory),
        "reconstruction": reconstruction,
        "regions": told.regions(job_directory),
        "times": told.plan_and_times(lines),
        "options": told.options(job_directory),
        "inputs": [
            ("particles", forward.star_file),
            ("box", f"{forward.box} pixels of {forward.pixel_size_angstroms:g} Å"),
            ("checkpoint", f"{forward.path}, after {forward.epoch} epochs"),
        ],
        "links": told.links(job_directory),
        "pictures": _pictures(told.pictures(job_directory)),
        "colours": _colours(),
    }


def _held_out(forward: ForwardResult) -> HeldOutParticles | None:
    """Half-set 0, None where there is none."""
    has_both = all(
        part.latent_by_other is not None and int(part.held_out.sum()) >= FEWEST_HELD_OUT for part in forward.halves.values()
    )
    return held_out_particles(forward) if has_both else None


def _pictures(listed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Title, caption and picture (WebP, base64) of each figure, as far as there is room."""
    shown, used = [], 0
    for picture in listed:
        with Image.open(picture["file"]) as image:
            buffer = io.BytesIO()
            image.convert("RGB").save(buffer, "WEBP", quality=_PICTURE_QUALITY, method=4)
            size = image.size
        used += len(buffer.getvalue())
        data = base64.b64encode(buffer.getvalue()).decode() if used <= _MOST_PICTURE_BYTES else ""
        shown.append(
            {"title": picture["title"], "caption": picture["caption"], "name": picture["file"].name, "size": size, "data": data}
        )
    return shown


def _colours() -> dict[str, Any]:
    """The colour maps and colours of everything else that is drawn of a job, for light and for dark ground."""
    return {
        "light": {
            "displacement": _stops(DISPLACEMENT_COLOURS),
            "density": _stops(mpl.colormaps[DENSITY_COLOURS]),
            "gain": _stops(mpl.colormaps[GAIN_COLOURS]),
            "surface": SURFACE_COLOUR,
            "state": STATE_COLOUR,
            "halves": [HALF_COLOURS[half] for half in _HALF_COLOURS_OF],
        },
        "dark": {
            "displacement": _stops(DISPLACEMENT_COLOURS_ON_DARK),
            "density": _stops(mpl.colormaps[DENSITY_COLOURS]),
            "gain": _stops(mpl.colormaps[GAIN_COLOURS]),
            "surface": SURFACE_COLOUR,
            "state": on_dark(STATE_COLOUR),
            "halves": [on_dark(HALF_COLOURS[half]) for half in _HALF_COLOURS_OF],
        },
    }


def _stops(colours: Colormap) -> list[str]:
    return [to_hex(colours(step / (_STOPS - 1))) for step in range(_STOPS)]
