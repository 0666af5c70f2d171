from __future__ import annotations

import pytest
import torch

from jobtypes.dynamight.backprojection.part_fields import Occupied, tabulate_parts
from jobtypes.dynamight.backprojection.warp import Identity, Warp
from jobtypes.dynamight.model.density import DensityRenderer

BOX, PIXEL = 24, 3.0


@pytest.fixture
def result(make_project):
    return make_project(20, missing=0.3).forward.halves[1]


@pytest.fixture
def parts(result):
    return tabulate_parts(result, box=BOX, pixel_size_angstroms=PIXEL)


def test_density_less_the_part_is_that_of_the_other_gaussians(result, parts):
    model = result.model
    render = DensityRenderer(model.gaussians, BOX, PIXEL, least_width_angstroms=4.5)
    whole, others = (render(model.gaussians.positions, shares) for shares in (torch.ones(60), 1 - model.parts.membership[0]))
    found = parts.occupied(Identity(), torch.tensor([0.0])).push(whole)
    assert float((found - others).norm()) < 0.01 * float((whole - others).norm())
    partly = parts.occupied(Identity(), torch.tensor([0.3])).push(whole)
    torch.testing.assert_close(partly, found + 0.3 * (whole - found))
    torch.testing.assert_close(parts.occupied(Identity(), torch.tensor([1.0])).push(whole), whole)


def test_what_is_near_the_part_belongs_to_it_and_nothing_else(parts):
    share = torch.zeros(BOX**3)
    share[parts.support] = parts.shares[0]
    along_x = share.view(BOX, BOX, BOX).amax((0, 1))
    x = (torch.arange(BOX) - BOX // 2) * PIXEL  # the part lies at 9 A and more
    assert float(along_x[(x > -30) & (x < -3)].max()) < 0.1
    assert 0.99 < float(along_x[(x > 15) & (x < 24)].min()) <= float(along_x.max()) <= 1
    assert len(parts.support) < BOX**3 // 3


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_pull_is_the_exact_transpose_of_push_where_something_is_missing(direction):
    box, generator = 8, torch.Generator().manual_seed(0)
    moved = 4 * torch.rand(box**3, 3, generator=generator) - 2
    support = torch.randperm(box**3, generator=generator)[: box**3 // 3]
    occupancy = torch.rand(len(support), generator=generator)
    warp = Occupied(Warp(torch.arange(box**3), lambda: moved, box, direction=direction), support, lambda: occupancy)
    volume, other = (torch.randn(box, box, box, generator=generator) for _ in range(2))
    before = volume.clone()
    left, right = (warp.push(volume) * other).sum(), (volume * warp.pull(other)).sum()
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)
    assert torch.equal(volume, before)
    plain = (warp.deformation.push(volume) * other).sum()
    assert float((plain - left).abs()) > 0.1
