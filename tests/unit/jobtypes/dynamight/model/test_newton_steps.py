from __future__ import annotations

import torch

from jobtypes.dynamight.model.inverse_displacement import bounded_step, determinants


def test_determinants_and_steps_are_those_of_the_general_routines():
    generator = torch.Generator().manual_seed(0)
    jacobian = torch.eye(3, dtype=torch.float64) + 0.3 * torch.randn(200, 3, 3, generator=generator, dtype=torch.float64)
    error = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(determinants(jacobian), torch.linalg.det(jacobian))
    full = torch.linalg.solve(jacobian, error)
    safe = (torch.linalg.det(jacobian) > 0.1) & (full.norm(dim=1) < 3 * error.norm(dim=1))
    assert 100 < int(safe.sum()) < 200
    step = bounded_step(jacobian, error)
    torch.testing.assert_close(step[safe], full[safe])
    assert float((step.norm(dim=1) / error.norm(dim=1)).max()) <= 3 + 1e-9


def test_where_the_map_folds_the_step_is_the_error_itself():
    folded = torch.diag(torch.tensor([1.0, 1.0, -1.0])).expand(2, 3, 3)
    error = torch.tensor([[0.1, 0.2, 0.3], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(bounded_step(folded, error), error)
