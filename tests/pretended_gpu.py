"""A GPU that is only pretended: its tensors lie on the CPU, and what a real one would refuse, or would be waited for, is noticed.

A tensor of it says that it is on another device, has no numpy array, and cannot be computed with a tensor of the CPU. What is
asked of the GPU is counted: launches of kernels, and waits, in which a program does not go on before all it asked for is done.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

# the only device beside the CPU that every torch can differentiate on
GPU = torch.device("meta")
FREE_BYTES = 8 * 10**9
_TASKS, _ON_ONE_DEVICE = "jobtypes.dynamight", ("visualization", "inverse_deformations", "backprojection", "states")
_PROGRAM = str(Path(__file__).parents[1] / "jobtypes") + "/"

# What these give depends on numbers that the GPU has: how large a result is, or whether there is one.
WAITING = {
    "_local_scalar_dense",
    "_linalg_check_errors",
    "nonzero",
    "masked_select",
    "unique_consecutive",
    "_unique2",
    "unique_dim",
    "bincount",
    "equal",
    "repeat_interleave",
}
COPYING = {"_to_copy", "copy_"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
WITHOUT_A_KERNEL = {"detach", "alias", "_unsafe_view", "lift_fresh", "empty", "empty_like", "empty_strided", "new_empty"}


class OnGpu(Tensor):
    """A tensor of the pretended GPU; `held` has its numbers."""

    held: Tensor
    is_meta = False  # it has numbers

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGpu:
        made: OnGpu = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=GPU
        )
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnGpu({self.held!r})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.cpu().__reduce_ex__(protocol)  # a file does not say which GPU it was

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


@dataclass
class Counts:
    """What the GPU was asked for: by the operation, and the line of the program that asked."""

    launches: Counter[tuple[str, str]] = field(default_factory=Counter)
    waits: Counter[tuple[str, str]] = field(default_factory=Counter)

    def waits_in(self, *modules: str) -> int:
        """Waits that lines of these modules, by their file names, asked for."""
        return sum(count for (_, place), count in self.waits.items() if place.startswith(modules))


_counting: list[Counts] = []


@contextmanager
def counted() -> Iterator[Counts]:
    """Count what the GPU is asked for inside."""
    counts = Counts()
    _counting.append(counts)
    try:
        yield counts
    finally:
        _counting.remove(counts)


class _Pretending(TorchDispatchMode):
    """Makes tensors on the GPU where these are asked for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func.overloadpacket.__name__
    tensors = list(_tensors((args, kwargs)))
    from_gpu = any(isinstance(tensor, OnGpu) for tensor in tensors)
    to_gpu = torch.device(kwargs["device"]) == GPU if kwargs.get("device") is not None else from_gpu
    if name == "copy_":
        to_gpu = isinstance(args[0], OnGpu)
    if not from_gpu and not to_gpu:
        return func(*args, **kwargs)
    if name == "_conj":  # a mark on the tensor, which would be forgotten below
        return OnGpu(torch.conj_physical(args[0].held))
    _notice(func, name, args, kwargs, tensors)
    on_cpu = kwargs | ({"device": torch.device("cpu")} if "device" in kwargs else {})
    result = func(*_changed(_held, args), **_changed(_held, on_cpu))
    if name.endswith("_") and result is not None:
        return args[0]
    if not to_gpu:
        return result
    made = _changed(OnGpu, result)
    return return_and_correct_aliasing(func, args, kwargs, made) if func.is_view or "out" in kwargs else made


