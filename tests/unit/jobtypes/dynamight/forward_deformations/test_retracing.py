"""Retracing: a domain that has flowed into its places turns into them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from jobtypes.dynamight.forward_deformations import large_motions, retracing
from jobtypes.dynamight.forward_deformations.large_motions import follow_large_motions
from jobtypes.dynamight.forward_deformations.retracing import Retracing, StateTree, main_fields
from jobtypes.dynamight.forward_deformations.schedule import EpochPlan
from jobtypes.dynamight.forward_deformations.training import HalfTraining
from jobtypes.dynamight.model.deformed import Deformed
from tests.crews import work_together

PLAN = EpochPlan(deforms=True, resolution_angstroms=8.0, kl_weight=0.01, learning_rate=1.0, looks_for_parts=True)
FARTHEST = math.radians(150)
NOISE = 2.5  # of a Fourier term, about a tenth of the signal


def bent_rod() -> tuple[Tensor, Tensor]:
    """60 points (n, 3) A of a core and of a bent rod beside it, and which are the rod's."""
    generator = torch.Generator().manual_seed(4)
    core = 7 * torch.randn(30, 3, generator=generator).clamp(-1.5, 1.5) - torch.tensor([14.0, 0.0, 0.0])
    along = torch.linspace(-14, 14, 20)
    rod = torch.stack((torch.full_like(along, 18.0), along, torch.zeros_like(along)), dim=1)
    foot = torch.tensor([18.0, 14.0, 0.0]) + torch.linspace(1, 12, 10)[:, None] * torch.tensor([0.0, 0.0, 1.0])
    return torch.cat((core, rod, foot)), torch.arange(60) >= 30


def turned(points: Tensor, is_rod: Tensor, angles: Tensor) -> Tensor:
    """(p, n, 3) A: displacements of the points where the rod turns by angles (p,) about the axis x through its middle."""
    middle = torch.tensor([18.0, 0.0, 0.0])
    cos, sin, zero, one = angles.cos(), angles.sin(), torch.zeros_like(angles), torch.ones_like(angles)
    matrices = torch.stack((one, zero, zero, zero, cos, -sin, zero, sin, cos), dim=1).view(-1, 3, 3)
    moved = torch.einsum("pij,nj->pni", matrices, points - middle) + middle - points
    return moved * is_rod[:, None]


def flowed(points: Tensor, is_rod: Tensor, displacements: Tensor) -> Tensor:
    """(p, n, 3) A: the same density as displaced points, where each point of the rod goes to whichever place is nearest."""
    flown = displacements.clone()
    rod = torch.nonzero(is_rod).squeeze(1)
    for number, displacement in enumerate(displacements):
        places = (points + displacement)[rod]
        _, nearest = linear_sum_assignment(torch.cdist(points[rod], places).square().numpy())
        flown[number, rod] = places[nearest] - points[rod]
    return flown


def flow(training) -> tuple[HalfTraining, Tensor, Tensor]:
    """Let a training be that of a rod that turns by up to 150 degrees, whose model knows no more than where density is.

    Returns it, the true displacements (p, n, 3) A and which Gaussians are the rod's.
    """
    model, observations = training.model.eval(), training.observations
    points, is_rod = bent_rod()
    angles = torch.linspace(0, 1, len(observations))[torch.randperm(len(observations), generator=training.generator)] * FARTHEST
    with torch.no_grad():
        model.quality.typical.fill_(1.0)
        model.gaussians.positions.copy_(points)
        model.field.set_anchors(points, torch.where(is_rod, 1e-3, 1.0))
        true = turned(points, is_rod, angles)
        give_images(training, true)
        training.latent_mean[:, 0], training.latent_mean[:, 1] = 2 * angles / FARTHEST, 0
        shares = torch.full((len(angles),), 1 / len(angles))
        fields, coefficients = main_fields(flowed(points, is_rod, true), shares, model.gaussians.amplitudes, model.field.n_fields)
        model.field.hold(fields, points)
    Retracing(training, torch.arange(len(observations)), PLAN)._teach(coefficients)
    training.begin_anew()
    return training, true, is_rod


