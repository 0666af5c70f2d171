from __future__ import annotations

import torch

from jobtypes.dynamight.inverse_deformations.orthogonal_momentum import OrthogonalMomentum, orthogonalised


def test_all_singular_values_are_moved_near_one() -> None:
    matrix = torch.randn(40, 24, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.logspace(0, -2, 24))
    assert torch.linalg.svdvals(orthogonalised(matrix)).sub(0.95).abs().max() < 0.3


def test_singular_vectors_are_kept() -> None:
    generator = torch.Generator().manual_seed(1)
    u, _ = torch.linalg.qr(torch.randn(20, 20, generator=generator))
    result = orthogonalised(u @ torch.diag(torch.linspace(0.5, 1, 20)) @ u.T)
    rotated = u.T @ result @ u
    assert (rotated - torch.diag(rotated.diagonal())).abs().max() < 1e-4


def test_a_least_squares_problem_is_solved() -> None:
    generator = torch.Generator().manual_seed(2)
    inputs, truth = torch.randn(200, 16, generator=generator), torch.randn(16, 12, generator=generator)
    weight = torch.zeros(16, 12, requires_grad=True)
    optimiser = OrthogonalMomentum([weight], 0.1)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 300)
        loss = (inputs @ weight - inputs @ truth).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (weight - truth).abs().max() < 0.05
