"""Particles of a made-up molecule of balls, whose images are written down in Fourier space, and its map."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from jobtypes.common.ctf import ctf
from jobtypes.common.fourier import frequencies_2d, frequencies_3d, irfft2, irfft3, rfft2
from jobtypes.common.particles import ParticleTable, read_particles
from jobtypes.common.rotations import euler_matrices

BOX, PIXEL_SIZE, BALL = 32, 4.0, 4.5  # A: standard deviation of a ball
OPTICS = ("rlnOpticsGroup", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnImagePixelSize", "rlnImageSize")
COLUMNS = (
    *("rlnImageName", "rlnOpticsGroup", "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"),
    *("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"),
)


@dataclass(frozen=True)
class Made:
    """A particle set: what `find_agreement` asks of `ParticleImages`, and a map (N, N, N)."""

    table: ParticleTable
    images: Tensor
    volume: Tensor

    def read(self, rows: np.ndarray) -> Tensor:
        return self.images[torch.from_numpy(rows)]

    def with_table(self, **changes: object) -> Made:
        return replace(self, table=replace(self.table, **changes))

    def with_optics(self, **changes: object) -> Made:
        return self.with_table(optics=replace(self.table.optics, **changes))

    def with_ctf_columns(self, **changes: np.ndarray) -> Made:
        return self.with_table(ctf_columns=self.table.ctf_columns | changes)

    def with_volume(self, change: Callable[[Tensor], Tensor]) -> Made:
        return replace(self, volume=change(self.volume).contiguous())

    def with_images(self, change: Callable[[Tensor], Tensor]) -> Made:
        return replace(self, images=change(self.images).contiguous())

    def filtered(self, change: Callable[[Tensor], Tensor], members: np.ndarray | slice = slice(None)) -> Made:
        """Multiply spectra of some images with a function of their CTF."""
        factor = change(ctf(self.table.ctf_parameters(), frequencies_2d(BOX, PIXEL_SIZE)))
        images = self.images.clone()
        images[members] = irfft2(rfft2(images) * factor, BOX)[members]
        return replace(self, images=images)


def balls(seed: int) -> Tensor:
    """Centres (14, 3) in A of a lopsided molecule."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(14, 3)) * [17, 13, 9]
    points[:4] += [8, 12, 0]
    return torch.from_numpy(points - points.mean(0)).float()


def waves(centres: Tensor, frequencies: Tensor) -> Tensor:
    """Terms (b, *S) of balls at centres (b, n, D) in A."""
    angles = torch.einsum("bnd,...d->bn...", centres, frequencies) * (-2 * math.pi)
    terms = torch.polar(torch.ones_like(angles), angles).sum(1)
    return terms * torch.exp(-2 * (math.pi * BALL) ** 2 * frequencies.square().sum(-1))


def write_star(path: Path, *, n: int, n_groups: int, rng: np.random.Generator, origin: float) -> None:
    """Random poses, defocus of 0.6 to 2.2 um with much astigmatism."""
    lines = ["data_optics", "", "loop_", *(f"_{name}" for name in OPTICS)]
    lines += [f"{number} 300 2.7 0.1 {PIXEL_SIZE} {BOX}" for number in range(1, n_groups + 1)]
    lines += ["", "data_particles", "", "loop_", *(f"_{name}" for name in COLUMNS)]
    for row in range(n):
        rot, psi = rng.uniform(-180, 180, 2)
        tilt = math.degrees(math.acos(rng.uniform(-1, 1)))
        x, y = rng.uniform(-origin, origin, 2)
        u = rng.uniform(12000, 22000)
        values = (rot, tilt, psi, x, y, u, u - rng.uniform(3000, 6000), rng.uniform(0, 180))
        lines.append(f"{row + 1}@a.mrcs {row % n_groups + 1} " + " ".join(f"{value:.5f}" for value in values))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def make_set(tmp_path: Path) -> Callable[..., Made]:
    def make(
        n: int = 48,
        *,
        noise: float = 1.0,
        n_groups: int = 1,
        origin: float = 12.0,
        seed: int = 1,
        shape: Callable[[Tensor], Tensor] = lambda centres: centres,
    ) -> Made:
        """`noise`: standard deviation of a pixel over that of the signal; `shape`: of the molecule, from its centres."""
        rng = np.random.default_rng(seed)
        write_star(tmp_path / "particles.star", n=n, n_groups=n_groups, rng=rng, origin=origin)
        table = read_particles(tmp_path / "particles.star")
        centres = shape(balls(seed))
        turned = torch.einsum("bij,nj->bni", euler_matrices(torch.from_numpy(table.angles_degrees)).float(), centres)[..., :2]
        seen = turned - torch.from_numpy(table.origins_angstroms).float()[:, None]
        frequencies = frequencies_2d(BOX, PIXEL_SIZE)
        images = irfft2(waves(seen, frequencies) * ctf(table.ctf_parameters(), frequencies), BOX)
        images = images + noise * images.std() * torch.from_numpy(rng.normal(size=images.shape)).float()
        volume = irfft3(waves(centres[None], frequencies_3d(BOX, PIXEL_SIZE))[0], BOX)
        return Made(table, images, volume)

    return make
