"""A project whose DynaMight job holds a trained checkpoint with a known, smooth, random motion, and a job to run tasks in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jobtypes.dynamight.model.backend import COMPILED_LOOPS, WHOLE_TENSORS, Backend
from jobtypes.dynamight.model.control_points import ControlPoints
from jobtypes.dynamight.model.displacement import DisplacementField
from jobtypes.dynamight.model.encoder import Encoder
from jobtypes.dynamight.model.gaussians import GaussianModel
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.poses import RefinedPoses
from jobtypes.dynamight.model.result import ForwardResult, load_centred_result
from tests.trained_job import JOB, MadeUpHalf, held_out, write_particles, write_training

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
        points = ControlPoints.around(positions, 3 * N_FIELDS)
        motion = DisplacementField(n_latent=N_LATENT, n_fields=N_FIELDS, control_points=points, width=64)
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


def write_checkpoint(
    project: Path,
    *,
    identity: str = "first",
    shift_half2: float = 0.0,
    has_ended: bool = True,
    has_parts: bool = False,
    name: str = "checkpoint_final.pth",
) -> None:
    """A training in DynaMight/job002; what it knows of held-out particles is made up too."""
    halves = {}
    for half in (1, 2):
        generator = torch.Generator().manual_seed(10 + half)
        latents = torch.randn(N_PER_HALF, N_LATENT, generator=generator)
        model = flexible_model(half, latents)
        if half == 2:
            model.field.branch[-1].weight *= 1 + shift_half2
        if has_parts:
            add_part(model)
        by_other = torch.randn(int(held_out(N_PER_HALF).sum()), N_LATENT, generator=generator)
        halves[half] = MadeUpHalf(model, latents, by_other if has_ended else None)
    write_training(project, halves, box=BOX, pixel_size_angstroms=PIXEL, diameter=70.0, identity=identity, name=name)


def add_part(model: HalfModel) -> None:
    """The arm's end is missing in every third particle of a model."""
    model.parts.add(model.gaussians.positions[:, 0] > 20.0, 2 / 3)
    model.parts.presence[:] = 0.95
    model.parts.presence[::3] = 0.05


@pytest.fixture(params=[COMPILED_LOOPS, WHOLE_TENSORS], ids=lambda backend: type(backend).__name__)
def backend(request: pytest.FixtureRequest) -> Backend:
    """What a CPU computes with, and what a GPU does; both on the CPU."""
    return request.param


@pytest.fixture
def flexible_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording_job: Any) -> Any:
    """A job with a trained checkpoint; the working directory is its project."""
    monkeypatch.chdir(tmp_path)
    write_particles(tmp_path, n_particles=2 * N_PER_HALF, box=BOX, pixel_size_angstroms=PIXEL)
    write_checkpoint(tmp_path)
    return recording_job(tmp_path, JOB, is_continue=True)


@pytest.fixture
def forward(flexible_job: Any) -> ForwardResult:
    """The checkpoint of `flexible_job`."""
    return load_centred_result(flexible_job.directory)


@pytest.fixture
def job_with_parts(flexible_job: Any) -> Any:
    """`flexible_job` with a part that some particles lack."""
    write_checkpoint(flexible_job.project, has_parts=True)
    return flexible_job


@pytest.fixture(scope="session")
def build_checkpoint():
    """`write_checkpoint`, for tests that want another training."""
    return write_checkpoint
