"""The search for missing parts: on made-up likelihoods, whose answer is known, and on images that the model itself has made."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from jobtypes.dynamight.forward_deformations.continuation import gone_on
from jobtypes.dynamight.forward_deformations.occupancy import Cells, PartSearch, _likelihoods, find_parts
from jobtypes.dynamight.forward_deformations.schedule import PARTS_AFTER, EpochPlan, plan_epoch
from jobtypes.dynamight.model.inference import responses_of_amplitudes

PLAN = EpochPlan(deforms=True, resolution_angstroms=12.0, kl_weight=1.0, learning_rate=1.0, looks_for_parts=True)
PLAIN = replace(PLAN, looks_for_parts=False)
CELLS = Cells(torch.arange(8), [{number - 1, number + 1} & set(range(8)) for number in range(8)])  # a chain


def likelihoods(amplitudes: np.ndarray, information: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and curvature at the mean amplitude of particles (p, C), whose cells have these amplitudes and hardly overlap."""
    rng = np.random.default_rng(seed)
    curvature = information * (np.eye(8) + 0.2 * np.eye(8, k=1) + 0.2 * np.eye(8, k=-1))
    noise = rng.standard_normal(amplitudes.shape) @ np.linalg.cholesky(curvature).T
    gradient = (amplitudes - amplitudes.mean(0)) / amplitudes.mean(0) @ curvature + noise
    return gradient, np.broadcast_to(curvature, (len(amplitudes), 8, 8))


def with_missing(cells: list[int], share: float, particles: int = 2000, seed: int = 1) -> np.ndarray:
    amplitudes = np.ones((particles, 8))
    lacking = np.random.default_rng(seed).random(particles) < share
    amplitudes[np.ix_(lacking, cells)] = 0
    return amplitudes


@pytest.mark.parametrize(("cells", "share"), [([2, 3], 0.2), ([5], 0.3), ([0, 1, 2], 0.5)])
def test_the_part_that_is_missing_is_found(cells: list[int], share: float) -> None:
    found = PartSearch(CELLS, *likelihoods(with_missing(cells, share), 4.0)).best()
    assert found is not None
    assert found.is_sure(8)
    assert found.cells == frozenset(cells)
    assert found.missing == pytest.approx(share, abs=0.06)
    lacking = with_missing(cells, share)[:, cells[0]] == 0
    assert found.missing_in()[lacking].mean() > 0.7
    assert found.missing_in()[~lacking].mean() < 0.15


def test_nothing_is_found_where_nothing_is_missing() -> None:
    for seed in range(5):
        found = PartSearch(CELLS, *likelihoods(np.ones((2000, 8)), 4.0, seed)).best()
        assert found is None or not found.is_sure(8)


def test_an_amplitude_that_scatters_is_no_missing_part() -> None:
    """So does that of a part which moves in a way that the model does not know yet."""
    amplitudes = np.ones((2000, 8))
    amplitudes[:, 3:5] += 0.3 * np.random.default_rng(4).standard_normal((2000, 1))
    found = PartSearch(CELLS, *likelihoods(amplitudes, 4.0)).best()
    assert found is None or not found.is_sure(8)


def test_a_second_part_is_found_beside_the_first() -> None:
    amplitudes = with_missing([1, 2], 0.3) * with_missing([6], 0.3, seed=2)
    search = PartSearch(CELLS, *likelihoods(amplitudes, 8.0))
    found = []
    while (part := search.best()) is not None and part.is_sure(8):
        found.append(part.cells)
        search.take(part)
    assert sorted(map(sorted, found)) == [[1, 2], [6]]


def test_cells_hold_every_gaussian_and_touch_each_other() -> None:
    positions = 60 * torch.rand(500, 3, generator=torch.Generator().manual_seed(0))
    cells = Cells.around(positions)
    assert torch.equal(cells.of_gaussian.unique(), torch.arange(len(cells)))
    assert all(number in cells.neighbours[other] for number, mine in enumerate(cells.neighbours) for other in mine)
    assert all(cells.neighbours)


