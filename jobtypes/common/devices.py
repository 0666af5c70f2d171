"""Which device a task computes on, one sentence that says so, and what a GPU wants otherwise than a CPU."""

from __future__ import annotations

import os
import re

import torch
from torch import Tensor

from relion_jobs.contract.errors import UserError


def choose_device(gpu_ids: str | None) -> tuple[torch.device, str]:
    """Choose the one device of a task for RELION's "Which GPUs to use": the first of the list.

    Parameters
    ----------
    gpu_ids
        "" or None for the first GPU, else "1", or a list "1:2" or "1,2".

    Returns
    -------
    The device, and a sentence for run.out. Without any CUDA device that is the CPU, whatever was asked for.

    Raises
    ------
    UserError
        The text is no list of numbers, or one of these GPUs is not there while others are.
    """
    numbers = _numbers(gpu_ids)
    if not torch.cuda.is_available():
        return torch.device("cpu"), _on_cpu()
    _refuse_missing(numbers)
    unused = f" (of {(gpu_ids or '').strip()}; one GPU is used)" if len(numbers) > 1 else ""
    return torch.device("cuda", numbers[0]), f"Computing on GPU {numbers[0]}, {torch.cuda.get_device_name(numbers[0])}{unused}."


def choose_devices(gpu_ids: str | None, n_parts: int, *, spread: bool = False) -> tuple[list[torch.device], str]:
    """Choose a device for each of some parts of the work that run side by side: the GPUs of the list in turn.

    Parameters
    ----------
    gpu_ids
        As for `choose_device`. One GPU takes all parts.
    n_parts
        How many parts.
    spread
        A single number stands for that GPU and all that follow it: for processes that a launcher spreads over a machine.

    Returns
    -------
    A device for each part, and a sentence for run.out.

    Raises
    ------
    UserError
        As for `choose_device`.
    """
    numbers = _numbers(gpu_ids)
    if not torch.cuda.is_available():
        return [torch.device("cpu")] * n_parts, _on_cpu()
    _refuse_missing(numbers)
    if spread and len(numbers) == 1:
        numbers = list(range(numbers[0], torch.cuda.device_count()))
    used = [numbers[part % len(numbers)] for part in range(n_parts)]
    distinct = sorted(set(used))
    names = " and ".join(f"GPU {number}, {torch.cuda.get_device_name(number)}" for number in distinct)
    unused = f" (of {(gpu_ids or '').strip()})" if not spread and len(set(numbers)) > len(distinct) else ""
    return [torch.device("cuda", number) for number in used], f"Computing on {names}{unused}."


def _numbers(gpu_ids: str | None) -> list[int]:
    """Read the numbers of the list; GPU 0 where there are none."""
    text = (gpu_ids or "").strip()
    if not re.fullmatch(r"(\d+([:, ]+\d+)*)?", text):
        raise UserError(
            f"Which GPUs to use is {text!r}; expected a number from 0 such as 0, a list as 0:1, or nothing for the first GPU."
        )
    return [int(number) for number in re.findall(r"\d+", text)] or [0]


def _refuse_missing(numbers: list[int]) -> None:
    count = torch.cuda.device_count()
    missing = next((number for number in numbers if number >= count), None)
    if missing is not None:
        raise UserError(
            f"GPU {missing} was asked for, but {_who_has()} {_gpus(count)}; choose one of them, or nothing for GPU 0."
        )


def _on_cpu() -> str:
    count = torch.get_num_threads()
    return f"No CUDA device found: computing on the CPU with {count} thread{'' if count == 1 else 's'}."


def _who_has() -> str:
    # a queue gives a job some of the machine's GPUs; CUDA counts these from 0
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return f"of the GPUs that this job was given (CUDA_VISIBLE_DEVICES={given}) there are" if given else "this machine has"


def _gpus(count: int) -> str:
    return "only GPU 0" if count == 1 else f"GPUs 0 to {count - 1}"


def is_gpu(device: torch.device) -> bool:
    """Whether it is one: threads of one process can share it, and what it is asked for is not waited for."""
    return device.type == "cuda"


def copied_to(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; a copy to a GPU is not waited for."""
    return (tensor.pin_memory() if is_gpu(device) else tensor).to(device, non_blocking=True)


def wait_for(device: torch.device) -> None:
    """Return when a GPU has done what it was asked for."""
    if is_gpu(device):
        torch.cuda.synchronize(device)


def free_memory_bytes(device: torch.device) -> int | None:
    """Bytes of a GPU's memory that this process can still take; None on a CPU."""
    if not is_gpu(device):
        return None
    free, _ = torch.cuda.mem_get_info(device)
    # what torch keeps for itself, though no tensor has it
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def forget_peak_memory(device: torch.device) -> None:
    """Let `peak_memory_bytes` count from now on."""
    if is_gpu(device):
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: torch.device) -> int | None:
    """The most that this process has held of a GPU's memory; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) if is_gpu(device) else None
