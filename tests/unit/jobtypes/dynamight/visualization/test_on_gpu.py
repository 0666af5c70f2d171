"""The task writes on a GPU what it writes on a CPU."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from jobtypes.dynamight.visualization import animation, drawn_movie, figures, task, to_files
from tests.pretended_gpu import GPUS

JOB = Path("DynaMight/job002")
SMALL = {"headless": True, "halfset": 1, "n_motions": 1, "n_frames": 2, "n_clusters": 2, "n_regions": 2}


@pytest.mark.parametrize("a_gpu", GPUS)
def test_maps_of_states_are_those_of_a_cpu(flexible_job, monkeypatch, a_gpu):
    monkeypatch.setattr(drawn_movie, "ANIMATION_PIXELS", 100)
    monkeypatch.setattr(drawn_movie, "LEAST_PICTURES", 2)
    monkeypatch.setattr(animation, "find_spec", lambda name: None)
    monkeypatch.setattr(figures, "_PIXELS", 60)
    monkeypatch.setattr(to_files, "gather_logbook", lambda *arguments: None)
    with a_gpu():
        task.run(SMALL, flexible_job)
    on_gpu = [mrcfile.read(JOB / f"maps/map00{number}_half1.mrc") for number in (1, 2)]
    monkeypatch.setattr(task, "choose_device", lambda gpu_ids: (torch.device("cpu"), "the CPU"))
    task.run(SMALL, flexible_job)
    for number, found in enumerate(on_gpu, start=1):
        expected = mrcfile.read(JOB / f"maps/map00{number}_half1.mrc")
        assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
