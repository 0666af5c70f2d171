"""A molecule with a swinging arm, its images computed analytically, and a trained result that knows the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mrcfile
import numpy as np
import pytest
import torch
from torch import Tensor

from jobtypes.common.ctf import ctf
from jobtypes.common.fourier import frequencies_2d, irfft2, shift_phases
from jobtypes.common.particles import ParticleTable, read_particles
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.backprojection import task
from jobtypes.dynamight.model.gaussians import GaussianModel
from jobtypes.dynamight.model.result import ForwardResult, HalfResult

BOX, PIXEL, SIGMA = 24, 3.0, 3.5


class SwingField:
    """One field: everything at x > 0 moves along y, smoothly."""

    n_fields = 1

    def basis(self, points: Tensor) -> Tensor:
        moved = torch.zeros(1, len(points), 3)
        near = torch.sigmoid(points[:, 0] / 2.0) * torch.exp(-((points / 30.0) ** 4).sum(1))
        moved[0, :, 1] = near
        return moved

    def coefficients(self, latent: Tensor) -> Tensor:
        return latent * 6.0  # latents of +-1 swing by +-6 A


@dataclass
class MovingProject:
    """A project directory, what is in it, and the truth."""

    root: Path
    table: ParticleTable
    forward: ForwardResult
    atoms: Tensor
    latents: Tensor
    job_class: Any

    def job(self, name: str = "DynaMight/job002", **options: int) -> Any:
        return self.job_class(self.root, self.root / name, is_continue=True, **options)

    def run(self, job: Any, **values: object) -> dict[str, np.ndarray]:
        """Run the task and read its maps."""
        task.run({"fn_star": "particles.star", "backproject_batchsize": 16, "max_bins": 6, **values}, job)  # type: ignore[arg-type]
        folder = job.directory / "backprojection"
        return {path.stem: mrcfile.read(path) for path in folder.glob("*.mrc")}

    def true_map(self, latent: float = 0.0) -> Tensor:
        """Density of one state, (N, N, N)."""
        atoms = self.atoms + 6.0 * latent * SwingField().basis(self.atoms)[0]
        axis = (torch.arange(BOX) - BOX // 2) * PIXEL
        profiles = torch.exp(-((axis[:, None, None] - atoms) ** 2) / (2 * SIGMA**2)) * PIXEL / (SIGMA * (2 * np.pi) ** 0.5)
        return torch.einsum("xa,ya,za->zyx", *(profiles[:, :, a] for a in range(3)))


def molecule() -> Tensor:
    """Atoms (n, 3) A: a core and an arm."""
    generator = torch.Generator().manual_seed(3)
    atoms = torch.randn(60, 3, generator=generator) * 6
    atoms[:, 0] = torch.linspace(-18, 18, 60)
    return atoms


def arm_of(atoms: Tensor) -> Tensor:
    """Which atoms (n, 3) are the outer half of the arm: (n,), 1 or 0."""
    return (atoms[:, 0] > 9).float()


def write_images(root: Path, atoms: Tensor, latents: Tensor, noise: float, has_arm: Tensor, seed: int = 0) -> None:
    """Write particles.star and particles.mrcs: analytic projections times CTF, shifted, plus white noise."""
    rng = np.random.default_rng(seed)
    n = len(latents)
    columns = {
        "rlnAngleRot": rng.uniform(-180, 180, n),
        "rlnAngleTilt": np.degrees(np.arccos(rng.uniform(-1, 1, n))),
        "rlnAnglePsi": rng.uniform(-180, 180, n),
        "rlnOriginXAngst": rng.uniform(-4, 4, n),
        "rlnOriginYAngst": rng.uniform(-4, 4, n),
        "rlnDefocusU": rng.uniform(8000, 16000, n),
        "rlnDefocusV": rng.uniform(8000, 16000, n),
        "rlnDefocusAngle": rng.uniform(0, 180, n),
        "rlnRandomSubset": np.arange(n) % 2 + 1,
        "rlnOpticsGroup": np.ones(n, int),
    }
    lines = ["", "# version 30001", "", "data_optics", "", "loop_"]
    optics = {"rlnOpticsGroup": 1, "rlnOpticsGroupName": "one", "rlnImagePixelSize": PIXEL, "rlnImageSize": BOX}
    optics |= {"rlnVoltage": 300.0, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.1, "rlnImageDimensionality": 2}
    lines += [f"_{name} #{i}" for i, name in enumerate(optics, 1)] + [" ".join(map(str, optics.values())), "", ""]
    lines += ["# version 30001", "", "data_particles", "", "loop_", "_rlnImageName #1"]
    lines += [f"_{name} #{i}" for i, name in enumerate(columns, 2)]
    for i in range(n):
        lines.append(" ".join([f"{i + 1:06d}@particles.mrcs", *(f"{values[i]:.6f}" for values in columns.values())]))
    root.mkdir(parents=True, exist_ok=True)
    text = "\n".join([*lines, "", ""]).replace("1.000000\n", "1\n").replace(" 2.000000 1\n", " 2 1\n")
    (root / "particles.star").write_text(text.replace(" 1.000000 1\n", " 1 1\n"))
    mrcfile.write(root / "particles.mrcs", np.zeros((n, BOX, BOX), np.float32), voxel_size=PIXEL, overwrite=True)
    table = read_particles(root / "particles.star")
    frequencies = frequencies_2d(BOX, PIXEL)
    rotations = euler_matrices(torch.tensor(table.angles_degrees)).float()
    displaced = atoms + 6.0 * latents[:, :, None] * SwingField().basis(atoms)[0]
    xy = torch.einsum("bij,bnj->bni", rotations, displaced)[..., :2]
    there = 1 - (1 - has_arm)[:, None] * arm_of(atoms)
    spectra = torch.einsum("bn,bnyx->byx", there + 0j, torch.exp(-2j * np.pi * torch.einsum("bnd,yxd->bnyx", xy, frequencies)))
    spectra = spectra * torch.exp(-2 * np.pi**2 * SIGMA**2 * frequencies.square().sum(-1))
    spectra = spectra * ctf(table.ctf_parameters(), frequencies)
    spectra = spectra * shift_phases(-torch.tensor(table.origins_angstroms).float(), frequencies)
    images = irfft2(spectra, BOX).numpy() + noise * rng.standard_normal((n, BOX, BOX))
    mrcfile.write(root / "particles.mrcs", images.astype(np.float32), voxel_size=PIXEL, overwrite=True)


def repeat_particles(path: Path, copies: int) -> None:
    """List every particle of a STAR file so many times, one copy behind the other, as symmetry expansion does."""
    lines = path.read_text().split("\n")
    path.write_text("\n".join(line for line in lines for _ in range(copies if "@" in line else 1)))


@pytest.fixture
def make_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording_job: Any) -> Callable[..., MovingProject]:
    """Build a project: make_project(n_particles=..., motion=..., noise=..., held_out=..., copies=..., missing=...)."""

    def make(
        n_particles: int = 200,
        *,
        motion: float = 1.0,
        noise: float = 0.05,
        held_out: float = 0.2,
        copies: int = 1,
        missing: float | None = None,
        name: str = "project",
    ) -> MovingProject:
        root, atoms = tmp_path / name, molecule()
        latents = torch.linspace(-1, 1, n_particles)[torch.randperm(n_particles, generator=torch.Generator().manual_seed(1))]
        latents = latents[:, None] * motion
        share = torch.rand(n_particles, 1, generator=torch.Generator().manual_seed(2))
        presence = torch.ones(n_particles, 0) if missing is None else (share >= missing).float()
        write_images(root, atoms, latents, noise, presence.prod(1))
        repeat_particles(root / "particles.star", copies)
        latents, presence = (values.repeat_interleave(copies, dim=0) for values in (latents, presence))
        table = read_particles(root / "particles.star")
        gaussians = GaussianModel(atoms, amplitude=1.0, width_angstroms=SIGMA).requires_grad_(False)
        parts = SimpleNamespace(membership=arm_of(atoms)[None])
        model = SimpleNamespace(field=SwingField(), gaussians=gaussians, parts=parts)
        halves = {}
        for half in (1, 2):
            rows = np.flatnonzero(table.half == half)
            out = np.arange(len(rows)) < int(held_out * len(rows))
            halves[half] = HalfResult(
                half,
                model,  # type: ignore[arg-type]
                rows,
                out,
                latents[rows],
                torch.full((len(rows), 1), -6.0),
                euler_matrices(torch.tensor(table.angles_degrees[rows])).float(),
                -torch.tensor(table.origins_angstroms[rows]).float(),
                torch.zeros(len(rows)),
                quality=torch.ones(len(rows)),
                scale=torch.ones(len(rows)),
                presence=presence[rows],
            )
        forward = ForwardResult(halves, "truth", BOX, PIXEL, "particles.star", 60.0, 1, Path("truth.pth"))
        monkeypatch.setattr(task, "load_centred_result", lambda *_: forward)
        return MovingProject(root, table, forward, atoms, latents, recording_job)

    return make
