from __future__ import annotations

import torch

from jobtypes.dynamight.backprojection.bins import Binning
from jobtypes.dynamight.backprojection.fsc_mask import molecule_mask
from jobtypes.dynamight.backprojection.half_problem import bins_of


def test_the_mask_holds_the_molecule_in_all_states_and_leaves_solvent_out(make_project):
    project = make_project(60)
    halves = [(result, bins_of(result, Binning(0.1, 40, 1), 3.0)) for result in project.forward.halves.values()]
    mask = molecule_mask(halves, box=24, pixel_size_angstroms=3.0)
    for latent in (-1.0, 0.0, 1.0):
        density = project.true_map(latent)
        assert float((density * mask).sum() / density.sum()) > 0.99
    assert float(mask.mean()) < 0.7
    assert float(mask.min()) == 0
    assert float(mask.max()) == 1


def test_stray_gaussians_are_left_out(make_project):
    project = make_project(20, motion=0.0)
    result = project.forward.halves[1]
    bins = bins_of(result, Binning(0.1, 40, 1), 3.0)
    before = molecule_mask([(result, bins)], box=24, pixel_size_angstroms=3.0)
    result.model.gaussians.positions.data[0] = torch.tensor((33.0, 33.0, 33.0))
    result.model.gaussians.raw_amplitudes.data[0] = -8.0
    after = molecule_mask([(result, bins)], box=24, pixel_size_angstroms=3.0)
    assert float(after[23, 23, 23]) == 0
    assert float((after - before).abs().mean()) < 0.02
