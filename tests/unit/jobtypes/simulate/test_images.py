"""Optics, noise, reconstruction: what lies between atoms and stacks."""

import numpy as np
import pytest
import torch

from jobtypes.common import fourier
from jobtypes.simulate.geometry import random_poses
from jobtypes.simulate.noise import noise_filter, noise_images
from jobtypes.simulate.optics import Optics, ctf, random_optics
from jobtypes.simulate.reconstruct import SliceInsertion, merged_signal_to_noise, unshift
from jobtypes.simulate.render import AtomRenderer


def one_particle(u, v, angle):
    return Optics(np.array([1]), np.array([u]), np.array([v]), np.array([angle]), voltage_kilovolts=300.0)


def test_the_wavelength_at_300_kv_is_the_textbook_one():
    assert one_particle(1e4, 1e4, 0).wavelength_angstroms == pytest.approx(0.019687, rel=1e-4)


def test_the_ctf_starts_at_the_amplitude_contrast_and_rises():
    curve = ctf(one_particle(15000.0, 15000.0, 0.0), slice(0, 1), 64, 3.0)[0, 0]
    assert float(curve[0]) == pytest.approx(0.1, abs=1e-6)
    assert (torch.diff(curve[:6]) > 0).all()


def test_astigmatism_puts_defocus_u_along_its_angle():
    along_x = ctf(one_particle(20000.0, 10000.0, 0.0), slice(0, 1), 64, 3.0)[0]
    u, v = (ctf(one_particle(d, d, 0.0), slice(0, 1), 64, 3.0)[0] for d in (20000.0, 10000.0))
    torch.testing.assert_close(along_x[0], u[0])
    torch.testing.assert_close(along_x[:32, 0], v[:32, 0])


def test_particles_of_a_micrograph_share_its_astigmatism():
    optics = random_optics(250, np.random.default_rng(0), defocus_angstroms=(8000, 20000), voltage_kilovolts=300)
    assert optics.micrograph[[0, 99, 100, 249]].tolist() == [1, 1, 2, 3]
    assert len(set(optics.defocus_angle_degrees)) == 3
    assert (optics.defocus_u_angstroms >= optics.defocus_v_angstroms).all()


@pytest.mark.parametrize("kind", ["white", "coloured"])
def test_noise_has_variance_one(kind):
    images = noise_images(300, noise_filter(kind, 32, 3.0), torch.Generator().manual_seed(0))
    assert float(images.var()) == pytest.approx(1, abs=0.03)


def test_coloured_noise_falls_to_a_floor():
    images = noise_images(300, noise_filter("coloured", 32, 3.0), torch.Generator().manual_seed(0))
    power = fourier.shell_average(fourier.rfft2(images).abs() ** 2, fourier.shells_2d(32)).mean(0)
    assert power[1] > 3 * power[15]
    assert float(power[12] / power[15]) == pytest.approx(1, abs=0.2)


def test_unshift_moves_an_image_by_its_origin():
    image = torch.zeros(1, 16, 16)
    image[0, 8, 8] = 1
    spectra = unshift(fourier.rfft2(image), torch.tensor([[6.0, -9.0]]), fourier.frequencies_2d(16, 3.0))
    moved = fourier.irfft2(spectra, 16)[0]
    assert divmod(int(moved.argmax()), 16) == (8 - 3, 8 + 2)


@pytest.fixture(scope="module")
def inserted():
    """300 noise-free images of 40 atoms, and their map."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(40, 3, generator=generator) * 12
    make = AtomRenderer(32, 4.0, ["C"] * 40, bfactor=200)
    poses = random_poses(300, np.random.default_rng(0), shift_range_angstroms=5)
    optics = random_optics(300, np.random.default_rng(1), defocus_angstroms=(8000, 20000), voltage_kilovolts=300)
    matrices = torch.from_numpy(poses.matrices).float()
    transfer = ctf(optics, slice(0, 300), 32, 4.0)
    spectra = make.spectra((points @ matrices.transpose(1, 2))[..., :2]) * transfer
    insertion = SliceInsertion(32, kinds=2)
    insertion.insert([spectra, 3 * spectra], transfer, matrices)
    return make.volume(points), insertion


def test_noise_free_images_give_the_map_back_at_its_scale(inserted):
    volume, insertion = inserted
    found = insertion.volume(0)
    assert float(fourier.fsc(found, volume)[1:14].min()) > 0.99
    shells, (a, b) = fourier.shells_3d(32), (fourier.rfft3(v) for v in (found, volume))
    scale = fourier.shell_average((a * b.conj()).real, shells) / fourier.shell_average(b.abs() ** 2, shells)
    torch.testing.assert_close(scale[1:14], torch.ones(13), atol=0.04, rtol=0)


def test_kinds_are_reconstructed_side_by_side(inserted):
    _, insertion = inserted
    torch.testing.assert_close(insertion.volume(1), 3 * insertion.volume(0), rtol=1e-3, atol=1e-6)


def test_a_shell_without_signal_is_filtered_away(inserted):
    _, insertion = inserted
    ratio = torch.full((17,), 100.0)
    ratio[8:] = 0
    power = fourier.shell_average(fourier.rfft3(insertion.volume(0, signal_to_noise=ratio)).abs() ** 2, fourier.shells_3d(32))
    assert power[10] < 1e-2 * power[6]


def test_signal_to_noise_of_the_merged_map_follows_the_fsc():
    generator = torch.Generator().manual_seed(0)
    signal, first, second = (torch.randn(32, 32, 32, generator=generator) for _ in range(3))
    ratio = merged_signal_to_noise(signal + first, signal + second)
    assert float(ratio[6:].mean()) == pytest.approx(2, rel=0.2)
