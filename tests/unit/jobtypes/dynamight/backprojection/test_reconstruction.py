from __future__ import annotations

import numpy as np
import pytest
import torch

from jobtypes.dynamight.backprojection import outputs
from jobtypes.dynamight.backprojection.normal_equations import Reconstruction


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    for name in ("draw_fsc", "draw_slices", "gather_logbook"):
        monkeypatch.setattr(outputs, name, lambda *_, **__: None)


def correlation(volume: np.ndarray, truth: torch.Tensor) -> float:
    return float(np.corrcoef(volume.flatten(), truth.flatten())[0, 1])


@pytest.mark.parametrize("n_per_half", [1, 3, 10, 30, 60, 110])
def test_maps_that_start_from_those_of_the_verdict_are_as_good_as_maps_from_zero(make_project, monkeypatch, n_per_half):
    project = make_project(2 * n_per_half, noise=0.3)
    truth, solve, found = project.true_map(), Reconstruction.solve, []
    for job in ("DynaMight/job002", "DynaMight/job003"):
        maps = project.run(project.job(job))
        found.append([correlation(maps[f"{kind}_half{half}"], truth) for kind in ("rigid", "map") for half in (1, 2)])
        monkeypatch.setattr(Reconstruction, "solve", lambda self, start=None, **words: solve(self, **words))
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_more_particles_never_make_a_worse_map(make_project):
    found = []
    for n_per_half in (1, 4, 16, 64, 256):
        project = make_project(2 * n_per_half, motion=0.0, noise=0.3, name=f"{n_per_half}")
        found.append(correlation(project.run(project.job())["rigid_half1"], project.true_map()))
    assert found == sorted(found)