@pytest.fixture
def flowing(new_training, monkeypatch):
    """What `flow` makes of a training."""
    monkeypatch.setattr(retracing, "FEWEST_OF_A_STATE", 2)
    return flow(new_training())


def give_images(training, displacements: Tensor) -> None:
    """Give the own particles of a training images of its Gaussians displaced by (p, n, 3) A, and some noise."""
    model, observations = training.model, training.observations
    own = training.share.of(torch.arange(len(observations)))
    batch = observations.batch(own)
    points = Deformed(model.gaussians.positions, torch.eye(len(displacements))[own], displacements)
    images = batch.ctf * model.project_batch(points, batch, training.projector, len(observations.band))[:, 0]
    noise = torch.randn(len(observations), *images.shape[1:], 2, generator=torch.Generator().manual_seed(1))[own]
    images = images + NOISE * torch.view_as_complex(noise)
    parts = torch.view_as_real(images)
    observations.scale.copy_(parts.abs().amax((1, 2)) / 3e4)
    observations.spectra.copy_((parts / observations.scale[:, None, None]).half())
    model.noise_power.fill_(2 * NOISE**2)


def explained(found: Tensor, true: Tensor) -> float:
    """Share of the motion (p, n, 3) that is right, whichever conformation it is counted from."""
    off, motion = (found - found.mean(0)) - (true - true.mean(0)), true - true.mean(0)
    return 1 - float(off.square().sum() / motion.square().sum())


def parameters(training) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in training.model.parameters()]


@torch.no_grad()
def states(retracing: Retracing, training) -> StateTree:
    return StateTree.of(retracing._coordinates(training.training), training.training)


def test_a_rod_that_flowed_into_its_places_turns_into_them(flowing):
    training, true, is_rod = flowing
    search = Retracing(training, training.training, PLAN)
    tree = states(search, training)
    wanted = torch.stack([true[members].mean(0) for members in tree.members])[:, is_rod]
    assert explained(search._former_states(tree).detach()[:, is_rod], wanted) < 0
    found = search._states(tree)
    assert explained(found[:, is_rod], wanted) > 0.9
    with torch.no_grad():
        coordinates = search._coordinates(training.training)
    search._take_over(tree, found, coordinates)
    with torch.no_grad():
        learned = training.model.displacement(training.latent_mean[training.training])
    assert explained(learned[:, is_rod], true[training.training][:, is_rod]) > 0.8


def test_several_processes_find_the_states_of_one(new_training, monkeypatch):
    monkeypatch.setattr(retracing, "FEWEST_OF_A_STATE", 2)

    def work(crew) -> tuple[Tensor, bool]:
        training, _, _ = flow(new_training(crew=crew))
        search = Retracing(training, training.training, PLAN)
        tree = states(search, training)
        found = search._states(tree)
        return found, search._is_better(tree, torch.zeros_like(found), found)

    ((expected, agreed),) = work_together(1, work)
    for found, also_agreed in work_together(2, work):
        assert float((found - expected).norm(dim=2).max()) < 0.1  # of 30
        assert also_agreed == agreed


def test_states_are_taken_over_where_held_out_particles_agree_and_else_nothing_changes(flowing, monkeypatch):
    training, _, _ = flowing
    before = parameters(training)
    monkeypatch.setattr(Retracing, "_is_better", lambda *_: False)
    assert not Retracing(training, training.training, PLAN).run()
    assert all(map(torch.equal, before, parameters(training)))
    monkeypatch.setattr(Retracing, "_is_better", lambda *_: True)
    assert Retracing(training, training.training, PLAN).run()
    assert not all(
        one.shape == other.shape and torch.equal(one, other) for one, other in zip(before, parameters(training), strict=True)
    )


def test_held_out_particles_prefer_the_true_states(flowing):
    training, true, _ = flowing
    training.held_out = torch.arange(len(true))  # more judges
    search = Retracing(training, training.training, PLAN)
    tree = states(search, training)
    right = torch.stack([true[members].mean(0) for members in tree.members])
    at_rest = torch.zeros_like(right)
    assert search._is_better(tree, at_rest, right)
    assert not search._is_better(tree, right, at_rest)
    assert not search._is_better(tree, right, right)


