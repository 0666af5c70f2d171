"""A particle set of a dumbbell whose one end swings: small enough to train on in seconds, made without our projector."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from relion_jobs.contract.options import defaults, parse_values

BOX, PIXEL_SIZE, PARTICLES = 24, 4.0, 48
STAR_HEADER = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnImagePixelSize #5
_rlnImageSize #6
1 300.0 2.7 0.1 4.0 24

# version 30001

data_particles

loop_
_rlnImageName #1
_rlnAngleRot #2
_rlnAngleTilt #3
_rlnAnglePsi #4
_rlnOriginXAngst #5
_rlnOriginYAngst #6
_rlnDefocusU #7
_rlnDefocusV #8
_rlnDefocusAngle #9
_rlnRandomSubset #10
_rlnOpticsGroup #11
"""


def gaussian(shape_centre: np.ndarray, ndim: int, width: float) -> np.ndarray:
    """Unit-integral Gaussian of a centre in A (x first) on the grid of the box, in `ndim` dimensions."""
    axis = (np.arange(BOX) - BOX // 2) * PIXEL_SIZE
    profiles = [np.exp(-((axis - c) ** 2) / (2 * width**2)) for c in shape_centre[:ndim]]
    image = profiles[0]
    for profile in profiles[1:]:
        image = np.multiply.outer(profile, image)  # x ends as the last axis
    return image / (width / PIXEL_SIZE * math.sqrt(2 * math.pi)) ** ndim


def balls(angle: float) -> np.ndarray:
    """Centres (4, 3) in A: a fixed L of three balls and one that swings by `angle` radians."""
    swing = np.array([14 * math.cos(angle), 14 * math.sin(angle), 8.0])
    return np.array([[-12.0, 0, 0], [0, 0, -8.0], [0, 0, 8.0], swing])


def write_stack(path: Path, images: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(images.astype(np.float32))
        file.voxel_size = PIXEL_SIZE


def make_project(root: Path) -> Path:
    """Write particles.star, particles.mrcs and map.mrc, without CTF oscillations (defocus 0, Q = 1 would be exotic: 1 um)."""
    rng = np.random.default_rng(5)
    angles = np.degrees(rng.uniform([-np.pi, 0, -np.pi], [np.pi, np.pi, np.pi], (PARTICLES, 3)))
    images, rows = [], []
    for index, (rot, tilt, psi) in enumerate(angles):
        a, b, c = np.radians([rot, tilt, psi])
        rz = lambda t: np.array([[math.cos(t), math.sin(t), 0], [-math.sin(t), math.cos(t), 0], [0, 0, 1]])  # noqa: E731
        ry = np.array([[math.cos(b), 0, -math.sin(b)], [0, 1, 0], [math.sin(b), 0, math.cos(b)]])
        matrix = rz(c) @ ry @ rz(a)
        projection = sum(gaussian(matrix @ centre, 2, 5.0) for centre in balls(rng.uniform(-0.6, 0.6)))
        images.append(30 * projection + rng.normal(0, 0.5, (BOX, BOX)))
        half = index % 2 + 1
        rows.append(f"{index + 1:06d}@particles.mrcs {rot:.4f} {tilt:.4f} {psi:.4f} 0 0 100 100 0 {half} 1")
    write_stack(root / "particles.mrcs", np.stack(images))
    write_stack(root / "map.mrc", 30 * sum(gaussian(centre, 3, 5.0) for centre in balls(0.0)))
    (root / "particles.star").write_text(STAR_HEADER + "\n".join(rows) + "\n\n")
    (root / "DynaMight/job001").mkdir(parents=True)
    return root


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(make_project(tmp_path))
    return tmp_path


@pytest.fixture
def new_job(project, recording_job):
    return partial(recording_job, project, "DynaMight/job001")


@pytest.fixture
def values():
    from jobtypes.dynamight.job import JOB_TYPE

    def make(**changes: str):
        flags = "--n-training-epochs 4 --training-batch-size 5 --soft-edge-width 12 --n-basis-fields 4 --n-latent-dimensions 2"
        texts = defaults(JOB_TYPE.options) | {
            "fn_star": "particles.star",
            "fn_map": "map.mrc",
            "nr_gaussians": "60",
            "other_args": flags,
        }
        texts |= {name: text for name, text in changes.items() if name != "extra"}
        texts["other_args"] += " " + changes.get("extra", "")
        return parse_values(JOB_TYPE.options, texts, task="forward_deformations")

    return make


@pytest.fixture
def new_training(project, values):
    """Make the training of half 1 of the swinging dumbbell, its last four particles held out, as a process of a crew has it."""
    from jobtypes.common.team import ALONE
    from jobtypes.dynamight.forward_deformations.dealing import dealt_share
    from jobtypes.dynamight.forward_deformations.noise import image_power
    from jobtypes.dynamight.forward_deformations.plan import make_plan
    from jobtypes.dynamight.forward_deformations.seeding import ModelSize, generator_of_half, seed_model
    from jobtypes.dynamight.forward_deformations.training import HalfTraining, TrainingSettings
    from jobtypes.dynamight.model.observations import Observations
    from jobtypes.dynamight.model.projection import Projector
    from jobtypes.dynamight.options import ForwardOptions

    plan = make_plan(ForwardOptions.from_values(values()), Path.cwd())
    index = torch.arange(len(plan.rows(1)))

    def make(n_widths: int = 1, crew=ALONE):
        share = dealt_share(crew, 5, index[:-4], index[-4:])
        observations = Observations(plan.table, plan.rows(1), plan.band, plan.mask, device=torch.device("cpu"), share=share)
        observations.read(plan.images, lambda count: None)
        generator = generator_of_half(3, 1)
        size = ModelSize(n_gaussians=60, n_widths=n_widths, n_latent=2, n_fields=4)
        projector, noise = Projector(plan.band), image_power(observations, 1, index[:-4])
        model = seed_model(
            plan.seed, observations, projector, training=index[:-4], noise_power=noise, generator=generator, size=size
        )
        settings = TrainingSettings(
            batch_size=5,
            stiffness=1.0,
            learns_stiffness=True,
            independent_fraction=0.4,
            refine_poses=True,
            learning_rate=1.0,
            n_epochs=4,
            most_epochs=4,
        )
        return HalfTraining(
            model, observations, projector, training=index[:-4], held_out=index[-4:], settings=settings, generator=generator
        )

    return make
