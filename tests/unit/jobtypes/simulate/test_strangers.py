"""What images show besides our molecule, as they are drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from jobtypes.common import fourier
from jobtypes.simulate import dataset
from jobtypes.simulate.nuisances import EMPTY, GOOD, NEIGHBOUR, OTHER, SPECK
from jobtypes.simulate.options import Nuisances, SimulationOptions
from jobtypes.simulate.strangers import SPECK_SIGMA_ANGSTROMS

BASE = SimulationOptions(
    nr_particles=80, box_size=40, angpix=5, snr=1, core_mass=30, nr_arms=2, arm_share=0.4, amplitude=12, shift_range=1
)


def maker(options=BASE, **nuisances):
    options = replace(options, nuisances=Nuisances(**nuisances))
    made = dataset.ImageMaker(options, dataset.draw_model(options), dataset.draw_particles(options))
    made.calibrate()
    return made


def at_scale_of(plain, made):
    """The same set with the signal as strong as in another one, to the last digit."""
    made.renderer.amplitude = plain.renderer.amplitude
    return made


def everything(made):
    return slice(0, made.options.nr_particles)


def clean_images(made):
    return fourier.irfft2(made.signals(everything(made))[0], made.options.box_size)


def correlations(a, b):
    a, b = (images.flatten(1) - images.flatten(1).mean(1, keepdim=True) for images in (a, b))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def shown(made):
    """All that the images show but for noise and our molecule."""
    return made.strangers.images(everything(made))


@pytest.fixture(scope="module")
def plain():
    return maker()


def test_images_of_a_set_without_nuisances_show_nothing_else(plain):
    assert (shown(plain) == 0).all()


def test_an_empty_image_has_nothing_of_its_projection(plain):
    junk = maker(empty_share=0.4)
    images = junk.images(everything(junk), dataset.noise_generator(1))[0]
    found = correlations(images, clean_images(plain))
    kind = torch.from_numpy(junk.particles.plan.kind)
    assert float(found[kind == GOOD].mean()) > 0.6  # sqrt(1/2) at a signal-to-noise ratio of 1
    assert abs(float(found[kind == EMPTY].mean())) < 0.03
    assert float(images[kind == EMPTY].var()) == pytest.approx(1, abs=0.02)


def test_the_other_molecule_is_as_strong_as_asked_for_and_not_ours(plain):
    junk = maker(other_share=0.4, other_strength=2)
    here = junk.particles.plan.kind == OTHER
    images = shown(junk)
    assert (images[~here] == 0).all()
    assert float(images[here].var(dim=(1, 2)).mean() / clean_images(plain).var(dim=(1, 2)).mean()) == pytest.approx(4, rel=0.15)
    assert (clean_images(junk)[here] == 0).all()
    assert float(correlations(images, clean_images(plain))[here].mean()) < 0.8


def test_a_neighbour_comes_in_from_one_side_only():
    junk = maker(neighbour_share=0.4)
    plan, images = junk.particles.plan, shown(junk)
    here = plan.kind == NEIGHBOUR
    pixels = (torch.arange(40) - 20) / 40
    power = images**2
    for row in np.flatnonzero(here):
        x, y = plan.neighbour_boxes[row] / np.linalg.norm(plan.neighbour_boxes[row])
        towards = y * pixels[:, None] + x * pixels[None, :]
        near, far = power[row][towards > 0.25].sum(), power[row][towards < -0.25].sum()
        assert float(near) > 3 * float(far)
    middle = slice(15, 25)
    assert float(power[here][:, middle, middle].mean()) < 0.1 * float(power[here].mean())


def test_a_neighbour_far_inside_would_be_our_molecule():
    junk = maker(neighbour_share=0.4)
    plan = junk.particles.plan
    row = np.flatnonzero(plan.kind == NEIGHBOUR)[:1]
    plan.neighbour_boxes[row] = 0
    turned = junk.halfway[None] @ torch.from_numpy(plan.stray[row]).float()[:, :2].transpose(1, 2)
    transfer = dataset.ctf(junk.particles.optics, row, 40, 5.0)
    expected = fourier.irfft2(junk.renderer.spectra(turned) * transfer, 40)
    # a box of twice the size has waves between ours, and what a CTF spreads beyond the edge does not come in again
    assert float(correlations(junk.strangers.neighbours(row), expected)[0]) > 0.95


def test_a_speck_is_a_bright_spot_at_its_place():
    junk = maker(speck_share=0.4)
    plan, images = junk.particles.plan, shown(junk)
    sharpest = 5.0 / SPECK_SIGMA_ANGSTROMS / 2  # half a pixel off, along each axis
    for row in np.flatnonzero(plan.kind == SPECK):
        y, x = divmod(int(images[row].argmax()), 40)
        expected = np.clip(plan.speck_boxes[row] * 40 + 20, 0, 39)
        np.testing.assert_allclose([x, y], expected, atol=0.51)
        peak = plan.speck_peak[row]
        assert peak * np.exp(-(sharpest**2)) <= float(images[row].max()) <= peak


def test_what_a_missing_arm_leaves_out_is_its_projection(plain):
    lacking = at_scale_of(plain, maker(missing_arm_share=0.4))
    gone = ~lacking.particles.plan.has_arm
    difference = clean_images(plain) - clean_images(lacking)
    assert float(difference[~gone].abs().max()) < 1e-6
    model, particles = lacking.model, lacking.particles
    arm = np.flatnonzero(model.part == 1)
    atoms = torch.from_numpy(model.positions(particles.coordinates, arm))
    seen = atoms @ torch.from_numpy(particles.true.matrices).float()[:, :2].transpose(1, 2)
    origins = torch.from_numpy(particles.true.origins_angstroms).float()
    spectra = lacking.renderer.spectra(seen - origins[:, None], arm) * dataset.ctf(particles.optics, everything(plain), 40, 5.0)
    torch.testing.assert_close(difference[gone], fourier.irfft2(spectra, 40)[gone], atol=1e-4, rtol=0)


def test_an_arm_can_be_missing_where_nothing_moves():
    rigid = replace(BASE, nr_motions=0)
    made = maker(rigid)
    lacking_made = at_scale_of(made, maker(rigid, missing_arm_share=0.4))
    gone = ~lacking_made.particles.plan.has_arm
    whole, lacking = clean_images(made), clean_images(lacking_made)
    assert float((whole - lacking)[gone].abs().amax(dim=(1, 2)).min()) > 0.1
    assert float((whole - lacking)[~gone].abs().max()) < 1e-6


def test_the_oracle_of_a_lacking_particle_is_whole(plain):
    lacking = at_scale_of(plain, maker(missing_arm_share=0.4))
    torch.testing.assert_close(*(made.signals(everything(made))[1] for made in (lacking, plain)))


def test_the_signal_of_a_particle_is_its_amplitude_times_that_of_the_mean_one(plain):
    spread = at_scale_of(plain, maker(amplitude_spread=0.3))
    amplitude = torch.from_numpy(spread.particles.plan.amplitude).float()[:, None, None]
    expected = amplitude * clean_images(plain)
    torch.testing.assert_close(clean_images(spread), expected, atol=1e-4, rtol=1e-4)


def test_the_signal_to_noise_ratio_is_that_of_good_whole_particles():
    junk = maker(empty_share=0.3, missing_arm_share=0.5)
    kept = junk.particles.plan.is_clean
    assert float(clean_images(junk)[kept].var()) == pytest.approx(BASE.snr, rel=0.02)


def test_images_are_drawn_at_the_true_defocus_and_given_the_wrong_one():
    off = maker(defocus_error=300)
    assert (off.particles.optics.defocus_columns() == maker().particles.optics.defocus_columns()).all()
    error = off.particles.observed_optics.defocus_u_angstroms - off.particles.optics.defocus_u_angstroms
    assert error.std() == pytest.approx(300, rel=0.3)
    torch.testing.assert_close(clean_images(off), clean_images(maker()))
