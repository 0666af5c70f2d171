"""The device decides, and both ways are called alike; that they do the same is seen in `test_compiled_loops`."""

from __future__ import annotations

import inspect

import pytest
import torch

from jobtypes.dynamight.backprojection import compiled_loops, whole_tensors
from jobtypes.dynamight.backprojection.backend import GridBackend, backend_for


@pytest.mark.parametrize(("device", "chosen"), [("cpu", compiled_loops), ("cuda", whole_tensors), ("cuda:1", whole_tensors)])
def test_a_cpu_gets_compiled_loops_and_a_gpu_whole_tensors(device, chosen):
    assert backend_for(torch.device(device)) is chosen


@pytest.mark.parametrize("backend", [compiled_loops, whole_tensors])
@pytest.mark.parametrize("name", [name for name in vars(GridBackend) if not name.startswith("_")])
def test_an_operation_takes_the_same_in_both(name, backend):
    expected = list(inspect.signature(getattr(GridBackend, name)).parameters.values())[1:]
    assert list(inspect.signature(getattr(backend, name)).parameters.values()) == expected
