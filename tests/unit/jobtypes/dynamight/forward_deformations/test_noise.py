from __future__ import annotations

import pytest
import torch

from jobtypes.dynamight.forward_deformations.noise import ShellPower
from jobtypes.dynamight.model.observations import Band

BAND = Band(32, 3.0, 8.0)


def complex_noise(power: torch.Tensor, count: int) -> torch.Tensor:
    """(count, q) complex normal terms of a given expected squared modulus in each shell."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(count, len(BAND), 2, generator=generator) / 2**0.5
    return torch.view_as_complex(parts) * power[BAND.shells].sqrt()


def test_the_power_of_each_shell_and_group_is_found():
    truth = 1.0 + torch.arange(float(BAND.shells.max()) + 1)
    found = ShellPower(2, BAND)
    found.add(complex_noise(truth, 400), torch.zeros(400, dtype=torch.long), torch.ones(400))
    found.add(complex_noise(4 * truth, 400), torch.ones(400, dtype=torch.long), torch.ones(400))
    power = found.update(torch.zeros(2, len(truth)))
    assert power[0, 1:].numpy() == pytest.approx(truth[1:].numpy(), rel=0.15)
    assert power[1, 1:].numpy() == pytest.approx(4 * truth[1:].numpy(), rel=0.15)


def test_a_group_or_shell_without_terms_keeps_its_power():
    found = ShellPower(2, BAND)
    n_terms = BAND.n_terms(16.0)
    found.add(torch.ones(3, n_terms, dtype=torch.complex64), torch.zeros(3, dtype=torch.long), torch.ones(3))
    power = found.update(torch.full((2, found.n_shells), 7.0))
    last = int(BAND.shells[n_terms - 1])
    assert power[0, 1 : last + 1].tolist() == pytest.approx([1.0] * last)
    assert power[0, last + 1 :].unique().tolist() == [7.0]
    assert power[1].unique().tolist() == [7.0]


def test_a_share_moves_the_power_part_of_the_way():
    found = ShellPower(1, BAND)
    found.add(torch.ones(1, len(BAND), dtype=torch.complex64), torch.zeros(1, dtype=torch.long), torch.ones(1))
    assert found.update(torch.full((1, found.n_shells), 3.0), share=0.25)[0, 1:].unique().tolist() == [2.5]


def test_images_count_by_their_share_and_a_group_of_hardly_any_keeps_its_noise():
    found = ShellPower(2, BAND)
    terms, group = torch.ones(4, len(BAND), dtype=torch.complex64), torch.tensor([0, 0, 1, 1])
    terms[1] *= 10
    terms[2:] *= 10
    found.add(terms, group, torch.tensor([1.0, 1e-3, 1e-6, 1e-6]))
    before = torch.full((2, found.n_shells), 7.0)
    after = found.update(before)
    shells = BAND.shells.unique()
    assert torch.allclose(after[0, shells], torch.tensor((1 + 100e-3) / 1.001), rtol=1e-4)
    assert torch.equal(after[1], before[1])