def imaged(training, lacking: torch.Tensor, members: torch.Tensor) -> None:
    """Give the particles of a training images of its own model at rest, some without some Gaussians, and some noise."""
    observations, model = training.observations, training.model
    index = torch.arange(len(observations))
    batch = observations.batch(index)
    with torch.no_grad():
        model.quality.typical.fill_(1.0)
        matrices, shifts = model.poses(batch.index, batch.matrices, batch.shifts)
        amplitudes = torch.stack((model.gaussians.class_amplitudes(), model.gaussians.class_amplitudes() * members))
        terms = model.project_as(
            amplitudes, model.at_rest(len(index)), matrices, shifts, training.projector, len(observations.band)
        )
        images = batch.ctf * (terms[:, 0] - lacking[:, None] * terms[:, 1])
        noise = 0.3 * float(images.abs().square().mean() ** 0.5)
        images = images + noise * torch.view_as_complex(torch.randn(*images.shape, 2, generator=torch.Generator().manual_seed(1)))
        parts = torch.view_as_real(images)
        observations.scale.copy_(parts.abs().amax((1, 2)) / 3e4)
        observations.spectra.copy_((parts / observations.scale[:, None, None]).half())
        model.noise_power.fill_(2 * noise**2)


def test_the_ball_that_some_images_lack_becomes_a_part(new_training) -> None:
    training = new_training()
    cells = Cells.around(training.model.gaussians.positions)
    swings = training.model.gaussians.positions[:, 0] > 8.0
    members = torch.isin(cells.of_gaussian, cells.of_gaussian[swings].mode().values)
    members |= torch.isin(cells.of_gaussian, cells.of_gaussian[swings & ~members].mode().values)  # two cells of that ball
    lacking = torch.zeros(len(training.observations))
    lacking[::2] = 1
    imaged(training, lacking, members)
    # the consensus has the mean amplitude of what is missing in some
    training.model.gaussians.multiply(members, float(1 - lacking[training.training].mean()))
    before = training.model.gaussians.amplitudes.detach().clone()
    find_parts(training, PLAN)
    parts, amplitudes = training.model.parts, training.model.gaussians.amplitudes.detach()
    assert len(parts) == 1
    found = parts.membership[0] > 0
    assert torch.equal(found, members)
    # it is now as dense as where it is there
    assert float((amplitudes[found] / before[found]).mean()) == pytest.approx(1 / float(parts.share), rel=1e-4)
    # and every image tells whether it has it
    batch = training.observations.batch(torch.arange(len(lacking)))
    with torch.no_grad():
        matrices, shifts = training.model.poses(batch.index, batch.matrices, batch.shifts)
        n_terms = len(training.observations.band)
        terms = training.model.project_parts(training.model.at_rest(len(lacking)), matrices, shifts, training.projector, n_terms)
        training.judge(batch, terms, n_terms)
    assert parts.presence[lacking == 1].max() < 0.5 < parts.presence[lacking == 0].min()


def test_nothing_becomes_a_part_where_all_images_are_whole(new_training) -> None:
    training = new_training()
    imaged(training, torch.zeros(len(training.observations)), training.model.gaussians.positions[:, 0] > 8.0)
    find_parts(training, PLAN)
    assert len(training.model.parts) == 0


