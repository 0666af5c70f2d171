"""Phases and places are products in full, also where a GPU rounds what goes into float32 matrix products to ten bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from jobtypes.common.aberrations import beam_tilt_phases, even_zernike_phases
from jobtypes.common.ctf import CtfParameters, ctf
from jobtypes.common.fourier import frequencies_2d, shift_phases
from jobtypes.common.products import product_in_full
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.backprojection.slices import SliceGrid, SlicePlane, read_slices
from jobtypes.dynamight.model.poses import corrected
from jobtypes.dynamight.model.whole_tensors import WholeTensors

PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "addmv", "dot"}
BOX, PIXEL_ANGSTROMS = 64, 1.3


class TensorFloat32(TorchDispatchMode):
    """What goes into a float32 matrix product is rounded to ten bits behind the first."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rounds = func.overloadpacket.__name__ in PRODUCTS
        return func(*(tree_map(_rounded, args) if rounds else args), **(kwargs or {}))


def _rounded(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor) or leaf.dtype != torch.float32:
        return leaf
    return ((leaf.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def turns() -> Tensor:
    return euler_matrices(100 * draw(4, 3))


def some_ctf() -> Tensor:
    columns = (300.0, 2.7, 0.1, 25e3, 24e3, 30.0, 0.0, 0.0, 1.0)
    parameters = CtfParameters(*(torch.full((2,), value) for value in columns), even_zernikes=300 * draw(2, 9))
    return ctf(parameters, frequencies_2d(BOX, PIXEL_ANGSTROMS))


def tilted() -> Tensor:
    frequencies = frequencies_2d(BOX, PIXEL_ANGSTROMS)
    found = beam_tilt_phases(
        draw(3, 2),
        wavelength_angstroms=torch.full((3,), 0.0197),
        spherical_aberration_millimetres=torch.full((3,), 2.7),
        frequencies=frequencies,
    )
    return torch.polar(torch.ones_like(found), found)


def read() -> Tensor:
    """Slices of a spectrum that is a phase, so that an error in their places is one of the phase."""
    plane = SlicePlane(16)
    angles = 0.3 * torch.arange(32 * 32 * 17)
    return read_slices(torch.polar(torch.ones_like(angles), angles), plane, turns())


def inserted() -> Tensor:
    grid = SliceGrid(SlicePlane(16))
    from jobtypes.dynamight.backprojection import whole_tensors

    grid._backend = whole_tensors
    data = torch.ones(4, len(grid.plane), dtype=torch.complex64)
    grid.insert(data, torch.ones(4, len(grid.plane)), turns())
    return grid.grid


def splatted() -> Tensor:
    points, pixels = 30 * draw(1, 3, 50), turns()[:, :2] / PIXEL_ANGSTROMS
    return WholeTensors().splat(points, pixels, torch.full((4, 2), 64.0), torch.ones(1, 50), 128, 128)


IN_FULL: dict[str, Callable[[], Tensor]] = {
    "a CTF with aberrations": some_ctf,
    "even aberrations": lambda: even_zernike_phases(300 * draw(2, 9), frequencies_2d(BOX, PIXEL_ANGSTROMS)).sin(),
    "beam tilt": tilted,
    "shifts": lambda: shift_phases(40 * draw(3, 2), frequencies_2d(BOX, PIXEL_ANGSTROMS)),
    "refined poses": lambda: corrected(0.1 * draw(4, 5), turns(), draw(4, 2))[0],
    "slices read": read,
    "slices put in": inserted,
    "images": splatted,
}


@pytest.mark.parametrize("what", IN_FULL)
def test_rounded_products_change_no(what):
    expected = IN_FULL[what]()
    with TensorFloat32():
        found = IN_FULL[what]()
    assert float((found - expected).abs().max()) < 1e-4


def test_a_plain_matrix_product_would_be_rounded():
    left, right = 300 * draw(4, 5), draw(5, 6)
    with TensorFloat32():
        assert float((left @ right - product_in_full(left, right)).abs().max()) > 0.1


def test_it_is_the_matrix_product_for_matrices_and_batches_of_them():
    left, right = draw(7, 4, 3).double(), draw(7, 3, 5).double()
    torch.testing.assert_close(product_in_full(left, right), left @ right)
    torch.testing.assert_close(product_in_full(left[0], right), left[0] @ right)
