"""The pretended GPU computes, refuses and counts as a real one would."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from jobtypes.common.devices import copied_to
from tests.pretended_gpu import counted, pretended_gpu


@pytest.fixture
def gpu():
    with pretended_gpu() as device:
        yield device


def test_it_computes_and_differentiates_on_its_own_device(gpu):
    weights = torch.tensor([1.0, 2.0, 3.0], device=gpu).requires_grad_()
    loss = (weights.square() * torch.arange(3, device=gpu)).sum()
    loss.backward()
    assert loss.device == gpu
    assert float(loss.detach()) == 22.0
    assert weights.grad.tolist() == [0.0, 4.0, 12.0]


def test_it_conjugates(gpu):
    values = torch.tensor([1 + 2j, 3 - 1j])
    on_gpu, chosen = values.to(gpu), torch.tensor([True, False])
    found = torch.where(chosen.to(gpu), on_gpu.conj(), on_gpu)
    assert torch.equal(found.cpu(), torch.where(chosen, values.conj(), values))
    assert torch.equal(on_gpu.conj().imag.cpu(), -values.imag)


def test_a_model_moves_to_it_and_learns_there(gpu):
    layer = torch.nn.Linear(2, 1).to(gpu)
    before = layer.weight.detach().clone()
    layer(torch.ones(1, 2, device=gpu)).sum().backward()
    torch.optim.Adam(layer.parameters(), lr=0.5, fused=True).step()
    torch.testing.assert_close((before - layer.weight).cpu(), torch.full((1, 2), 0.5))


@pytest.mark.parametrize(
    "mixed",
    [
        lambda on_gpu: on_gpu + torch.ones(3),
        lambda on_gpu: torch.stack((on_gpu, torch.ones(3))),
        lambda on_gpu: torch.ones(3)[on_gpu.long()],
        lambda on_gpu: on_gpu.numpy(),
        lambda on_gpu: on_gpu.pin_memory(),
    ],
)
def test_what_a_gpu_cannot_do_is_refused(gpu, mixed: Callable[[Tensor], object]):
    with pytest.raises(RuntimeError):
        mixed(torch.zeros(3, device=gpu))


WAITS: dict[str, Callable[[Tensor], object]] = {
    "a number": float,
    "a truth": lambda x: bool((x > 0).any()),
    "a list": lambda x: x.tolist(),
    "a copy": lambda x: x.cpu(),
    "a copy to it": lambda x: torch.ones(3).to(x.device),
    "a tensor made": lambda x: x.new_tensor([1.0]),
    "a mask": lambda x: x[x > 0],
    "a mask that takes": lambda x: x.view(1).__setitem__(x.view(1) > 0, torch.ones(2, device=x.device)[1:][x.view(1) > 0]),
    "an index of the CPU": lambda x: x.view(1)[torch.tensor([0])],
    "a solution that is checked": lambda x: torch.linalg.solve(x.view(1, 1), x.view(1)),
}
GOES_ON: dict[str, Callable[[Tensor], object]] = {
    "arithmetic": lambda x: (x + 1) * 2.0,
    "a pinned copy": lambda x: copied_to(torch.ones(3), x.device),
    "a filled mask": lambda x: x.view(1).__setitem__(x.view(1) > 0, 2.0),
    "a choice": lambda x: torch.where(x > 0, x, 0.0),
    "a solution that is not": lambda x: torch.linalg.solve_ex(x.view(1, 1), x.view(1)),
}


@pytest.mark.parametrize("what", WAITS)
def test_a_wait_is_counted_with_the_line_that_waits(gpu, what):
    number = torch.tensor(3.0, device=gpu)
    with counted() as counts:
        WAITS[what](number)
    assert sum(counts.waits.values()) >= 1


@pytest.mark.parametrize("what", GOES_ON)
def test_what_is_not_waited_for_is_a_launch(gpu, what):
    number = torch.tensor(3.0, device=gpu)
    with counted() as counts:
        GOES_ON[what](number)
    assert sum(counts.waits.values()) == 0
    assert sum(counts.launches.values()) >= 1