def test_responses_are_the_derivatives_of_the_likelihood(new_training) -> None:
    """Where priors hold latents, poses and scale, by finite differences of the misfit with changed amplitudes."""
    training = new_training()
    model, observations = training.model, training.observations
    model.quality.scale_spread.fill_(1e-4)
    model.poses.sigmas.fill_(1e-6)
    index, n_terms = torch.arange(4), len(observations.band)
    batch, latent = observations.batch(index), 0.1 * torch.ones(4, 2)
    members = torch.stack((model.gaussians.positions[:, 0] > 0, model.gaussians.positions[:, 1] > 0)).float()
    gradient, curvature = responses_of_amplitudes(
        model, batch, latent, training.projector, members, n_terms=n_terms, independent_fraction=0.4, prior_weight=1e8
    )
    weights = 0.4 * observations.band.weights * model.precision(observations.band, n_terms)[batch.group]
    matrices, shifts = model.poses(batch.index, batch.matrices, batch.shifts)

    @torch.no_grad()
    def likelihood(change: torch.Tensor) -> torch.Tensor:
        amplitudes = model.gaussians.class_amplitudes() * (1 + change @ members)
        terms = model.project_as(amplitudes[None], model.deformed(latent), matrices, shifts, training.projector, n_terms)[:, 0]
        return -(weights * (batch.spectra - model.transfer(batch, n_terms) * terms).abs().square()).sum(1).double()

    for first in range(2):
        step = 0.05 * torch.eye(2)[first]
        slope = (likelihood(step) - likelihood(-step)) / 0.1
        assert gradient[:, first].double() == pytest.approx(slope, rel=2e-2, abs=2e-2 * float(slope.abs().max()))
        bend = (2 * likelihood(torch.zeros(2)) - likelihood(step) - likelihood(-step)) / 0.05**2
        assert curvature[:, first, first].double() == pytest.approx(bend, rel=2e-2)


def test_copies_of_an_image_are_one_witness(new_training) -> None:
    training = new_training()
    training.observations.image_of = training.observations.image_of // 4 * 4
    cells = Cells.around(training.model.gaussians.positions)
    images = training.observations.image_of[training.training].unique()
    gradient, _ = _likelihoods(training, PLAN, cells)
    assert len(gradient) == len(images) < len(training.training)


def test_a_part_that_hardly_a_particle_lacks_is_given_up(new_training) -> None:
    training = new_training()
    imaged(training, torch.zeros(len(training.observations)), training.model.gaussians.positions[:, 0] > 8.0)
    parts = training.model.parts
    parts.add(torch.arange(60) < 9, 0.995)
    parts.add(torch.arange(60) > 50, 0.7)
    find_parts(training, PLAN)
    assert parts.share.tolist() == pytest.approx([0.7])
    assert int(parts.membership.argmax()) == 51
    assert parts.presence.shape == (len(training.observations), 1)


def test_a_training_with_a_part_that_is_left_in_the_midst_of_an_epoch_goes_on_with_the_same_numbers(new_training) -> None:
    ended = []
    for leaves in (False, True):
        training = new_training()
        training.model.parts.add(training.model.gaussians.positions[:, 0] > 8.0, 0.7)
        training.run_epoch(PLAIN, lambda: False)
        if leaves:
            assert training.run_epoch(PLAIN, lambda: True) is None
            state = copy.deepcopy(training.state())
            training = gone_on(new_training(), state, {"n_latent": 2, "n_fields": 4})
        training.run_epoch(PLAIN, lambda: False)
        ended.append(training.model.state_dict())
    assert ended[0]["parts.presence"].std() > 0
    assert [name for name in ended[0] if not torch.equal(ended[0][name], ended[1][name])] == []


@pytest.mark.parametrize("n_epochs", [1, 2, 3, 4, 5, 12, 48])
def test_parts_are_looked_for_neither_before_anything_is_known_nor_in_the_last_epoch(n_epochs) -> None:
    plans = [plan_epoch(epoch, n_epochs, 6.0) for epoch in range(n_epochs)]
    looks = [epoch for epoch, plan in enumerate(plans) if plan.looks_for_parts]
    assert n_epochs - 1 not in looks
    assert all(plans[epoch - 1].deforms and epoch > 0 for epoch in looks)


def test_parts_are_looked_for_while_the_motion_is_learned() -> None:
    looks = [epoch for epoch in range(48) if plan_epoch(epoch, 48, 6.0).looks_for_parts]
    assert looks == [4 * twelfth for twelfth in PARTS_AFTER]
    assert all(plan_epoch(epoch, 48, 6.0).deforms for epoch in looks)
