"""Particles of tilt series in the reconstruction: each image a slice of its own, weighted by dose and CTF."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from jobtypes.common.particle_images import ParticleImages
from jobtypes.common.particles import read_particles
from jobtypes.common.rotations import euler_matrices
from jobtypes.dynamight.backprojection.noise import shell_powers
from jobtypes.dynamight.backprojection.normal_equations import Reconstruction, TotalSums
from jobtypes.dynamight.backprojection.particle_pass import ParticleViews, add_particles
from jobtypes.dynamight.backprojection.slices import SlicePlane
from jobtypes.dynamight.backprojection.sums_store import HalfSums, SumsStore
from jobtypes.dynamight.backprojection.verdict import likelihood_gains
from jobtypes.dynamight.backprojection.warp import Identity
from tests.tilt_project import SET, TiltSet, projection, transfer, write_tilt_project

ATOMS = np.array([[0.0, 0, 0], [13, 2, -9], [-9, 14, 6], [4, -12, 12]])
BOX, PIXEL, WIDTH = 20, 4.0, 5.0


def views_of(project: Path) -> ParticleViews:
    table = read_particles(project / SET, project=project)
    rotations = euler_matrices(torch.from_numpy(table.angles_degrees)).float()
    shifts = -torch.from_numpy(table.origins_angstroms).float()
    images, rows = ParticleImages(table, project), np.arange(len(table))
    return ParticleViews(images, rows, rotations, shifts, plane=SlicePlane(BOX))


def molecule() -> torch.Tensor:
    axis = (np.arange(BOX) - BOX // 2) * PIXEL
    volume = np.zeros((BOX, BOX, BOX))
    for x, y, z in ATOMS:
        profiles = [np.exp(-((axis - place) ** 2) / (2 * WIDTH**2)) for place in (z, y, x)]
        volume += np.einsum("i,j,k->ijk", *profiles) / (WIDTH / PIXEL * math.sqrt(2 * math.pi)) ** 3
    return torch.from_numpy(volume).float()


def made(project: Path, *, premultiplied: bool = True, n_particles: int = 6, noise: float = 0.0) -> TiltSet:
    tilts = (0.0, 20.0, -20.0, 40.0, -40.0)
    of_set = TiltSet(ATOMS, n_particles, BOX, PIXEL, tilts, WIDTH, noise, premultiplied=premultiplied)
    return write_tilt_project(project, of_set)


@pytest.mark.parametrize("premultiplied", [True, False])
def test_data_and_weights_are_those_of_least_squares_over_all_images(tmp_path: Path, premultiplied: bool) -> None:
    truth = made(tmp_path, premultiplied=premultiplied).truth
    views = views_of(tmp_path)
    members = np.array([3, 1])
    read = views.read(members)
    shown = [image for member in members for image in truth if image["particle"] == member]
    assert read.place.tolist() == [members.tolist().index(image["particle"]) for image in shown]
    optics, group = views.images.table.optics, views.images.table.optics_group
    for row, image in enumerate(shown):
        contrast = optics.amplitude_contrast[group[image["particle"]]]
        c = views.plane.take(torch.from_numpy(transfer(BOX, PIXEL, image, contrast)[None, :, : BOX // 2 + 1]))[0]
        seen = projection(ATOMS, image["matrix"], np.zeros(2), box=BOX, pixel=PIXEL, width=WIDTH)[None, :, : BOX // 2 + 1]
        slice_of_map = views.plane.take(torch.from_numpy(seen))[0]
        # data of a premultiplied image hold c twice as they are: the noise in them has the weight 1 over c^2
        torch.testing.assert_close(read.weight[row].double(), c.square(), atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(read.data[row].to(torch.complex128), c.square() * slice_of_map, atol=2e-3, rtol=1e-3)
        torch.testing.assert_close(
            read.noise_gain[row].double(), c.square() if premultiplied else torch.ones_like(c), atol=1e-4, rtol=1e-3
        )
        np.testing.assert_allclose(read.rotations[row].numpy(), image["matrix"], atol=1e-5)


@pytest.mark.parametrize("premultiplied", [True, False])
def test_the_map_of_tilt_stacks_is_the_molecule(tmp_path: Path, premultiplied: bool) -> None:
    made(tmp_path, premultiplied=premultiplied, n_particles=40)
    views = views_of(tmp_path)
    views.set_powers(*shell_powers(views, np.arange(40), molecule(), batch_size=64))
    store = SumsStore(tmp_path, {}, memory_bytes=1 << 30)
    counted: list[int] = []
    add_particles(views, [np.arange(40)], store, half=1, part="all", batch_size=12, after_batch=counted.append)
    assert counted == [12 // 5] * 20  # particles, of up to five images each
    sums = HalfSums(store, 1, "all", 1, torch.device("cpu"))
    solution = Reconstruction(sums, TotalSums(sums), None, after_bin=lambda: None).solve(iterations=40, tolerance=1e-3)
    found, expected = solution.volume.flatten(), molecule().flatten()
    assert float(torch.corrcoef(torch.stack((found, expected)))[0, 1]) > 0.99
    assert float(found @ expected / (expected @ expected)) == pytest.approx(1, abs=0.05)


def test_the_gain_of_a_particle_is_that_of_all_its_images(tmp_path: Path) -> None:
    truth = made(tmp_path, noise=0.05).truth
    views = views_of(tmp_path)
    maps = {"rigid_map": 0.5 * molecule(), "deformed_map": molecule(), "deformations": [Identity()]}
    order = np.array([2, 0, 4])

    def gains(batch_size: int) -> torch.Tensor:
        who, found = likelihood_gains(views, [order], **maps, batch_size=batch_size, after_batch=lambda count: None)
        assert who.tolist() == order.tolist()
        return found

    together, one_by_one = gains(64), gains(1)
    torch.testing.assert_close(together, one_by_one)
    images = np.array([sum(image["particle"] == particle for image in truth) for particle in order])
    assert (together > 0).all()
    assert len(together) == len(images)
