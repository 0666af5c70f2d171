"""Nothing makes a tensor on a device of its own: on the device "meta", which holds no numbers, mixing devices is an error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from jobtypes.common import aberrations, fourier, rotations
from jobtypes.common.ctf import CtfParameters, ctf

META = torch.device("meta")


def values(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, device=META, dtype=dtype)


def parameters() -> CtfParameters:
    return CtfParameters(*[values(2)] * 9, even_zernikes=values(2, 4), premultiplied=values(2, dtype=torch.bool))


CALLS: dict[str, tuple[Callable[[], Tensor], tuple[int, ...]]] = {
    "rfft2": (lambda: fourier.rfft2(values(2, 6, 6)), (2, 6, 4)),
    "rfft3": (lambda: fourier.rfft3(values(6, 6, 6)), (6, 6, 4)),
    "shells": (lambda: fourier.shells_3d(6, device=META), (6, 6, 4)),
    "crop": (lambda: fourier.crop_spectrum_3d(fourier.rfft3(values(6, 6, 6)), 4), (4, 4, 3)),
    "shift_phases": (lambda: fourier.shift_phases(values(2, 2), fourier.frequencies_2d(6, 1.0, device=META)), (2, 6, 4)),
    "shell_average": (lambda: fourier.shell_average(values(3, 6, 4), fourier.shells_2d(6, device=META)), (3, 4)),
    "fsc": (lambda: fourier.fsc(values(6, 6, 6), values(6, 6, 6), values(6, 6, 6)), (4,)),
    "euler_matrices": (lambda: rotations.euler_matrices(values(5, 3)), (5, 3, 3)),
    "euler_angles": (lambda: rotations.euler_angles(values(5, 3, 3)), (5, 3)),
    "rotation_vector_matrices": (lambda: rotations.rotation_vector_matrices(values(5, 3)), (5, 3, 3)),
    "ctf": (lambda: ctf(parameters(), fourier.frequencies_2d(6, 1.0, device=META)), (2, 6, 4)),
    "odd": (lambda: aberrations.odd_zernike_phases(values(2, 3), fourier.frequencies_2d(6, 1.0, device=META)), (2, 6, 4)),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_stays_on_the_device_of_its_input(name: str) -> None:
    call, shape = CALLS[name]
    result = call()
    assert result.device.type == "meta"
    assert result.shape == shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_follows_the_input(dtype: torch.dtype) -> None:
    assert fourier.irfft2(fourier.rfft2(torch.ones(4, 4, dtype=dtype)), 4).dtype == dtype
    assert rotations.euler_angles(rotations.euler_matrices(torch.ones(3, dtype=dtype))).dtype == dtype
    assert rotations.rotation_vector_matrices(torch.ones(3, dtype=dtype)).dtype == dtype
    frequencies = fourier.frequencies_2d(4, 1.0)
    assert ctf(CtfParameters(*[torch.full((1,), 0.5, dtype=dtype)] * 9), frequencies).dtype == dtype
    assert fourier.shift_phases(torch.ones(1, 2, dtype=dtype), frequencies).real.dtype == dtype
