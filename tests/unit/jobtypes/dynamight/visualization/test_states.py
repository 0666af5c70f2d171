from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from jobtypes.common.fourier import fsc
from jobtypes.common.volumes import read_volume, write_volume
from jobtypes.dynamight.model.result import ForwardResult
from jobtypes.dynamight.visualization.states import CarriedReconstruction, GaussianStates, TabulatedField, half_reconstruction
from relion_jobs.contract.errors import UserError


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1])


def centre_of_mass(volume: Tensor, pixel_size_angstroms: float) -> Tensor:
    axis = (torch.arange(len(volume)) - len(volume) // 2) * pixel_size_angstroms
    total = volume.sum()
    return torch.stack([(volume.sum(other) * axis).sum() / total for other in ((0, 1), (0, 2), (1, 2))])


def test_a_state_is_rendered_where_its_gaussians_are(forward: ForwardResult) -> None:
    model = forward.halves[1].model
    states = GaussianStates(model, forward.box, forward.pixel_size_angstroms)
    coefficients = model.field.coefficients(forward.halves[1].latent_mean[:1])[0]
    volume, positions = states.state(coefficients), states.positions(coefficients)
    assert torch.allclose(
        positions, model.gaussians.positions + model.displacement(forward.halves[1].latent_mean[:1])[0], atol=1e-4
    )
    weights = model.gaussians.amplitudes[:, None]
    assert torch.allclose(centre_of_mass(volume, 4.0), (positions * weights).sum(0) / weights.sum(), atol=0.05)


def test_an_undeformed_reconstruction_comes_back_unchanged(forward: ForwardResult) -> None:
    model = forward.halves[1].model
    volume = GaussianStates(model, 24, 4.0).state(torch.zeros(3))
    carried = CarriedReconstruction(volume, 4.0, model, "test").state(torch.zeros(3))
    assert (carried - volume).abs().max() < 1e-5 * volume.abs().max()


def test_a_carried_reconstruction_is_the_state_of_its_own_gaussians(forward: ForwardResult) -> None:
    model = forward.halves[1].model
    states = GaussianStates(model, 24, 4.0)
    consensus = states.state(torch.zeros(3))
    carry = CarriedReconstruction(consensus, 4.0, model, "test")
    for latent in forward.halves[1].latent_mean[:3]:
        coefficients = model.field.coefficients(latent[None])[0]
        truth, carried = states.state(coefficients), carry.state(coefficients)
        assert correlation(carried, truth) > 0.97
        assert correlation(carried, truth) > correlation(consensus, truth)
        assert abs(float(carried.sum() / truth.sum()) - 1) < 0.03  # mass is kept


def test_voxels_that_no_state_moves_can_be_left_out(forward: ForwardResult) -> None:
    model = forward.halves[1].model
    carry = CarriedReconstruction(GaussianStates(model, 24, 4.0).state(torch.zeros(3)), 4.0, model, "test")
    coefficients = model.field.coefficients(forward.halves[1].latent_mean[:1])[0]
    state = carry.state(coefficients)
    resting = ~carry.moving
    assert 0.1 < resting.float().mean() < 0.9
    displacement = carry.field.displacement(carry.field.of_state(coefficients), carry.points)
    assert float(displacement[resting].abs().max()) == 0
    carry.moving = torch.ones_like(carry.moving)
    assert (carry.state(coefficients) - state).abs().max() < 1e-5 * state.max()


def test_the_table_holds_the_field(forward: ForwardResult) -> None:
    field = forward.halves[1].model.field
    table = TabulatedField(forward.halves[1].model, 96.0)
    coefficients = field.coefficients(forward.halves[1].latent_mean[:1])
    points = (torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * 90
    exact = torch.einsum("k,kmc->mc", coefficients[0], field.basis(points))
    assert (table.displacement(table.of_state(coefficients[0]), points) - exact).norm(dim=1).quantile(0.95) < 0.15


def write_half_maps(folder: Path, first: Tensor, second: Tensor) -> None:
    write_volume(folder / "backprojection" / "map_half1.mrc", first, 4.0)
    write_volume(folder / "backprojection" / "map_half2.mrc", second, 4.0)


def test_half_maps_are_weighted_by_their_agreement(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    axis = torch.arange(24.0) - 12
    truth = torch.exp(-(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) / 18)
    halves = [truth + 0.05 * torch.randn(24, 24, 24, generator=generator) for _ in (1, 2)]
    write_half_maps(tmp_path, *halves)
    filtered = half_reconstruction(tmp_path, 1, 24, 4.0)
    assert filtered is not None
    assert (filtered - truth).square().mean() < 0.2 * (halves[0] - truth).square().mean()
    assert fsc(filtered, truth)[1] > 0.99


def test_without_half_maps_there_is_no_reconstruction(tmp_path: Path) -> None:
    assert half_reconstruction(tmp_path, 1, 24, 4.0) is None


def test_half_maps_of_another_pixel_size_are_refused(tmp_path: Path) -> None:
    write_half_maps(tmp_path, torch.rand(24, 24, 24), torch.rand(24, 24, 24))
    with pytest.raises(UserError, match="pixel size 4 A, but the particles have box 24 and pixel size 3 A"):
        half_reconstruction(tmp_path, 1, 24, 3.0)
    assert read_volume(tmp_path / "backprojection" / "map_half1.mrc").box == 24


def test_a_gradient_is_that_of_the_displacements_over_a_cell(forward: ForwardResult) -> None:
    model = forward.halves[1].model
    field = TabulatedField(model, 96.0)
    state = field.of_state(model.field.coefficients(forward.halves[1].latent_mean[:1])[0])
    points = 80 * torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) - 40
    cell = 96.0 / (field.size - 1)
    columns = [
        (field.displacement(state, points + step) - field.displacement(state, points - step)) / cell
        for step in cell / 2 * torch.eye(3)
    ]
    expected = torch.eye(3) + torch.stack(columns, dim=2)
    torch.testing.assert_close(field.gradient(state, points), expected, rtol=0, atol=1e-4)
    assert float((expected - torch.eye(3)).abs().max()) > 0.01
