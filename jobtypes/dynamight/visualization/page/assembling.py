"""One file out of what the page holds and the files in `browser/`: nothing in it is loaded from anywhere.

The molecule is drawn by three.js, as the package trimesh brings it along for its own viewer: its vertices are one array that may
change from picture to picture. k3d and plotly come with scripts of their own too, but a surface of theirs is built anew
whenever it moves (plotly: three corners for each triangle), their scripts are four to seven times as long, and k3d asks for the
widgets of Jupyter. Charts and the latent space are lines and dots on SVG and canvas, for which no library is needed.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import trimesh.resources

from jobtypes.common.whole_files import written_whole
from relion_jobs.contract.errors import UserError

# in the order in which they are joined
SCRIPTS = (
    "data.js",
    "colours.js",
    "network.js",
    "half.js",
    "molecule.js",
    "latent_view.js",
    "charts.js",
    "player.js",
    "overview.js",
    "app.js",
)
# from its licence to the end of what turns the camera; a loader of files and a viewer follow
_LIBRARY = re.compile(
    r"/\*\*\s+\* @license.*?Three\.js Authors.*?THREE\.TrackballControls=TrackballControls;\}\)\(\);", re.DOTALL
)


def write_page(content: dict[str, Any], path: Path) -> None:
    """Write a page that holds a content, whole or not at all."""
    pieces = {
        "title": _text(f"{content['job']} · DynaMight"),
        "style": _browser_file("style.css"),
        "library": library(),
        # no text in it can end the element that holds it
        "content": json.dumps(_plain(content), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "script": "\n".join(_browser_file(name) for name in SCRIPTS),
    }
    template = _browser_file("page.html")
    page = re.sub(r"\{\{(\w+)\}\}", lambda place: pieces[place[1]], template)
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def library() -> str:
    """three.js with its licence, from the viewer of trimesh.

    Raises
    ------
    UserError
        The installed trimesh has none, or hides it elsewhere.
    """
    with zipfile.ZipFile(io.BytesIO(trimesh.resources.get_bytes("templates/viewer.zip"))) as archive:
        viewer = "".join(archive.read(name).decode() for name in archive.namelist())
    found = _LIBRARY.search(viewer)
    if found is None:
        raise UserError(
            f"trimesh {trimesh.__version__} has no three.js in its viewer, which the page needs; install the version that "
            "constraints.txt names."
        )
    return found[0]


def _plain(value: Any) -> Any:
    """The same with numpy's numbers as Python's, and null for what is no number, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _browser_file(name: str) -> str:
    return files(__package__).joinpath("browser", name).read_text(encoding="utf-8")


def _text(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;")