def _held(tensor: Tensor) -> Tensor:
    return tensor.held if isinstance(tensor, OnGpu) else tensor


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors among arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _changed(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Arguments or results with other tensors."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)([_changed(change, each) for each in value])
    return {key: _changed(change, each) for key, each in value.items()} if isinstance(value, dict) else value


def _notice(func: Any, name: str, args: Any, kwargs: dict[str, Any], tensors: list[Tensor]) -> None:
    """Count what a GPU would have to do, or refuse what it could not."""
    of_cpu = [tensor for tensor in tensors if not isinstance(tensor, OnGpu)]
    if name in COPYING:
        between = bool(of_cpu) or torch.device(kwargs.get("device") or GPU) != GPU
        if between and not (kwargs.get("non_blocking") and getattr(args[0], "is_pinned_by_us", False)):
            _count("waits", name)
    elif name in INDEXING:
        _notice_index(name, args)
    elif len(of_cpu) < len(tensors) and any(tensor.ndim for tensor in of_cpu):
        raise RuntimeError(f"{name} of tensors on the GPU and on the CPU, these of shapes {[tuple(t.shape) for t in of_cpu]}")
    elif name in WAITING:
        _count("waits", name)
    if not func.is_view and name not in WITHOUT_A_KERNEL:
        _count("launches", name)


def _notice_index(name: str, args: Any) -> None:
    if not isinstance(args[0], OnGpu):
        raise RuntimeError(f"{name} of a tensor on the CPU, with an index on the GPU")
    indices = [index for index in args[1] if index is not None]
    if not all(isinstance(index, OnGpu) for index in indices):
        _count("waits", f"{name} with an index on the CPU")
    # one number for all that a mask chooses is a fill, which nobody waits for
    is_fill = name != "index" and args[2].numel() == 1
    if any(index.dtype == torch.bool for index in indices) and not is_fill:
        _count("waits", f"{name} with a mask")


def _count(what: str, name: str) -> None:
    for counts in _counting:
        getattr(counts, what)[name, _place()] += 1


def _place() -> str:
    """The innermost line of the program that is under way, as file:line."""
    frame = sys._getframe()
    while frame is not None and not frame.f_code.co_filename.startswith(_PROGRAM):
        frame = frame.f_back  # type: ignore[assignment]
    return "" if frame is None else f"{frame.f_code.co_filename[len(_PROGRAM) :]}:{frame.f_lineno}"


def _pinned(tensor: Tensor) -> Tensor:
    if isinstance(tensor, OnGpu):
        raise RuntimeError("only memory of the CPU can be pinned")
    pinned = tensor.clone()
    pinned.is_pinned_by_us = True  # type: ignore[attr-defined]
    return pinned


def _made_there(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make `torch.tensor` and the like, which would give a tensor without numbers on this device, copy to it."""

    def made(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        if device is None and args and isinstance(args[0], OnGpu):
            device, args = GPU, (args[0].held, *args[1:])
        tensor = make(*args, **kwargs)
        return tensor if device is None else tensor.to(device)

    return made


def _loaded_there(load: Callable[..., Any]) -> Callable[..., Any]:
    def loaded(file: Any, map_location: Any = None, **kwargs: Any) -> Any:
        if map_location != GPU:
            return load(file, map_location=map_location, **kwargs)
        stored = load(file, map_location="cpu", **kwargs)
        return _changed(lambda tensor: tensor.to(GPU), stored)

    return loaded


class _InTurn:
    """In place of threads, which would not know of the GPU."""

    def __init__(self, max_workers: int) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None: ...

    def map(self, call: Callable[[Any], Any], each: Iterable[Any]) -> list[Any]:
        return [call(one) for one in each]


@contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """One GPU, which every task chooses, while inside."""
    answers: dict[str, Any] = {
        f"{_TASKS}.forward_deformations.task.choose_devices": ([GPU, GPU], "pretended"),
        **{f"{_TASKS}.{room}.task.choose_device": (GPU, "pretended") for room in _ON_ONE_DEVICE},
        "jobtypes.common.shared_halves.choose_device": (GPU, "pretended"),
        "torch.cuda.synchronize": None,
        "torch.cuda.reset_peak_memory_stats": None,
        "torch.cuda.max_memory_allocated": 0,
        "torch.cuda.memory_allocated": 0,
        "torch.cuda.memory_reserved": 0,
        "torch.cuda.mem_get_info": (FREE_BYTES, FREE_BYTES),
        "torch.optim.optimizer._get_fused_kernels_supported_devices": ["cpu", GPU.type],
    }
    instead = {
        "jobtypes.common.devices.is_gpu": _is_gpu,
        f"{_TASKS}.forward_deformations.task.is_gpu": _is_gpu,
        f"{_TASKS}.backprojection.sums_store.is_gpu": _is_gpu,
        f"{_TASKS}.forward_deformations.rounds.ThreadPoolExecutor": _InTurn,
        "torch.Tensor.pin_memory": _pinned,
        "torch.Tensor.new_tensor": _made_there(Tensor.new_tensor),
        "torch.tensor": _made_there(torch.tensor),
        "torch.load": _loaded_there(torch.load),
    }
    with ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch(name, return_value=answer))
        for name, other in instead.items():
            stack.enter_context(mock.patch(name, other))
        stack.enter_context(_Pretending())
        yield GPU


@contextmanager
def real_gpu() -> Iterator[torch.device]:
    """The first GPU of the machine."""
    yield torch.device("cuda", 0)


# for tests that both must pass
GPUS = [
    pytest.param(pretended_gpu, id="pretended"),
    pytest.param(
        real_gpu, id="real", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
    ),
]


def _is_gpu(device: torch.device) -> bool:
    return device == GPU
