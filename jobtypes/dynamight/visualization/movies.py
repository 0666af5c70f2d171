"""Series of states: maps, and a ChimeraX script that plays them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from jobtypes.common.volumes import write_volume
from jobtypes.common.whole_files import written_whole
from jobtypes.dynamight import layout
from jobtypes.dynamight.colours import SURFACE_COLOUR


def write_series(folder: Path, volumes: Sequence[Tensor], pixel_size_angstroms: float) -> list[Path]:
    """Write volume000.mrc, volume001.mrc ... and remove later ones of an earlier, longer series."""
    paths = []
    for index, volume in enumerate(volumes):
        path = folder / layout.volume(index)
        write_volume(path, volume, pixel_size_angstroms)
        paths.append(path)
    for stale in folder.glob(layout.VOLUME_PATTERN):
        if stale not in paths:
            stale.unlink()
    return paths


def write_chimerax_script(path: Path, names: Sequence[str], level: float, *, arrows: str | None = None) -> None:
    """Write a script that opens a series of maps, sets their contour level and plays them back and forth.

    Parameters
    ----------
    path
        The .cxc file, in the folder of the maps; ChimeraX opens it with a double click.
    names
        File names of the maps, relative to the script.
    level
        Contour level of all maps.
    arrows
        BILD file to open as well, relative to the script.
    """
    lines = [
        "# opens the states of a motion and plays them: chimerax " + path.name,
        "open " + " ".join(names) + " vseries true",
        f"volume #1 style surface step 1 level {level:.6g} color {SURFACE_COLOUR}",
        "set bgColor white",
        "lighting soft",
        "graphics silhouettes true",
        "view",
        "vseries play #1 direction oscillate loop true maxFrameRate 12",
    ]
    if arrows is not None:
        lines.insert(2, f"open {arrows}")
    with written_whole(path) as temporary:
        temporary.write_text("\n".join([*lines, ""]))
