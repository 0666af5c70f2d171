"""A project whose DynaMight job holds a trained checkpoint with a known, smooth, random motion, and a job to run tasks in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import torch
from torch import Tensor

from jobtypes.common.checkpoints import save_checkpoint
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.model.displacement import DisplacementField, encoding_wavelengths
from jobtypes.dynamight.model.encoder import Encoder
from jobtypes.dynamight.model.gaussians import GaussianModel
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.poses import RefinedPoses
from jobtypes.dynamight.model.result import FORMAT_VERSION, KIND, ForwardResult, load_forward_result

BOX, PIXEL, N_PER_HALF, N_LATENT, N_FIELDS = 24, 4.0, 30, 2, 3
RMS_ANGSTROMS = 3.0


def molecule(generator: torch.Generator, n: int = 150) -> Tensor:
    """Gaussians (n, 3) A: a core and an arm along x."""
    core = 7.0 * torch.randn(2 * n // 3, 3, generator=generator)
    arm = torch.tensor((20.0, 4.0, -3.0)) + 4.0 * torch.randn(n - len(core), 3, generator=generator)
    return torch.cat((core, arm)).clamp(-36, 36)


def flexible_model(half: int, latents: Tensor) -> HalfModel:
    """A half model with random smooth fields, its motion scaled to RMS_ANGSTROMS over the latents."""
    generator = torch.Generator().manual_seed(half)
    positions = molecule(generator)
    with torch.random.fork_rng():
        torch.manual_seed(half)
        wavelengths = encoding_wavelengths(BOX * PIXEL, shortest_angstroms=40.0)
        motion = DisplacementField(n_latent=N_LATENT, n_fields=N_FIELDS, wavelengths_angstroms=wavelengths, width=64)
        encoder = Encoder(positions[::10].clone(), N_LATENT)
    motion.set_anchors(positions, torch.ones(len(positions)))
    model = HalfModel(
        GaussianModel(positions, amplitude=1.0, width_angstroms=4.0),
        motion,
        encoder,
        RefinedPoses(len(latents), 0.01, 1.0),
        torch.ones(1, BOX // 2 + 1),
    )
    with torch.no_grad():
        rms = model.displacement(latents).square().sum(2).mean().sqrt()
        motion.branch[-1].weight *= RMS_ANGSTROMS / rms
    return model.eval().requires_grad_(False)


def write_particles(project: Path) -> None:
    """60 particles of noise with random poses, halves 1 and 2 in turn."""
    rng = np.random.default_rng(0)
    with mrcfile.new(project / "stack.mrcs") as file:
        file.set_data(rng.standard_normal((2 * N_PER_HALF, BOX, BOX)).astype(np.float32))
        file.set_image_stack()
        file.voxel_size = PIXEL
    optics = "rlnOpticsGroup rlnVoltage rlnSphericalAberration rlnAmplitudeContrast rlnImagePixelSize rlnImageSize "
    optics += "rlnImageDimensionality"
    columns = "rlnImageName rlnOpticsGroup rlnRandomSubset rlnAngleRot rlnAngleTilt rlnAnglePsi rlnOriginXAngst rlnOriginYAngst "
    columns += "rlnDefocusU rlnDefocusV rlnDefocusAngle"
    lines = ["data_optics", "", "loop_", *(f"_{name}" for name in optics.split()), f"1 300 2.7 0.1 {PIXEL} {BOX} 2", ""]
    lines += ["data_particles", "", "loop_", *(f"_{name}" for name in columns.split())]
    for index in range(2 * N_PER_HALF):
        rot, psi = rng.uniform(-180, 180, 2)
        lines.append(
            f"{index + 1:06d}@stack.mrcs 1 {index % 2 + 1} {rot:.3f} {rng.uniform(0, 180):.3f} {psi:.3f} 0.5 -1.5 15000 14500 30"
        )
    (project / "particles.star").write_text("\n".join([*lines, ""]))


def write_checkpoint(project: Path, *, identity: str = "first", shift_half2: float = 0.0) -> None:
    """A finished training in DynaMight/job002."""
    halves = {}
    for half in (1, 2):
        generator = torch.Generator().manual_seed(10 + half)
        latents = torch.randn(N_PER_HALF, N_LATENT, generator=generator)
        model = flexible_model(half, latents)
        if half == 2:
            model.field.branch[-1].weight *= 1 + shift_half2
        held_out = torch.zeros(N_PER_HALF, dtype=torch.bool)
        held_out[::6] = True
        halves[half] = {
            "model": model.state_dict(),
            "rows": torch.arange(half - 1, 2 * N_PER_HALF, 2),
            "held_out": held_out,
            "latent_mean": latents,
            "latent_log_variance": torch.full_like(latents, -4.0),
            "input_matrices": euler_matrices(torch.rand(N_PER_HALF, 3, generator=generator) * 180),
            "input_shifts": torch.zeros(N_PER_HALF, 2),
        }
    settings = {
        "box": BOX,
        "pixel_size_angstroms": PIXEL,
        "star_file": "particles.star",
        "seed": 1,
        "particle_diameter_angstroms": 70.0,
        "soft_edge_angstroms": 10.0,
        "n_latent": N_LATENT,
        "n_fields": N_FIELDS,
    }
    path = project / "DynaMight/job002/forward_deformations/checkpoints/checkpoint_final.pth"
    contents = {"settings": settings, "identity": identity, "epoch": 7, "halves": halves}
    save_checkpoint(path, contents, kind=KIND, version=FORMAT_VERSION)


@pytest.fixture
def flexible_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording_job: Any) -> Any:
    """A job with a trained checkpoint; the working directory is its project."""
    monkeypatch.chdir(tmp_path)
    write_particles(tmp_path)
    write_checkpoint(tmp_path)
    return recording_job(tmp_path, "DynaMight/job002", is_continue=True)


@pytest.fixture
def forward(flexible_job: Any) -> ForwardResult:
    """The checkpoint of `flexible_job`."""
    return load_forward_result(flexible_job.directory)


@pytest.fixture
def build_checkpoint():
    """`write_checkpoint`, for tests that want another training."""
    return write_checkpoint
