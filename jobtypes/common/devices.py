"""Which device a task computes on, and one sentence that says so."""

from __future__ import annotations

import re

import torch

from relion_jobs.contract.errors import UserError


def choose_device(gpu_ids: str | None) -> tuple[torch.device, str]:
    """Choose the device for RELION's "Which GPUs to use".

    Parameters
    ----------
    gpu_ids
        "" or None for the first GPU, else "1", or a list "1:2" or "1,2", of which the first is used.

    Returns
    -------
    The device, and a sentence for run.out. Without any CUDA device that is the CPU, whatever was asked for.

    Raises
    ------
    UserError
        The text is no list of numbers, or that GPU is not there while others are.
    """
    text = (gpu_ids or "").strip()
    if not re.fullmatch(r"(\d+([:, ]+\d+)*)?", text):
        raise UserError(f"Which GPUs to use is {text!r}; expected a number from 0 such as 0, or nothing for the first GPU.")
    if not torch.cuda.is_available():
        return torch.device("cpu"), f"No CUDA device found: computing on the CPU with {_threads()}."
    count = torch.cuda.device_count()
    numbers = [int(number) for number in re.findall(r"\d+", text)] or [0]
    if numbers[0] >= count:
        raise UserError(
            f"GPU {numbers[0]} was asked for, but this machine has {_gpus(count)}; choose one of them, or nothing for GPU 0."
        )
    unused = f" (of {text}; one GPU is used)" if len(numbers) > 1 else ""
    return torch.device("cuda", numbers[0]), f"Computing on GPU {numbers[0]}, {torch.cuda.get_device_name(numbers[0])}{unused}."


def _threads() -> str:
    count = torch.get_num_threads()
    return "1 thread" if count == 1 else f"{count} threads"


def _gpus(count: int) -> str:
    return "only GPU 0" if count == 1 else f"GPUs 0 to {count - 1}"
