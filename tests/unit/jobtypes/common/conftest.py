"""A small RELION project: two stacks, two optics groups of one size, particles in both halves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

BOX, PIXEL_SIZE = 12, 2.5
OPTICS = {
    "rlnOpticsGroupName": ["first", "second"],
    "rlnOpticsGroup": ["1", "2"],
    "rlnVoltage": ["300.000000", "200.000000"],
    "rlnSphericalAberration": ["2.700000", "1.400000"],
    "rlnAmplitudeContrast": ["0.100000", "0.070000"],
    "rlnImagePixelSize": ["2.500000", "2.500000"],
    "rlnImageSize": ["12", "12"],
    "rlnImageDimensionality": ["2", "2"],
}
N_PARTICLES = 8


def star_text(tables: dict[str, dict[str, list[str]]]) -> str:
    text = ""
    for name, columns in tables.items():
        text += f"\n# version 30001\n\ndata_{name}\n\nloop_\n"
        text += "".join(f"_{column} #{i}\n" for i, column in enumerate(columns, 1))
        text += "".join(" ".join(row) + "\n" for row in zip(*columns.values(), strict=True)) + "\n"
    return text


def particle_columns() -> dict[str, list[str]]:
    rng = np.random.default_rng(5)
    digits = lambda low, high: [f"{value:.6f}" for value in rng.uniform(low, high, N_PARTICLES)]  # noqa: E731
    return {
        "rlnImageName": [f"{i % 4 + 1:06d}@Extract/job002/stack_{'ab'[i // 4]}.mrcs" for i in range(N_PARTICLES)],
        "rlnMicrographName": [f"MotionCorr/mic's_{i}.mrc" for i in range(N_PARTICLES)],
        "rlnAngleRot": digits(-180, 180),
        "rlnAngleTilt": digits(0, 180),
        "rlnAnglePsi": digits(-180, 180),
        "rlnOriginXAngst": digits(-5, 5),
        "rlnOriginYAngst": digits(-5, 5),
        "rlnDefocusU": digits(8000, 20000),
        "rlnDefocusV": digits(8000, 20000),
        "rlnDefocusAngle": digits(0, 180),
        "rlnRandomSubset": ["1", "2"] * (N_PARTICLES // 2),
        "rlnOpticsGroup": ["1"] * 4 + ["2"] * 4,
        "rlnMyColumn": [f"{i:03d}" for i in range(N_PARTICLES)],
    }


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def write_star(tmp_path: Path) -> Callable[..., Path]:
    """Write a particle STAR file with changed columns (a list of texts), or without one (None)."""

    def write(optics: dict[str, list[str] | None] | None = None, **particles: list[str] | None) -> Path:
        tables = {"optics": {**OPTICS, **(optics or {})}, "particles": {**particle_columns(), **particles}}
        kept = {name: {c: v for c, v in columns.items() if v is not None} for name, columns in tables.items()}
        path = tmp_path / "Refine3D" / "run_data.star"
        path.parent.mkdir(exist_ok=True)
        path.write_text(star_text(kept))  # type: ignore[arg-type]
        return path

    return write


@pytest.fixture
def stacks(tmp_path: Path) -> dict[str, np.ndarray]:
    """Write the two stacks of the project and return their images."""
    rng = np.random.default_rng(6)
    images = {name: rng.normal(size=(4, BOX, BOX)).astype(np.float32) for name in ("stack_a.mrcs", "stack_b.mrcs")}
    for name, values in images.items():
        write_stack(tmp_path / "Extract" / "job002" / name, values)
    return images


def write_stack(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(values)
        file.set_image_stack()
        file.voxel_size = PIXEL_SIZE
