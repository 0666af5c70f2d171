"""Slow, obvious twins in float64 of what the simulation does fast."""

import numpy as np
import pytest
import torch

from jobtypes.common import fourier
from jobtypes.common.ctf import ctf as product_ctf
from jobtypes.common.particles import read_particles
from jobtypes.simulate.files import write_particles_star
from jobtypes.simulate.geometry import matrices_of, random_poses
from jobtypes.simulate.optics import ctf, random_optics
from jobtypes.simulate.render import SCATTERING, AtomRenderer


def slow_spectrum(points, elements, frequencies):
    """sum_j f_j(|k|) exp(-2 pi i k.x_j), one frequency after the other."""
    flat = frequencies.reshape(-1, frequencies.shape[-1])
    result = np.zeros(len(flat), dtype=complex)
    for row, k in enumerate(flat):
        squared = k @ k
        for point, element in zip(points, elements, strict=True):
            f = sum(a * np.exp(-b * squared / 4) for a, b in SCATTERING[element])
            f *= (1 - 0.6 * np.exp(-200 * squared / 4)) * np.exp(-100 * squared / 4)
            result[row] += f * np.exp(-2j * np.pi * (k @ point))
    return result.reshape(frequencies.shape[:-1]) / 3.0**3


@pytest.mark.parametrize("box", [12, 13])
def test_images_and_maps_are_the_plain_sums_over_atoms(box):
    points = np.random.default_rng(0).normal(0, 6, (4, 3))
    elements = ["C", "N", "O", "S"]
    renderer = AtomRenderer(box, 3.0, elements)
    inside = slice(None) if box % 2 else slice(0, -1)  # the Nyquist lines of an even box are left out
    plane = slow_spectrum(points[:, :2], elements, fourier.frequencies_2d(box, 3.0, dtype=torch.float64).numpy())
    image = renderer.spectra(torch.from_numpy(points[None, :, :2]).float())[0].numpy()
    rows = [row for row in range(box) if box % 2 or row != box // 2]
    np.testing.assert_allclose(image[rows][:, inside], plane[rows][:, inside], atol=2e-5)
    space = slow_spectrum(points, elements, fourier.frequencies_3d(box, 3.0, dtype=torch.float64).numpy())
    volume = fourier.rfft3(renderer.volume(points.astype(np.float32))).numpy()
    np.testing.assert_allclose(volume[rows][:, rows][..., inside], space[rows][:, rows][..., inside], atol=2e-5)


def test_rotation_matrices_are_the_product_of_three_passive_turns():
    rot, tilt, psi = np.deg2rad([37.0, 112.0, -65.0])

    def about_z(a):
        return np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]])

    about_y = np.array([[np.cos(tilt), 0, -np.sin(tilt)], [0, 1, 0], [np.sin(tilt), 0, np.cos(tilt)]])
    expected = about_z(psi) @ about_y @ about_z(rot)
    np.testing.assert_allclose(matrices_of(np.rad2deg([[rot, tilt, psi]]))[0], expected, atol=1e-12)


def test_the_products_ctf_of_the_star_file_is_the_one_that_the_images_were_made_with(tmp_path):
    poses = random_poses(5, np.random.default_rng(0), shift_range_angstroms=5)
    optics = random_optics(5, np.random.default_rng(1), defocus_angstroms=(8000, 20000), voltage_kilovolts=200)
    names = [f"{row:06d}@a.mrcs" for row in range(1, 6)]
    star = tmp_path / "particles.star"
    write_particles_star(
        star, names, poses=poses, optics=optics, half=np.array([1, 2, 1, 2, 1]), box=48, pixel_size_angstroms=2.0
    )
    table = read_particles(star)
    frequencies = fourier.frequencies_2d(48, 2.0, dtype=torch.float64)
    read_back = product_ctf(table.ctf_parameters(np.arange(5)), frequencies)
    torch.testing.assert_close(read_back.float(), ctf(optics, slice(0, 5), 48, 2.0), atol=1e-3, rtol=0)
    np.testing.assert_allclose(table.origins_angstroms, poses.origins_angstroms, atol=1e-5)
