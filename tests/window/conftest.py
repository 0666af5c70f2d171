"""A molecule with one arm on a hinge, a model that has learned exactly that, and a window on it. See tests/test_window.py."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.trained_job import JOB, MadeUpHalf, fit_control_points, held_out, write_particles, write_training

if os.environ.get("RELION_JOBS_WINDOW_TESTS") != "1":
    collect_ignore_glob = ["test_*.py"]  # they need a display

BOX, PIXEL, WIDTH, N_PER_HALF = 32, 4.0, 6.0, 120
SPACINGS = (26.0, 13.0, 6.5, 3.0)  # of control points, so dense at the end that they hold the hinge to a few tenths of an A
HINGE = np.array((14.0, 0.0, 0.0))
LARGEST_ANGLE = 0.9  # radians to either side
MISTAKEN, MISTAKE = 5, -0.3  # of half 1's held-out particles, and radians


def molecule() -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) A with the arm halfway, and which belong to the arm; no two directions are alike."""
    rng = np.random.default_rng(3)
    core = rng.uniform(-1, 1, (90, 3)) * (14, 18, 11) + (-6, 2, 0)
    arm = np.column_stack((rng.uniform(16, 44, 40), rng.uniform(-4, 4, 40), rng.uniform(-4, 4, 40)))
    return np.concatenate((core, arm)), np.arange(130) >= 90


def turned(angle: float) -> np.ndarray:
    """The truth: points (n, 3) A with the arm turned about z through the hinge by `angle`."""
    points, arm = molecule()
    c, s = np.cos(angle), np.sin(angle)
    points[arm] = (points[arm] - HINGE) @ np.array(((c, s, 0), (-s, c, 0), (0, 0, 1))) + HINGE
    return points


def true_density(angle: float, at: np.ndarray) -> np.ndarray:
    """Density (m,) of the molecule with its arm at `angle`, at points (m, 3) A."""
    squared = ((at[:, None] - turned(angle)[None]) ** 2).sum(2)
    return np.exp(-squared / (2 * WIDTH**2)).sum(1)


def learned_model(generator: torch.Generator):
    """A half model with the two fields of the hinge: d = (cos a - 1) (x - h) + sin a (z cross (x - h)), by least squares."""
    from jobtypes.dynamight.model.control_points import ControlPoints, thinned
    from jobtypes.dynamight.model.displacement import DisplacementField
    from jobtypes.dynamight.model.encoder import Encoder
    from jobtypes.dynamight.model.gaussians import GaussianModel
    from jobtypes.dynamight.model.half_model import HalfModel
    from jobtypes.dynamight.model.poses import RefinedPoses

    points, arm = molecule()
    positions = torch.from_numpy(points).float()
    control_points = ControlPoints([thinned(positions, spacing) for spacing in SPACINGS], SPACINGS, 6)
    field = DisplacementField(n_latent=2, n_fields=2, control_points=control_points, width=256)
    field.set_anchors(positions, torch.ones(len(positions)))
    field.set_mask(torch.ones(BOX, BOX, BOX), PIXEL)  # everything may move, and the frame is the box
    from_hinge = np.where(arm[:, None], points - HINGE, 0.0)
    radial = from_hinge * (1, 1, 0)
    tangential = np.column_stack((-from_hinge[:, 1], from_hinge[:, 0], np.zeros(len(points))))
    latents = torch.from_numpy(np.random.default_rng(0).uniform(-1.1, 1.1, (800, 2))).float()
    angles = LARGEST_ANGLE * latents[:, 0]
    fit_control_points(field.trunk, positions, torch.from_numpy(np.concatenate((radial, tangential), axis=1)).float())
    _fit_last(field.branch, latents, torch.stack((angles.cos() - 1, angles.sin()), dim=1))
    model = HalfModel(
        GaussianModel(positions, amplitude=1.0, width_angstroms=WIDTH),
        field,
        Encoder(positions[::10].clone(), 2),
        RefinedPoses(N_PER_HALF, 0.01, 1.0),
        torch.ones(1, BOX // 2 + 1),
    )
    return model.eval().requires_grad_(False)


@torch.no_grad()
def _fit_last(network: torch.nn.Sequential, inputs: torch.Tensor, wanted: torch.Tensor) -> None:
    """Set the last layer of a network so that it gives what is wanted."""
    hidden = torch.column_stack((network[:-1](inputs), torch.ones(len(inputs)))).double()
    square = hidden.T @ hidden + 1e-7 * torch.eye(hidden.shape[1])
    solution = torch.linalg.solve(square, hidden.T @ wanted.double()).float()
    network[-1].weight.copy_(solution[:-1].T)
    network[-1].bias.copy_(solution[-1])


def write_project(project: Path) -> np.ndarray:
    """Particles, and a checkpoint in DynaMight/job002; returns the true angle of each particle of half 1.

    Both halves have learned the truth, and about half 1's held-out particle `MISTAKEN` half 2 is mistaken by `MISTAKE`.
    """
    write_particles(project, n_particles=2 * N_PER_HALF, box=BOX, pixel_size_angstroms=PIXEL)
    halves = {}
    for half in (1, 2):
        generator = torch.Generator().manual_seed(half)
        with torch.random.fork_rng():
            torch.manual_seed(half)
            model = learned_model(generator)
        spread = torch.linspace(-1, 1, N_PER_HALF)[torch.randperm(N_PER_HALF, generator=generator)]
        latents = torch.stack((spread, 0.05 * torch.randn(N_PER_HALF, generator=generator)), dim=1)
        by_other = latents[held_out(N_PER_HALF)]
        if half == 1:
            by_other[MISTAKEN, 0] += MISTAKE / LARGEST_ANGLE
        halves[half] = MadeUpHalf(model, latents, by_other)
    write_training(project, halves, box=BOX, pixel_size_angstroms=PIXEL, diameter=110.0, identity="hinge")
    return LARGEST_ANGLE * halves[1].latents[:, 0].numpy()


@pytest.fixture
def hinge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording_job) -> SimpleNamespace:
    """The project, its job, and the truth."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    angles = write_project(tmp_path)
    job = recording_job(tmp_path, JOB, is_continue=True)
    return SimpleNamespace(job=job, angles=angles, turned=turned, density=true_density, mistake=(MISTAKEN, MISTAKE))


@pytest.fixture
def explorer(hinge: SimpleNamespace, make_napari_viewer, qtbot):
    """A window on half 1."""
    from jobtypes.dynamight.model.result import load_centred_result
    from jobtypes.dynamight.visualization.window.opening import make_explorer

    viewer = make_napari_viewer(ndisplay=3, show=True)
    viewer.window.resize(1300, 850)
    explorer = make_explorer(viewer, load_centred_result(hinge.job.directory), hinge.job, half_set=1, n_clusters=3, seed=1)
    qtbot.waitUntil(lambda: not explorer.background.busy, timeout=60_000)
    yield explorer
    explorer.background.wait()
