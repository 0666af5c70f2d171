"""A project whose job DynaMight/job002 has trained: particles of noise, and a checkpoint of models that a test made up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import torch
from torch import Tensor

from jobtypes.common.checkpoints import save_checkpoint
from jobtypes.common.digests import digest_of_particles
from jobtypes.common.particles import read_particles
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.model.control_points import ControlPoints
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.result import FORMAT_VERSION, KIND, LATENT_BY_OTHER

JOB = Path("DynaMight/job002")
ONE_HELD_OUT_OF = 6
_OPTICS = """rlnOpticsGroup rlnVoltage rlnSphericalAberration rlnAmplitudeContrast rlnImagePixelSize rlnImageSize
    rlnImageDimensionality"""
_PARTICLES = """rlnImageName rlnOpticsGroup rlnRandomSubset rlnAngleRot rlnAngleTilt rlnAnglePsi rlnOriginXAngst rlnOriginYAngst
    rlnDefocusU rlnDefocusV rlnDefocusAngle"""


@dataclass(frozen=True)
class MadeUpHalf:
    """What a half set has learned.

    Attributes
    ----------
    model
        Of the half set.
    latents : (n, d)
        Of its particles.
    latents_by_other : (m, d) or None
        That the other half's model gives to every sixth of them, which are held out; None: the training has not ended.
    """

    model: HalfModel
    latents: Tensor
    latents_by_other: Tensor | None


@torch.no_grad()
def fit_control_points(control_points: ControlPoints, positions: Tensor, wanted: Tensor) -> None:
    """Set the values of control points by least squares, so that they give `wanted` (n, columns) at positions (n, 3) A."""
    nearest = control_points.nearest(positions)
    designs = [
        torch.zeros(len(positions), len(level.points)).scatter_(1, near.index, level.weights(positions, near))
        for level, near in zip(control_points.levels, nearest, strict=True)
    ]
    design = torch.cat(designs, dim=1).double()
    normal = design.T @ design + 1e-4 * torch.eye(design.shape[1])
    solution = torch.linalg.solve(normal, design.T @ wanted.double()).float()
    parts = solution.split([len(level.points) for level in control_points.levels])
    for level, values in zip(control_points.levels, parts, strict=True):
        level.values.copy_(values)


def held_out(n_particles: int) -> Tensor:
    """Which (n,) of the particles of a half set are held out."""
    return torch.arange(n_particles) % ONE_HELD_OUT_OF == 0


def write_particles(project: Path, *, n_particles: int, box: int, pixel_size_angstroms: float) -> None:
    """Particles of noise with random poses, halves 1 and 2 in turn."""
    rng = np.random.default_rng(0)
    with mrcfile.new(project / "stack.mrcs") as file:
        file.set_data(rng.standard_normal((n_particles, box, box)).astype(np.float32))
        file.set_image_stack()
        file.voxel_size = pixel_size_angstroms
    optics = f"1 300 2.7 0.1 {pixel_size_angstroms} {box} 2"
    lines = ["data_optics", "", "loop_", *(f"_{name}" for name in _OPTICS.split()), optics, ""]
    lines += ["data_particles", "", "loop_", *(f"_{name}" for name in _PARTICLES.split())]
    for index in range(n_particles):
        rot, psi = rng.uniform(-180, 180, 2)
        lines.append(
            f"{index + 1:06d}@stack.mrcs 1 {index % 2 + 1} {rot:.3f} {rng.uniform(0, 180):.3f} {psi:.3f} 0.5 -1.5 15000 14500 30"
        )
    (project / "particles.star").write_text("\n".join([*lines, ""]))


def write_training(
    project: Path,
    halves: Mapping[int, MadeUpHalf],
    *,
    box: int,
    pixel_size_angstroms: float,
    diameter: float,
    identity: str = "first",
    name: str = "checkpoint_final.pth",
) -> None:
    """The checkpoint of a training on these particles; both halves have as many."""
    states = {}
    for half, made_up in halves.items():
        n = len(made_up.latents)
        angles = torch.rand(n, 3, generator=torch.Generator().manual_seed(half)) * 180
        states[half] = {
            "model": made_up.model.state_dict(),
            "rows": torch.arange(half - 1, 2 * n, 2),
            "held_out": held_out(n),
            "latent_mean": made_up.latents,
            "latent_log_variance": torch.full_like(made_up.latents, -4.0),
            "input_matrices": euler_matrices(angles),
            "input_shifts": torch.zeros(n, 2),
        }
        if made_up.latents_by_other is not None:
            states[half][LATENT_BY_OTHER] = made_up.latents_by_other
    settings = {
        "box": box,
        "pixel_size_angstroms": pixel_size_angstroms,
        "star_file": "particles.star",
        "inputs": {"fn_star": digest_of_particles(read_particles(project / "particles.star"))},
        "seed": 1,
        "particle_diameter_angstroms": diameter,
        "soft_edge_angstroms": 10.0,
        "n_latent": halves[1].latents.shape[1],
        "n_fields": halves[1].model.field.n_fields,
    }
    contents = {"settings": settings, "identity": identity, "epoch": 7, "halves": states}
    save_checkpoint(project / JOB / "forward_deformations/checkpoints" / name, contents, kind=KIND, version=FORMAT_VERSION)