def test_large_motions_are_followed_once_and_no_part_is_looked_for_meanwhile(flowing, monkeypatch):
    training, _, _ = flowing
    runs = []
    monkeypatch.setattr(Retracing, "run", lambda self: runs.append(len(self._sample)) or True)
    monkeypatch.setattr(large_motions, "FAR_ANGSTROMS", 0.0)
    assert follow_large_motions(training, replace(PLAN, looks_for_parts=False))
    assert (runs, training.is_retraced) == ([], False)
    assert follow_large_motions(training, PLAN)
    assert (runs, training.is_retraced) == ([len(training.training)], True)
    here = parameters(training)
    assert follow_large_motions(training, PLAN)  # still far, but the consensus stays
    assert len(runs) == 1
    assert all(map(torch.equal, here, parameters(training)))
    assert training.state()["is_retraced"]


@pytest.mark.parametrize(("detail", "runs"), [(1.0, 1), (1000.0, 0)])
def test_motions_larger_than_detail_are_found_anew_though_the_consensus_is_a_state(flowing, monkeypatch, detail, runs):
    training, _, _ = flowing
    ran = []
    monkeypatch.setattr(Retracing, "run", lambda self: ran.append(self) or False)
    monkeypatch.setattr(large_motions, "FAR_ANGSTROMS", 1e6)
    monkeypatch.setattr(large_motions, "RESOLUTION_ANGSTROMS", detail)
    here = parameters(training)
    assert not follow_large_motions(training, PLAN)
    assert (len(ran), training.is_retraced) == (runs, False)
    if not runs:
        assert all(map(torch.equal, here, parameters(training)))


def test_every_state_is_reached_from_one_that_was_found_before():
    coordinates = torch.stack((torch.arange(100.0), torch.zeros(100)), dim=1) - 30
    tree = StateTree.of(coordinates, torch.arange(100))
    assert len(tree.members) == 5
    assert sorted(torch.cat(tree.members).tolist()) == list(range(100))
    first, *others = tree.order
    assert int(tree.centres.norm(dim=1).argmin()) == first
    assert tree.reached_from[first] == -1
    for place, state in enumerate(others, start=1):
        before = tree.reached_from[state]
        assert before in tree.order[:place]
        # along a line the neighbour is the next one
        assert int((tree.centres[:, 0] > tree.centres[:, 0].min()).sum()) == 4
        between = (tree.centres[:, 0] - tree.centres[before, 0]) * (tree.centres[:, 0] - tree.centres[state, 0]) < 0
        assert not between.any()
    assert torch.allclose(tree.shares().sum(), torch.tensor(1.0))


def test_values_are_blended_between_the_states_around():
    tree = StateTree([torch.arange(2)] * 2, torch.tensor([[0.0], [4.0]]), [0, 1], [-1, 0])
    values = tree.blended(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0], [4.0]]))
    assert torch.allclose(values[1], torch.tensor([0.5]))
    assert values[0] < 0.15 < 0.85 < values[2]


def test_main_fields_add_up_to_the_states():
    generator = torch.Generator().manual_seed(0)
    wanted = torch.einsum("sk,knc->snc", torch.randn(12, 3, generator=generator), torch.randn(3, 30, 3, generator=generator))
    shares, weights = torch.rand(12, generator=generator), torch.rand(30, generator=generator) + 0.1
    shares = shares / shares.sum()
    fields, coefficients = main_fields(wanted, shares, weights, 5)
    assert torch.allclose(torch.einsum("sk,knc->snc", coefficients, fields), wanted, atol=1e-4)
    assert torch.equal(fields[3:], torch.zeros_like(fields[3:]))
    assert torch.allclose(shares @ coefficients[:, :3].square(), torch.ones(3), atol=1e-4)
    # the first is the largest, by what it does to the density
    size = torch.einsum("knc,n->k", fields.square(), weights)
    assert size[0] >= size[1] >= size[2] > 0
