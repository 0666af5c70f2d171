from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import torch
from PIL import Image

from jobtypes.dynamight.visualization.animation import write_animation
from jobtypes.dynamight.visualization.movies import write_chimerax_script, write_series


def test_a_shorter_series_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    write_series(tmp_path, [torch.zeros(8, 8, 8)] * 4, 2.0)
    write_series(tmp_path, [torch.ones(8, 8, 8)] * 2, 2.0)
    assert sorted(path.name for path in tmp_path.glob("*.mrc")) == ["volume000.mrc", "volume001.mrc"]


def test_maps_have_the_pixel_size_and_are_float32(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, [torch.rand(8, 8, 8)], 2.5)
    with mrcfile.open(path) as file:
        assert float(file.voxel_size.x) == 2.5
        assert file.data.dtype == np.float32
        assert file.header.origin.x == file.header.nxstart == 0


def test_the_script_opens_every_map_at_one_level(tmp_path: Path) -> None:
    path = tmp_path / "play.cxc"
    write_chimerax_script(path, ["volume000.mrc", "volume001.mrc"], 0.0123, arrows="motion.bild")
    lines = path.read_text().splitlines()
    assert "open volume000.mrc volume001.mrc vseries true" in lines
    assert any(line.startswith("volume #1") and "level 0.0123" in line for line in lines)
    assert "open motion.bild" in lines


def test_an_animation_plays_forth_and_back(tmp_path: Path) -> None:
    frames = [np.full((20, 30, 3), value) for value in (0.0, 0.3, 0.6, 0.9)]
    write_animation(tmp_path / "a", frames)
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.size == (30, 20)
        seen = []
        for index in range(picture.n_frames):
            picture.seek(index)
            seen.append(picture.convert("L").getpixel((3, 3)))
    assert np.allclose(seen, [0, 76, 153, 230, 153, 76], atol=6)
