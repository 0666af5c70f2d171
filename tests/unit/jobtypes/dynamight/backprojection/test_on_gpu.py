"""Pieces of a reconstruction on a pretended GPU: what they wait for, and how often they ask it for something."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jobtypes.common.particle_images import ParticleImages
from jobtypes.dynamight.backprojection import whole_tensors
from jobtypes.dynamight.backprojection.ball import ball_of
from jobtypes.dynamight.backprojection.particle_pass import ParticleViews
from jobtypes.dynamight.backprojection.slices import SliceGrid, SlicePlane, normal_operator
from jobtypes.dynamight.backprojection.sums_store import HalfSums, SumsStore
from jobtypes.dynamight.backprojection.warp import Warp
from tests.pretended_gpu import counted, pretended_gpu

BOX = 12
LAUNCHES_OF_A_WARP = {"linear": 90, "cubic": 260}  # both ways, of as many voxels as are moved at once


@pytest.fixture
def gpu():
    with pretended_gpu() as device:
        yield device
    ball_of.cache_clear()


@pytest.fixture
def volume(gpu):
    return torch.rand(BOX, BOX, BOX, device=gpu)


def warp_of(n_moving: int, device, order="cubic") -> Warp:
    moved = torch.rand(n_moving, 3, device=device)
    return Warp(torch.arange(n_moving, device=device), lambda: moved, BOX, order=order)


@pytest.mark.parametrize("order", LAUNCHES_OF_A_WARP)
def test_a_warp_waits_for_nothing_and_does_all_its_voxels_at_once(gpu, volume, order):
    launches = []
    for n_moving in (10, BOX**3):
        warp = warp_of(n_moving, gpu, order)
        with counted() as counts:
            warp.pull(warp.push(volume))
        assert not counts.waits
        launches.append(sum(counts.launches.values()))
    assert launches[0] == launches[1] < LAUNCHES_OF_A_WARP[order]


def test_a_map_of_256_voxels_a_side_is_moved_in_few_parts():
    assert 256**3 / whole_tensors.CHUNK <= 4


def test_a_product_waits_for_nothing_once_the_places_of_its_points_are_known(gpu, volume):
    weights = torch.rand(len(ball_of(BOX, gpu)), device=gpu)
    normal_operator(volume, weights)
    with counted() as counts:
        normal_operator(volume, weights)
    assert not counts.waits
    assert sum(counts.launches.values()) < 25


def test_the_sums_of_a_bin_are_finished_in_few_large_transforms(gpu):
    grid = SliceGrid(SlicePlane(BOX, device=gpu))
    grid.numerator()
    with counted() as counts:
        grid.numerator()
        grid.weights()
    assert not counts.waits
    assert sum(counts.launches.values()) < 50


def summed(project, device) -> SliceGrid:
    """The sums of a few particles of half 1."""
    half, plane = project.forward.halves[1], SlicePlane(project.table.box, device=device)
    rotations, shifts = half.angles_matrices.to(device), half.shifts_angstroms.to(device)
    views = ParticleViews(ParticleImages(project.table, project.root), half.rows, rotations, shifts, plane=plane)
    grid = SliceGrid(plane)
    with counted() as counts:
        read = views.read(np.arange(4))
        grid.insert(read.data, read.weight, read.rotations)
    assert not counts.waits
    return grid


def test_images_go_to_the_gpu_without_being_waited_for_and_their_sums_are_those_of_a_cpu(make_project):
    project = make_project(12)
    with pretended_gpu() as gpu:
        on_gpu, on_cpu = (summed(project, device) for device in (gpu, torch.device("cpu")))
        found = on_gpu.numerator().cpu(), on_gpu.weights().cpu()
    torch.testing.assert_close(found, (on_cpu.numerator(), on_cpu.weights()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("room", "copies"), [(0, 3), (1, 2), (2, 1)])
def test_weights_that_fit_stay_on_the_gpu(gpu, tmp_path, room, copies):
    weights = torch.rand(100)
    store = SumsStore(tmp_path, {}, memory_bytes=10**6, gpu_bytes=room * 400)
    for m in range(3):
        store.put((1, "all", m), torch.zeros(4, 4, 4), weights)
    sums = HalfSums(store, 1, "all", 3, gpu)
    for m in range(3):
        sums.weights(m)
    with counted() as counts:
        assert all(torch.equal(sums.weights(m).cpu(), weights) for m in range(3))
    assert counts.waits_in("dynamight/backprojection") == copies
