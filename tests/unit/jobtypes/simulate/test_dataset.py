"""Sets of the presets that figures are given for stay what they were, whatever options are added."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from jobtypes.simulate import dataset
from jobtypes.simulate.options import PRESETS

SMALL = {"nr_particles": 20, "box_size": 40, "angpix": 6.5, "seed": 3}


def small(preset):
    options = replace(PRESETS[preset], **SMALL)
    made = dataset.ImageMaker(options, dataset.draw_model(options), dataset.draw_particles(options))
    made.calibrate()
    return made, made.images(slice(0, 2), dataset.noise_generator(options.seed))[0]


# made before there were nuisances
HALF = [2, 2, 1, 1, 2, 1, 1, 2, 1, 2, 2, 1, 2, 1, 2, 1, 2, 1, 1, 2]
RECORDED = {
    "quick": {"pose": [31.08416, 162.16691, 31.59589, 15.55863, 19.5], "pixels": [-1.0646, 0.2818, 2.6]},
    "rigid": {"pose": [31.08416, 162.16691, 31.59589, 15.55863, 19.5], "pixels": [-1.3537, 0.0944, 2.7167]},
    "hard": {"pose": [31.75023, 161.44928, 31.53722, 14.60462, 19.36884], "pixels": [-0.7564, -1.0107, 2.2719]},
}


@pytest.mark.parametrize("preset", RECORDED)
def test_a_preset_gives_the_particles_that_it_always_gave(preset):
    made, images = small(preset)
    pose, pixels = made.particles.observed.as_columns()[1], images[1, 18:21, 20]
    np.testing.assert_allclose(pose, RECORDED[preset]["pose"], atol=1e-4)
    np.testing.assert_allclose(pixels, RECORDED[preset]["pixels"], atol=1e-3)
    assert made.particles.half.tolist() == HALF


def test_nuisances_at_zero_are_no_nuisances():
    made, images = small("hard")
    clean, plan = made.signals(slice(0, 2))[0], made.particles.plan
    assert plan.is_clean.all()
    noise = dataset.noise_images(2, made.colour, dataset.noise_generator(3))
    assert torch.equal(images, dataset.fourier.irfft2(clean, 40) + noise)
