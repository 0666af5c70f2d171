"""A half model that knows the motion of a simulated molecule."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jobtypes.dynamight.model.control_points import ControlPoints
from jobtypes.dynamight.model.displacement import DisplacementField
from jobtypes.dynamight.model.encoder import Encoder
from jobtypes.dynamight.model.gaussians import GaussianModel
from jobtypes.dynamight.model.half_model import HalfModel
from jobtypes.dynamight.model.poses import RefinedPoses
from jobtypes.simulate.truth import Truth
from tests.trained_job import fit_control_points

MODES = 3


def solved(network: torch.nn.Sequential, inputs: Tensor, wanted: Tensor) -> None:
    """Set the last layer of a network by least squares, so that it gives `wanted` (m, o) for `inputs` (m, i)."""
    hidden = network[:-1](inputs).double()
    design = torch.cat((hidden, torch.ones_like(hidden[:, :1])), dim=1)
    normal = design.T @ design + 1e-6 * len(design) * torch.eye(design.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(normal, design.T @ wanted.double()).float()  # (h + 1, o)
    network[-1].weight.copy_(solution[:-1].T)
    network[-1].bias.copy_(solution[-1])


@torch.no_grad()
def true_model(truth: Truth, sign: float = 1.0) -> HalfModel:
    """A half model whose latent is the true coordinate, less that of the consensus, times a sign: nothing is trained."""
    torch.manual_seed(0)
    middle, steps = truth.consensus_coordinates, np.linspace(0, 1, 21)
    consensus = torch.from_numpy(truth.positions(middle)).float()
    moved = torch.stack([torch.from_numpy(truth.positions(np.array([t]))).float() for t in steps]) - consensus
    left, size, modes = torch.linalg.svd(moved.flatten(1), full_matrices=False)
    box, pixel = truth.renderer.box, truth.renderer.pixel_size_angstroms
    field = DisplacementField(n_latent=1, n_fields=MODES, control_points=ControlPoints.around(consensus, 3 * MODES))
    fields = modes[:MODES].view(MODES, -1, 3).permute(1, 0, 2).reshape(len(consensus), 3 * MODES)
    fit_control_points(field.trunk, consensus, fields)
    latents = sign * torch.from_numpy(steps - middle[0]).float()[:, None]
    solved(field.branch, latents, left[:, :MODES] * size[:MODES])
    field.set_anchors(consensus, torch.ones(len(consensus)))
    field.set_mask(torch.ones(box, box, box), pixel)  # everything may move, the whole too
    gaussians = GaussianModel(consensus, amplitude=1.0, width_angstroms=2.0)
    encoder, noise_power = Encoder(consensus[::50].clone(), 1), torch.ones(1, box // 2 + 1)
    model = HalfModel(gaussians, field, encoder, RefinedPoses(1), noise_power)
    return model.eval().requires_grad_(False)
