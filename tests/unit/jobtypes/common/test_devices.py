from __future__ import annotations

import pytest
import torch

from jobtypes.common.devices import (
    choose_device,
    choose_devices,
    copied_to,
    forget_peak_memory,
    peak_memory_bytes,
    wait_for,
)
from relion_jobs.contract.errors import UserError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Model {index}")


@pytest.mark.parametrize("gpu_ids", ["", None, "0", "3", "0:1"])
def test_without_cuda_it_is_the_cpu_and_one_line_says_so(monkeypatch: pytest.MonkeyPatch, gpu_ids: str | None) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device, sentence = choose_device(gpu_ids)
    assert device == torch.device("cpu")
    assert sentence.startswith("No CUDA device found: computing on the CPU with ")
    assert "\n" not in sentence


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("gpu_ids", "index"), [("", 0), (None, 0), (" 1 ", 1), ("1:0", 1), ("1,0", 1), ("0 1", 0)])
def test_the_first_gpu_of_the_list_is_used(gpu_ids: str | None, index: int) -> None:
    device, sentence = choose_device(gpu_ids)
    assert device == torch.device("cuda", index)
    assert f"GPU {index}, Model {index}" in sentence


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_is_not_there_is_refused(monkeypatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(UserError, match="GPU 2 was asked for, but this machine has GPUs 0 to 1"):
        choose_device("2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    with pytest.raises(
        UserError, match=r"of the GPUs that this job was given \(CUDA_VISIBLE_DEVICES=5,7\) there are GPUs 0 to 1"
    ):
        choose_device("2")


@pytest.mark.parametrize("text", ["first", "-1", "0:", "1.5"])
def test_a_text_that_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected a number from 0"):
        choose_device(text)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("gpu_ids", "spread", "indices"),
    [
        ("", False, [0, 0]),
        ("1", False, [1, 1]),
        ("0:1", False, [0, 1]),
        ("1,0", False, [1, 0]),
        ("0", True, [0, 1]),
        ("1", True, [1, 1]),
    ],
)
def test_two_parts_take_the_gpus_of_the_list_in_turn(gpu_ids: str, spread: bool, indices: list[int]) -> None:
    devices, sentence = choose_devices(gpu_ids, 2, spread=spread)
    assert devices == [torch.device("cuda", index) for index in indices]
    assert all((f"GPU {index}, Model {index}" in sentence) == (index in indices) for index in (0, 1))


@pytest.mark.usefixtures("two_gpus")
def test_gpus_beyond_the_parts_are_said_to_be_unused() -> None:
    devices, sentence = choose_devices("0:1", 1)
    assert devices == [torch.device("cuda", 0)]
    assert sentence == "Computing on GPU 0, Model 0 (of 0:1)."


@pytest.mark.usefixtures("two_gpus")
def test_a_later_gpu_of_the_list_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="GPU 5 was asked for"):
        choose_devices("0:5", 2)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_real_gpu_can_be_computed_on() -> None:
    device, _ = choose_device("0")
    assert torch.ones(2, device=device).sum() == 2


def test_a_copy_to_a_gpu_is_not_waited_for_and_memory_is_asked_of_a_gpu_alone(monkeypatch) -> None:
    cpu, gpu, called = torch.device("cpu"), torch.device("cuda", 0), []
    for name in ("synchronize", "reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: called.append((name, device)))
    for device in (cpu, gpu):
        wait_for(device)
        forget_peak_memory(device)
        peak_memory_bytes(device)
    assert called == [("synchronize", gpu), ("reset_peak_memory_stats", gpu), ("max_memory_allocated", gpu)]
    assert peak_memory_bytes(cpu) is None
    tensor = torch.ones(2)
    assert copied_to(tensor, cpu) is tensor
    sent = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self.clone())
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *where, **how: sent.append((where, how)))
    copied_to(tensor, gpu)
    assert sent == [((gpu,), {"non_blocking": True})]
